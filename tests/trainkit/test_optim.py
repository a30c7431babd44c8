"""Learning rates and momenta against the ends, the top and the direction of every schedule."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainkit.optim import BETAS, MOMENTA, learning_rate, momentum
from trainkit.recipe import OptimConfig, Schedule, StageConfig

OPTIM = OptimConfig(lr=1e-2, min_lr=1e-4, warmup=0.25, start_div=20.0, epochs=0, steps=1)
ROUNDING = 1e-15
SCHEDULES: tuple[Schedule, ...] = ("polynomial", "cosine", "one-cycle", "constant")


@given(
    schedule=st.sampled_from(SCHEDULES),
    steps=st.integers(3, 300),
    warmup=st.floats(0.05, 0.8),
)
def test_every_rate_rises_to_its_top_and_then_never_rises_again(
    schedule: Schedule, steps: int, warmup: float
) -> None:
    optim = replace(OPTIM, schedule=schedule, warmup=warmup)
    rates = np.array([learning_rate(step, steps, optim) for step in range(steps + 1)])
    top = round(warmup * steps)
    assert (np.diff(rates[: top + 1]) >= -ROUNDING).all()
    assert (np.diff(rates[top:]) <= ROUNDING).all()
    assert rates.max() == pytest.approx(optim.lr)
    assert rates[-1] == pytest.approx(optim.lr if schedule == "constant" else optim.min_lr)


def test_one_cycle_begins_at_its_share_of_the_top_and_turns_where_it_says() -> None:
    optim = replace(OPTIM, schedule="one-cycle")
    rates = [learning_rate(step, 40, optim) for step in range(41)]
    assert rates[0] == pytest.approx(1e-2 / 20)
    assert int(np.argmax(rates)) == 10
    assert rates[5] == pytest.approx((1e-2 / 20 + 1e-2) / 2)
    assert rates[25] == pytest.approx((1e-2 + 1e-4) / 2)


def test_the_momentum_of_one_cycle_is_lowest_where_the_rate_is_highest() -> None:
    optim = replace(OPTIM, schedule="one-cycle")
    momenta = [momentum(step, 40, optim) for step in range(41)]
    rates = [learning_rate(step, 40, optim) for step in range(41)]
    assert [momenta[0], momenta[10], momenta[40]] == pytest.approx([MOMENTA[0], *MOMENTA[::-1]])
    assert (np.sign(np.diff(momenta)) == -np.sign(np.diff(rates))).all()


@pytest.mark.parametrize("schedule", ["polynomial", "cosine", "constant"])
def test_other_schedules_leave_the_momentum_alone(schedule: Schedule) -> None:
    optim = replace(OPTIM, schedule=schedule)
    assert {momentum(step, 7, optim) for step in range(8)} == {BETAS[0]}


def test_one_cycle_without_a_rise_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one-cycle schedule has warmup 0\.0"):
        replace(OPTIM, schedule="one-cycle", warmup=0.0)


def test_a_stage_changes_what_it_says_and_nothing_else() -> None:
    optim = replace(
        OPTIM, stages=(StageConfig(lr=1e-3, epochs=3), StageConfig(dice_weight=0.0, steps=5))
    )
    first, second = optim.trainings
    assert first == replace(OPTIM, lr=1e-3, epochs=3, steps=0)
    assert second == replace(OPTIM, dice_weight=0.0, steps=5)
    assert OPTIM.trainings == (OPTIM,)


def test_a_stage_that_contradicts_itself_is_refused_by_its_number() -> None:
    with pytest.raises(ValueError, match=r"stage 2: lr is 1e-05 and min_lr is 0\.0001"):
        replace(OPTIM, stages=(StageConfig(), StageConfig(lr=1e-5)))
