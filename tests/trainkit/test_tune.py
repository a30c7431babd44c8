from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import DataError
from trainkit.tune import choose_tune, quotas

SIDE_M = 102.4


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    share=st.floats(0.0, 1.0),
    seed=st.integers(0, 9),
)
def test_quotas_add_up_and_leave_training_patches(
    sizes: list[int], share: float, seed: int
) -> None:
    if sum(sizes) < 2:
        return
    counts = quotas(sizes, share, np.random.default_rng(seed))
    assert 1 <= sum(counts) <= sum(sizes) - 1
    assert all(0 <= count <= size for count, size in zip(counts, sizes, strict=True))
    assert sum(counts) == min(max(1, round(share * sum(sizes))), sum(sizes) - 1)


def test_each_area_gives_its_share(dataset: Any) -> None:
    dataset.areas = {"a": 6, "b": 4, "v": 2}
    tune = choose_tune(dataset, dataset.ids("train"), share=0.25, seed=1)
    assert [sum(name[0] == area for name in tune) for area in "abv"] == [9, 4, 0]


@pytest.mark.parametrize("seed", range(8))
def test_patches_set_aside_are_a_block_at_the_border_of_their_area(dataset: Any, seed: int) -> None:
    dataset.areas = {"a": 8, "v": 1}
    ids = dataset.ids("train")
    tune = choose_tune(dataset, ids, share=0.25, seed=seed)
    assert len(tune) == 16
    aside = np.array([dataset.position(name) for name in tune])
    rest = np.array([dataset.position(name) for name in ids if name not in tune])
    # A straight line parts them, give or take the patches that it runs through.
    direction = aside.mean(axis=0) - rest.mean(axis=0)
    direction /= np.linalg.norm(direction)
    assert (aside @ direction).min() > (rest @ direction).max() - 2 * SIDE_M
    beside_rest = [(np.abs(rest - place).sum(axis=1) < 1.01 * SIDE_M).any() for place in aside]
    assert sum(beside_rest) <= 12


def test_the_seed_decides(dataset: Any) -> None:
    dataset.areas = {"a": 8, "v": 1}
    ids = dataset.ids("train")
    chosen = [choose_tune(dataset, ids, share=0.2, seed=seed) for seed in (1, 1, 2, 3)]
    assert chosen[0] == chosen[1]
    assert len(set(chosen)) == 3


def test_one_patch_cannot_be_trained_on_and_set_aside(dataset: Any) -> None:
    dataset.areas = {"a": 1, "v": 1}
    with pytest.raises(DataError, match=r"has 1 training patch\(es\); expected at least 2"):
        choose_tune(dataset, dataset.ids("train"), share=0.15, seed=0)
