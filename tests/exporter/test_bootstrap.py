import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from exporter.bootstrap import Bounds, Z, bounds, draw_mious
from runtime.metrics import ConfusionMatrix, score

K = 4
SCORED = np.array([True, False, True, True])


def maps(seed: int, patches: int, number: int) -> list[NDArray[np.int64]]:
    """Confusion matrices of several maps of the same labels; not every class is everywhere."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, (patches, 50)) * rng.integers(0, 2, (patches, 1))
    found = []
    for _ in range(number):
        predicted = np.where(rng.random(labels.shape) < 0.6, labels, rng.integers(0, K))
        counts = np.zeros((patches, K, K), dtype=np.int64)
        np.add.at(counts, (np.arange(patches)[:, None], labels, predicted), 1)
        found.append(counts)
    return found


def by_definition(counts: NDArray[np.int64], draws: int, seed: int) -> list[float]:
    """Draw patches one by one and score what was drawn with the metrics of `segx eval`."""
    rng, patches, results = np.random.default_rng(seed), len(counts), []
    for _ in range(draws):
        times = rng.multinomial(patches, [1 / patches] * patches)
        matrix = ConfusionMatrix(K)
        for patch, number in zip(counts, times, strict=True):
            for _ in range(number):
                matrix.counts += patch
        classes = score(matrix, ["a"] * K, SCORED.tolist()).classes
        held = [c.iou for c, scored in zip(classes, SCORED, strict=True) if scored and c.share > 0]
        results.append(float(np.mean(held)) if held else float("nan"))
    return results


@pytest.mark.parametrize("patches", [1, 2, 9])
def test_every_draw_is_what_drawing_patches_by_hand_gives(patches: int) -> None:
    counts = maps(patches, patches, 2)
    drawn = draw_mious(counts, SCORED, draws=270, seed=7)
    for row, item in zip(drawn, counts, strict=True):
        np.testing.assert_allclose(row, by_definition(item, 270, 7), rtol=1e-12)


def test_bounds_leave_a_tenth_of_the_draws_outside_on_either_side() -> None:
    first, second = draw_mious(maps(3, 12, 2), SCORED)
    found = bounds(first - second)
    assert len(first) >= 2000
    assert np.mean(first - second > found.lower) == pytest.approx(0.9, abs=1e-3)
    assert np.mean(first - second < found.upper) == pytest.approx(0.9, abs=1e-3)
    assert found.standard_error == pytest.approx(np.std(first - second), rel=1e-3)


@given(arrays(np.float64, st.integers(2, 30), elements=st.floats(-50, 50)), st.floats(-9, 9))
def test_a_shift_of_all_draws_shifts_the_bounds(values: NDArray[np.float64], by: float) -> None:
    before, after = bounds(values), bounds(values + by)
    assert after.lower == pytest.approx(before.lower + by, abs=1e-9)
    assert after.upper == pytest.approx(before.upper + by, abs=1e-9)
    assert after.standard_error == pytest.approx(before.standard_error, abs=1e-9)
    assert before.lower <= before.upper


def test_the_same_map_differs_from_itself_by_nothing_whatever_is_drawn() -> None:
    (counts,) = maps(0, 6, 1)
    first, second = draw_mious([counts, counts.copy()], SCORED)
    found = bounds(first - second)
    assert (found.lower, found.upper, found.standard_error) == (0.0, 0.0, 0.0)


def test_the_seed_decides_what_is_drawn() -> None:
    counts = maps(1, 6, 1)
    drawn = [draw_mious(counts, SCORED, draws=20, seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_patches_without_a_scored_label_bound_nothing() -> None:
    counts = np.zeros((3, K, K), dtype=np.int64)
    counts[:, 1, 1] = 5
    drawn = draw_mious([counts], SCORED, draws=10)
    assert np.isnan(drawn).all()
    assert np.isnan(bounds(drawn[0]).lower)


def test_four_times_the_patches_halve_the_standard_error() -> None:
    found = Bounds(lower=-1.0, upper=3.0, standard_error=2.0)
    # The lower bound is zero where the difference is Z standard errors.
    assert found.patches_for(Z * 2.0, 10) == 10
    assert found.patches_for(Z, 10) == 40
    assert found.patches_for(0.0, 10) == np.inf
    assert found.patches_for(float("nan"), 10) == np.inf
