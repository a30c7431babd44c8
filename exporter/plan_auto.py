"""Find the fastest plan that keeps to its budgets: `--plan auto`.

branches timed in every precision --> combinations, the fastest first
    without INT8: tried until one passes
    with INT8:    those at least 1.1 times as fast as that one, tried until one passes
    the fastest of all, if it missed: repaired, if time is left
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import get_args

from runtime.errors import BundleError
from runtime.manifest import Precision

from .attempts import Attempts, Found, Tried, settle
from .plan import Plan, Recipe, branch_of
from .repair import repair
from .speed import WORTH, Int8Speed, Speeds, precisions_of, time_branches
from .workshop import ConvertedPart

ALIKE = 0.02
"""Plans count as equally fast whose times differ by less than this share of the shortest."""

FINER: tuple[Precision, ...] = get_args(Precision)
"""From the highest precision to the lowest."""

Choice = dict[str, Precision]
"""Precision by branch."""


def fastest_plan(attempts: Attempts, plan: Plan) -> Found:
    """Search the precision of every branch.

    A branch whose precision was asked for keeps it.

    Args:
        attempts: Where plans are tried.
        plan: The first choice among equally fast ones.

    Returns:
        The fastest plan that passed, with INT8 only if it is worth it; the first choice if none
        passed.

    Raises:
        DataError: If a patch of the search is damaged or has no labels.
    """
    speeds = _timed(attempts, plan)
    attempts.start_search()
    ordered = _ordered(speeds, plan)
    plain = [choice for choice in ordered if "int8" not in choice.values()]
    small = [choice for choice in ordered if "int8" in choice.values()]
    walk = _Walk(attempts, plan, speeds)
    without = walk.first(plain)
    worth = small if without is None else speeds.worth(small, precisions_of(without.plan))
    best = walk.repaired(worth, walk.first(worth) or without)
    if best is None or not worth:
        best = walk.repaired(plain, best)
    if best is None:
        taken, text = plan, "no plan that was tried keeps to its budgets"
    else:
        more = f" with {best.told}" if best.added else ""
        taken, text = best.plan, f"the fastest plan that keeps to its budgets was taken{more}"
    reference = plain[:1] if without is None else [precisions_of(without.plan)]
    int8, told = _judged(speeds, small, reference, best)
    return settle(attempts, taken, f"{text}; {attempts.summary()}{told}", speeds, int8)


def _judged(
    speeds: Speeds, small: Sequence[Choice], reference: Sequence[Choice], best: Tried | None
) -> tuple[Int8Speed | None, str]:
    """Compare the plan with INT8 that was taken, else the fastest, with the best without."""
    if not small or not reference:
        return None, ""
    taken = {} if best is None else precisions_of(best.plan)
    int8 = speeds.judge_int8(taken if taken in small else small[0], reference[0])
    more = ", but misses its budgets" if int8.worth and taken not in small else ""
    if best is not None and best.added and taken in small:
        more = ", timed before its repair"
    return int8, f"; {int8.text}{more}"


def _timed(attempts: Attempts, plan: Plan) -> Speeds:
    """Time every branch in every precision that may be chosen and can be made."""
    options, workshop = attempts.options, attempts.workshop
    parts: list[ConvertedPart] = []
    for branch, recipe in plan.items():
        asked = (options.plan or {}).get(branch)
        offered = FINER[: FINER.index(options.precision) + 1] if asked is None else (asked,)
        for precision in offered:
            specs = [s for s in workshop.source.manifest.parts if branch_of(s) == branch]
            made = Recipe(precision=precision, keep=recipe.keep, skip=recipe.skip)
            try:
                parts += [workshop.part(spec, made) for spec in specs]
            except BundleError as error:
                attempts.refuse(branch, precision, error)
    choice = attempts.trial.choice
    return Speeds(time_branches(parts, workshop.store, choice), choice)


def _ordered(speeds: Speeds, plan: Plan) -> list[Choice]:
    """All combinations but FP32 alone, the fastest first; of equals what was asked for first."""
    offered = [
        [item.precision for item in speeds.measured if item.branch == branch] for branch in plan
    ]
    found: list[Choice] = [dict(zip(plan, row, strict=True)) for row in product(*offered)]
    found = [choice for choice in found if set(choice.values()) != {"fp32"}]
    shortest = min(map(speeds.plan_ms, found), default=0.0)

    def order(choice: Choice) -> tuple[int, int, float]:
        time_ms = speeds.plan_ms(choice)
        changed = sum(plan[branch].precision != kind for branch, kind in choice.items())
        return int(time_ms / (ALIKE * shortest)), changed, time_ms

    return sorted(found, key=order)


class _Walk:
    """Tries combinations in order."""

    def __init__(self, attempts: Attempts, plan: Plan, speeds: Speeds) -> None:
        self._attempts, self._plan, self._speeds = attempts, plan, speeds
        self._missed: list[Tried] = []

    def first(self, choices: Iterable[Choice]) -> Tried | None:
        """Find the first that passes; what is nowhere finer than one that missed is passed over."""
        missed: list[Choice] = []
        for choice in choices:
            if missed and self._attempts.over:
                return None
            if any(_nowhere_finer(choice, other) for other in missed):
                continue
            plan = {
                branch: Recipe(precision=choice[branch], keep=recipe.keep, skip=recipe.skip)
                for branch, recipe in self._plan.items()
            }
            latency_ms = self._speeds.plan_ms(choice)
            tried = self._attempts.try_plan(plan, latency_ms=latency_ms)
            if tried.passed:
                return tried
            missed.append(choice)
            self._missed.append(tried)
        return None

    def repaired(self, choices: Sequence[Choice], best: Tried | None) -> Tried | None:
        """Repair the fastest if it missed; give what is then the best."""
        fastest = [tried for tried in self._missed if precisions_of(tried.plan) in choices[:1]]
        if not fastest or self._attempts.over:
            return best
        found = repair(self._attempts, fastest[0])
        if found is None or best is None:
            return found or best
        return found if self._is_faster(found, best) else best

    def _is_faster(self, found: Tried, best: Tried) -> bool:
        choice, store = self._attempts.trial.choice, self._attempts.workshop.store
        times = [t.median_ms for t in time_branches([*found.parts, *best.parts], store, choice)]
        half = len(times) // 2
        needed = WORTH if "int8" in precisions_of(found.plan).values() else 1.0
        return sum(times[half:]) >= needed * sum(times[:half])


def _nowhere_finer(choice: Choice, other: Choice) -> bool:
    return all(FINER.index(choice[name]) >= FINER.index(other[name]) for name in choice)
