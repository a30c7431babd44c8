import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from calibration.candidates import draw, quotas_of


@given(
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=40),
    most=st.integers(1, 300),
    seed=st.integers(0, 9),
)
def test_candidates_are_shared_out_in_proportion_but_no_area_is_forgotten(
    sizes: list[int], most: int, seed: int
) -> None:
    assume(sum(sizes) > most)
    quotas = quotas_of(np.array(sizes), most, np.random.default_rng(seed))
    assert quotas.sum() == most
    assert (quotas <= sizes).all()
    if len(sizes) <= most:
        assert quotas.min() >= 1
    else:
        assert quotas.max() == 1, "nobody has two while others have none"
    exact = np.array(sizes) * most / sum(sizes)
    if exact.min() >= 1:
        assert np.abs(quotas - exact).max() < 1


def test_the_rarest_areas_get_theirs_from_the_one_that_has_most() -> None:
    sizes = np.array([1, 600, 3, 200, 2])
    assert quotas_of(sizes, 8, np.random.default_rng(0)).tolist() == [1, 3, 1, 2, 1]
    # None has one to spare.
    assert quotas_of(sizes, 2, np.random.default_rng(0)).tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("seed", range(3))
def test_the_patches_drawn_are_of_every_area_each_once_and_always_the_same(seed: int) -> None:
    groups = {
        f"{name}{i:03d}": name for name, n in (("a", 300), ("b", 1), ("c", 2)) for i in range(n)
    }
    first, again = (draw(tuple(groups), groups, 8, np.random.default_rng(seed)) for _ in range(2))
    assert first == again == sorted(set(first))
    assert len(first) == 8
    assert {groups[patch_id] for patch_id in first} == {"a", "b", "c"}
    assert draw(tuple(groups), groups, 303, np.random.default_rng(seed)) == sorted(groups)
