"""Settle the plan of a conversion: the one asked for, repaired if it must be, or the fastest found.

    a fixed plan    tried; if it misses its budgets, nodes of it stay in higher precision
    --plan auto     `plan_auto`: every branch timed in every precision, the fastest that passes

Whatever is looked at here the verdict is not measured on: `GateSplit.search_ids`.
"""

from collections.abc import Callable

from runtime.errors import BundleError, DataError

from .attempts import Attempts, Found, settle
from .gate_split import VAL
from .options import ConvertOptions
from .plan import Plan, Recipe
from .plan_auto import fastest_plan
from .repair import repair
from .speed import Speeds, precisions_of, time_branches
from .trial import Trial
from .workshop import Workshop


def find_plan(
    workshop: Workshop,
    trial: Trial | None,
    plan: Plan,
    options: ConvertOptions,
    on_step: Callable[[str], None] = lambda note: None,
) -> Found:
    """Settle the plan.

    Args:
        workshop: Converts parts.
        trial: What plans are tried on; nothing is searched for without.
        plan: What was asked for; with `auto_plan` the first choice among equally fast ones.
        options: How to convert; `repair_s` is the time for all that is tried beside `plan` itself.
        on_step: Called after every plan that was tried, with what came of it.

    Returns:
        The plan; the one that was asked for, if none keeps to its budgets.

    Raises:
        BundleError: If the plan that was asked for cannot be made.
        DataError: If a patch of the search is damaged or has no labels, or `auto_plan` has none.
    """
    if trial is None:
        return Found(
            plan=plan,
            precision=options.precision,
            attempts=(),
            latencies=(),
            int8=None,
            text="the plan was not tried: there are no patches to measure on",
        )
    attempts = Attempts(workshop=workshop, trial=trial, options=options, on_step=on_step)
    if not trial.split.search_ids:
        if options.auto_plan:
            raise DataError(
                f"{trial.data.dataset.root} has no patch to search a plan on: the verdict takes "
                f"'{trial.split.name}'; expected patches of '{VAL}' beside it; name another "
                "--gate-split, or a plan"
            )
        text = f"the plan was not tried before the verdict, which takes all of '{trial.split.name}'"
        return _with_speed(attempts, plan, text)
    if options.auto_plan:
        return fastest_plan(attempts, plan)
    return _fixed(attempts, plan)


def _fixed(attempts: Attempts, plan: Plan) -> Found:
    if attempts.options.repair_s <= 0:
        return _with_speed(attempts, plan, "the plan was not tried before the verdict, as asked")
    # What cannot be made is an error here, not an attempt.
    attempts.workshop.convert(plan)
    first = attempts.try_plan(plan)
    if first.passed:
        return _with_speed(attempts, plan, "the plan keeps to its budgets as it is")
    attempts.start_search()
    repaired = repair(attempts, first)
    if repaired is None:
        done = "found" if len(attempts.made) > 1 else "tried"
        text = f"the plan misses its budgets, and no repair was {done}; {attempts.summary()}"
        return _with_speed(attempts, plan, text)
    text = f"the plan keeps to its budgets with {repaired.told}; {attempts.summary()}"
    return _with_speed(attempts, repaired.plan, text)


def _with_speed(attempts: Attempts, plan: Plan, text: str) -> Found:
    """Say of a plan that was asked for whether its INT8 is worth it."""
    halves: Plan = {
        branch: Recipe(precision="fp16") if recipe.precision == "int8" else recipe
        for branch, recipe in plan.items()
    }
    if halves == plan:
        return settle(attempts, plan, text)
    workshop, choice = attempts.workshop, attempts.trial.choice
    parts = workshop.convert(plan)
    try:
        # The workshop gives what it has made before: a part that is in both is timed once.
        parts += tuple(part for part in workshop.convert(halves) if part not in parts)
    except BundleError as error:
        return settle(attempts, plan, f"{text}; INT8 was not compared with FP16: {error}")
    speeds = Speeds(time_branches(parts, workshop.store, choice), choice)
    int8 = speeds.judge_int8(precisions_of(plan), precisions_of(halves))
    return settle(attempts, plan, f"{text}; {int8.text}", speeds, int8)
