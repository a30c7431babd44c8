import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration.shuffling import PERMUTATIONS, AreaPairs, fit

Sides = tuple[NDArray[np.float32], NDArray[np.float32]]


def sides(samples: int, noise: float, seed: int) -> Sides:
    """Two sides that show one ground, with noise of this many times its size."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(samples, 2, 9))
    pair = [truth + noise * rng.normal(size=truth.shape) for _ in range(2)]
    return pair[0].astype(np.float32), pair[1].astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_pairs_of_one_ground_stand_out(seed: int) -> None:
    found = fit(*sides(16, 0.5, seed), ["a"] * 16, seed=0)
    assert found.correlation > 0.6 > found.shuffled
    assert found.p_value == 1 / (1 + PERMUTATIONS)
    assert found.samples == 16


def test_the_p_value_of_unpaired_images_is_any_number() -> None:
    rng = np.random.default_rng(2)
    values = []
    for seed in range(60):
        air, orbit = sides(12, 0.2, seed)
        order = rng.permutation(12)
        values.append(fit(air, orbit[order], ["a"] * 12, seed=seed).p_value)
    for level in (0.2, 0.5, 0.8):
        assert np.mean(np.array(values) < level) == pytest.approx(level, abs=0.2)


@settings(max_examples=10)
@given(gain=st.floats(0.01, 100), offset=st.floats(-50, 50))
def test_only_the_order_of_the_values_counts(gain: float, offset: float) -> None:
    air, orbit = (side.astype(np.float64) for side in sides(8, 0.5, 3))
    areas = ["a"] * 8
    one = fit(air, orbit, areas, seed=0)  # type: ignore[arg-type]
    other = fit(np.cbrt(air) * gain + offset, orbit, areas, seed=0)  # type: ignore[arg-type]
    assert one == other


def test_more_is_asked_of_many_pairs_than_of_few() -> None:
    assert [fit(*sides(count, 0.5, 1), ["a"] * count, seed=0).limit for count in (23, 24)] == [
        0.05,
        0.01,
    ]


def test_differences_between_areas_do_not_make_shuffled_pairs_fit() -> None:
    air, orbit = sides(24, 0.2, 4)
    areas = [name for name in "abc" for _ in range(8)]
    for side in (air, orbit):
        side += 9 * np.arange(3).repeat(8)[:, None, None].astype(np.float32)
    rng = np.random.default_rng(5)
    order = np.concatenate([start + rng.permutation(8) for start in (0, 8, 16)])
    assert fit(air, orbit, areas, seed=0).p_value < 0.01
    found = fit(air, orbit[order], areas, seed=0)
    assert found.p_value > 0.05
    assert abs(found.correlation) < 0.3, "the areas alone would correlate by 0.9"


def test_areas_of_few_pairs_are_permuted_with_each_other() -> None:
    air, orbit = sides(9, 0.2, 6)
    found = fit(air, orbit, [f"area {i // 3}" for i in range(9)], seed=0)
    assert found.p_value < 0.01
    assert found.areas == {}


def test_an_area_that_was_shuffled_is_told_from_the_others() -> None:
    air, orbit = sides(40, 0.5, 7)
    areas = ["good"] * 20 + ["bad"] * 14 + ["few"] * 6
    orbit[20:34] = np.roll(orbit[20:34], 1, axis=0)
    found = fit(air, orbit, areas, seed=0)
    assert found.p_value < 0.01, "most pairs are right"
    assert set(found.areas) == {"good", "bad"}
    assert [found.areas[name].suspect for name in ("good", "bad")] == [False, True]
    assert found.areas["bad"].samples == 14
    assert found.areas["good"].others < 0.4 < 0.6 < found.areas["bad"].others


@pytest.mark.parametrize(
    ("samples", "p_value", "others", "suspect"),
    [
        (12, 0.21, 0.41, True),
        (12, 0.19, 0.41, False),
        (12, 0.21, 0.39, False),
        (11, 0.49, 0.41, False),
        (11, 0.51, 0.41, True),
    ],
)
def test_an_area_is_suspect_when_its_pairs_could_fit_and_do_not(
    samples: int, p_value: float, others: float, suspect: bool
) -> None:
    area = AreaPairs(samples=samples, correlation=0.1, others=others, spread=0.2, p_value=p_value)
    assert area.suspect == suspect


def test_an_area_is_not_suspect_where_the_others_are_no_better() -> None:
    air, _ = sides(30, 0.5, 8)
    _, orbit = sides(30, 0.5, 9)
    found = fit(air, orbit, ["a"] * 15 + ["b"] * 15, seed=0)
    assert found.p_value > 0.05
    assert not any(area.suspect for area in found.areas.values())


def test_one_satellite_image_for_all_pairs_does_not_fit() -> None:
    air, orbit = sides(10, 0.2, 1)
    found = fit(air, np.repeat(orbit[:1], 10, axis=0), ["a"] * 10, seed=0)
    assert found.p_value == 1.0


def test_sides_that_show_nothing_do_not_correlate() -> None:
    air, _ = sides(10, 0.2, 1)
    found = fit(air, np.zeros_like(air), ["a"] * 10, seed=0)
    assert (found.correlation, found.shuffled, found.p_value) == (0.0, 0.0, 1.0)
