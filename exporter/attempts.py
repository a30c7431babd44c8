"""Try plans on the patches that a search may look at, and remember what came of each."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

from runtime.errors import BundleError
from runtime.manifest import Precision

from .gate_report import GateReport
from .options import ConvertOptions
from .plan import Plan, Recipe, describe_plan, precision_of
from .speed import BranchLatency, Int8Speed, Speeds
from .trial import Trial
from .workshop import ConvertedPart, Workshop

REFUSED = "cannot be made"

NAMED = 3
"""Nodes of a kind that a sentence names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A node that is left in a higher precision than its branch."""

    branch: str
    node: str
    stays: Literal["fp32", "fp16"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A plan that was tried."""

    plan: str
    """As `--plan` takes it."""
    added: tuple[Added, ...]
    result: str
    """What the gate said of it, or why it could not be made."""
    passed: bool
    latency_ms: float | None
    """Of all parts, one tile; None if it was not measured."""
    seconds: float
    """What the attempt took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A plan with what was made by it."""

    plan: Plan
    parts: tuple[ConvertedPart, ...]
    """Empty if it could not be made."""
    report: GateReport | None
    """None if it could not be made."""
    added: tuple[Added, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it kept to its budgets."""
        return self.report is not None and self.report.passed

    @property
    def told(self) -> str:
        """The nodes that were left in higher precision."""
        groups = []
        for branch, stays in product(self.plan, ("fp32", "fp16")):
            names = [a.node for a in self.added if (a.branch, a.stays) == (branch, stays)]
            if names:
                named = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
                groups.append(f"{len(names)} node(s) of {branch} in {stays.upper()} ({named})")
        return " and ".join(groups)


@dataclass(slots=True, kw_only=True)
class Attempts:
    """Plans that were tried, and the time that is left to try more."""

    workshop: Workshop
    trial: Trial
    options: ConvertOptions
    on_step: Callable[[str], None]
    made: list[Attempt] = field(default_factory=list)
    _begun: float = field(default_factory=time.monotonic)
    _search_begun: float = field(default_factory=time.monotonic)

    def start_search(self) -> None:
        """Count the time for more from here: what had to be made anyway takes none of it."""
        self._search_begun = time.monotonic()

    @property
    def over(self) -> bool:
        """Whether the time for more has passed."""
        return time.monotonic() - self._search_begun >= self.options.repair_s

    def refuse(self, branch: str, precision: Precision, error: BundleError) -> None:
        """Remember that a branch cannot be had in a precision."""
        attempt = Attempt(
            plan=f"{branch}={precision}",
            added=(),
            result=f"{REFUSED}: {error}",
            passed=False,
            latency_ms=None,
            seconds=0.0,
        )
        self.made.append(attempt)
        self.on_step(f"{attempt.plan} cannot be made")

    def judged(self, plan: Plan) -> ConvertOptions:
        """Options with the budgets of a plan: a search judges each by what is in it."""
        if not self.options.auto_plan:
            return self.options
        return replace(self.options, precision=precision_of(plan))

    def try_plan(
        self, plan: Plan, added: Iterable[Added] = (), *, latency_ms: float | None = None
    ) -> Tried:
        """Convert by a plan with nodes added, and look at what the gate says.

        Raises:
            DataError: If a patch of the search is damaged or has no labels.
        """
        begin, nodes = time.monotonic(), tuple(added)
        extended = with_added(plan, nodes)
        try:
            parts = self.workshop.convert(extended)
        except BundleError as error:
            tried = Tried(plan=extended, parts=(), report=None, added=nodes)
            self._record(tried, f"{REFUSED}: {error}", latency_ms, begin)
            return tried
        report = self.trial.search(parts, self.judged(plan))
        tried = Tried(plan=extended, parts=parts, report=report, added=nodes)
        self._record(tried, report.text, latency_ms, begin)
        return tried

    def summary(self) -> str:
        """Say how many plans were tried in which time, and whether it ran out."""
        count = sum(not attempt.result.startswith(REFUSED) for attempt in self.made)
        minutes = self.options.repair_s / 60
        ran_out = f", when the {minutes:g} min to search in ran out" if self.over else ""
        return f"{count} plan(s) tried in {time.monotonic() - self._begun:.0f} s{ran_out}"

    def _record(self, tried: Tried, result: str, latency_ms: float | None, begin: float) -> None:
        attempt = Attempt(
            plan=describe_plan(tried.plan),
            added=tried.added,
            result=result,
            passed=tried.passed,
            latency_ms=latency_ms,
            seconds=time.monotonic() - begin,
        )
        self.made.append(attempt)
        more = f" with {len(tried.added)} node(s) in higher precision" if tried.added else ""
        self.on_step(f"{attempt.plan}{more}: {'passes' if attempt.passed else 'misses'}")


def with_added(plan: Plan, added: Iterable[Added]) -> Plan:
    """Add nodes to the recipes of their branches; what stays in FP32 is not quantised either."""
    recipes: dict[str, Recipe] = dict(plan)
    for item in added:
        recipe = recipes[item.branch]
        recipes[item.branch] = recipe.with_nodes(
            keep=[item.node] if item.stays == "fp32" else [],
            skip=[item.node] if recipe.precision == "int8" else [],
        )
    return recipes


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The plan that was settled on, and how."""

    plan: Plan
    precision: Precision
    """What the bundle is to be called: with `--plan auto` the lowest in the plan."""
    attempts: tuple[Attempt, ...]
    latencies: tuple[BranchLatency, ...]
    """Empty if nothing was timed."""
    int8: Int8Speed | None
    """None if there was no INT8 to judge."""
    text: str
    """In one sentence."""


def settle(
    attempts: Attempts,
    plan: Plan,
    text: str,
    speeds: Speeds | None = None,
    int8: Int8Speed | None = None,
) -> Found:
    """Settle on a plan."""
    options = attempts.options
    return Found(
        plan=plan,
        precision=precision_of(plan) if options.auto_plan else options.precision,
        attempts=tuple(attempts.made),
        latencies=() if speeds is None else speeds.measured,
        int8=int8,
        text=text,
    )
