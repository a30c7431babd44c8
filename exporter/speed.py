"""Time the branches of a model in several precisions, so that they can be compared.

All are open at once and take turns, round by round: what else the machine does then slows each of
them alike.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from statistics import median

from runtime.backends import BackendChoice, open_session
from runtime.manifest import Precision
from runtime.session import Session

from .feeds import FeedStore
from .plan import Plan, branch_of
from .samples import Feed
from .workshop import ConvertedPart

MEASURE_S = 5.0
"""Seconds of measuring at most, once the least number of rounds is done."""

WARMUP, LEAST_ROUNDS, MOST_ROUNDS = 2, 5, 50

WORTH = 1.1
"""How many times as fast a plan with INT8 must be to be taken instead of one without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchLatency:
    """How long a branch takes for one tile."""

    branch: str
    precision: Precision
    """As asked for."""
    executed: str
    """What the backend computed in."""
    median_ms: float
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Speed:
    """What INT8 is worth on the backend that it was measured on."""

    ratio: float
    """Time of the best plan without INT8 over that of the plan with it."""
    worth: bool
    text: str


def time_branches(
    parts: Sequence[ConvertedPart], store: FeedStore, choice: BackendChoice
) -> tuple[BranchLatency, ...]:
    """Time parts on a calibration sample, with a batch of one.

    Args:
        parts: Of any precisions, several of a branch included; those that end in probabilities are
            left out.
        store: Gives the sample.
        choice: Backend to time them on.
    """
    used = [part for part in parts if part.spec.variant != "probabilities"]
    feeds = [next(store.feeds("calibration", part.spec, 1)) for part in used]
    with ExitStack() as opened:
        sessions = [
            opened.enter_context(closing(open_session(choice.name, part.path, part.spec)))
            for part in used
        ]
        seconds = _seconds(sessions, feeds)
    return tuple(
        BranchLatency(
            branch=branch_of(part.spec),
            precision=part.spec.precision,
            executed=session.precision,
            median_ms=1e3 * median(taken[WARMUP:]),
            rounds=len(taken) - WARMUP,
        )
        for part, session, taken in zip(used, sessions, seconds, strict=True)
    )


def _seconds(sessions: Sequence[Session], feeds: Sequence[Feed]) -> list[list[float]]:
    """Run sessions in turns, and give what each took, round by round."""
    seconds: list[list[float]] = [[] for _ in sessions]
    begin = time.perf_counter()
    for done in range(WARMUP + MOST_ROUNDS):
        if done >= WARMUP + LEAST_ROUNDS and time.perf_counter() - begin > MEASURE_S:
            break
        for session, feed, taken in zip(sessions, feeds, seconds, strict=True):
            start = time.perf_counter()
            session.run(feed)
            taken.append(time.perf_counter() - start)
    return seconds


@dataclass(frozen=True, slots=True)
class Speeds:
    """What was measured, by branch and precision."""

    measured: tuple[BranchLatency, ...]
    choice: BackendChoice

    def plan_ms(self, precisions: Mapping[str, Precision]) -> float:
        """Time of one tile with these precisions by branch."""
        known = {(item.branch, item.precision): item.median_ms for item in self.measured}
        return sum(known[item] for item in precisions.items())

    def worth(
        self, plans: Iterable[Mapping[str, Precision]], without: Mapping[str, Precision]
    ) -> list[dict[str, Precision]]:
        """Plans with INT8 that are enough faster than one without."""
        limit = self.plan_ms(without) / WORTH
        return [dict(plan) for plan in plans if self.plan_ms(plan) <= limit]

    def judge_int8(
        self, with_int8: Mapping[str, Precision], without: Mapping[str, Precision]
    ) -> Int8Speed:
        """Compare a plan with INT8 with one without, in one sentence."""
        ratio = self.plan_ms(without) / self.plan_ms(with_int8)
        worth = ratio >= WORTH
        executed = next(item.executed for item in self.measured if item.precision == "int8")
        other = "FP16" if "fp16" in without.values() else "FP32"
        text = (
            f"INT8 is {'' if worth else 'not worth it here ('}{ratio:.2f} times as fast as {other} "
            f"on {self.choice.name} {executed}{'' if worth else ')'}"
        )
        return Int8Speed(ratio=ratio, worth=worth, text=text)


def precisions_of(plan: Plan) -> dict[str, Precision]:
    """Precision by branch."""
    return {branch: recipe.precision for branch, recipe in plan.items()}
