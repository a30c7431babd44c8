import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segx.sample.noise import Field, uniform

BOUNDS = (-40.0, -25.0, 60.0, 35.0)


def test_a_field_is_the_same_on_axes_and_at_points() -> None:
    field = Field.over(BOUNDS, 7.0, np.random.default_rng(0))
    ys = np.linspace(-25, 35, 23, dtype=np.float32)
    xs = np.linspace(-40, 60, 31, dtype=np.float32)
    on_grid = field.on_axes(ys, xs)
    rows, cols = np.meshgrid(ys, xs, indexing="ij")
    assert on_grid.shape == (23, 31)
    np.testing.assert_allclose(on_grid, field.at(rows, cols), atol=2e-6)


def test_a_field_is_smooth_and_about_of_unit_size() -> None:
    field = Field.over((0.0, 0.0, 900.0, 900.0), 10.0, np.random.default_rng(1))
    axis = np.arange(0, 900, 1.0, dtype=np.float32)
    values = field.on_axes(axis, axis)
    assert 0.85 < values.std() < 1.15
    # A tenth of a bump changes the value by a fraction of its size only.
    assert np.abs(np.diff(values, axis=1)).max() < 1.0


@given(
    keys=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=50), salt=st.integers(0, 2**20)
)
def test_hashed_numbers_lie_in_the_unit_interval_and_repeat(keys: list[int], salt: int) -> None:
    array = np.array(keys)
    values = uniform(array, salt)
    assert values.dtype == np.float32
    assert ((values >= 0) & (values < 1)).all()
    np.testing.assert_array_equal(values[::-1], uniform(array[::-1], salt))


def test_hashed_numbers_are_spread_evenly_and_differ_by_salt() -> None:
    keys = np.arange(50_000)
    first, second = uniform(keys, 1), uniform(keys, 2)
    counts = np.histogram(first, 20, (0, 1))[0]
    assert counts.min() > 2_300
    assert counts.max() < 2_700
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.02
