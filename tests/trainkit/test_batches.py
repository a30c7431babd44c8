from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ConfigError, DataError
from runtime.satellite import SatelliteSpec
from trainkit.augment import Augmenter
from trainkit.batches import (
    Draws,
    Patches,
    Share,
    check_loader,
    fits_in_memory,
    order,
    step_batches,
    train_loader,
)
from trainkit.config import TrainConfig, load
from trainkit.inputs import satellite_spec
from trainkit.recipe import AugmentConfig


def patches_of(dataset: Any, config: TrainConfig, **changes: Any) -> Patches:
    values = {
        "source": dataset,
        "ids": dataset.ids("train"),
        "inputs": config.input,
        "satellite": satellite_spec(config),
        "keep": True,
    }
    return Patches(**{**values, **changes})


def draws_of(patches: Patches, role: Any = "aerial", seed: int = 3) -> Draws:
    augmenter = Augmenter(
        config=AugmentConfig(date_dropout=0.3, brightness=0.1),
        bands=patches.inputs.aerial_bands,
        crop_px=256 if role == "aerial" else 0,
    )
    return Draws(patches=patches, role=role, augmenter=augmenter, seed=seed)


@given(
    first=st.integers(0, 50),
    count=st.integers(1, 6),
    size=st.integers(1, 4),
    accumulate=st.integers(1, 3),
    processes=st.integers(1, 4),
)
def test_processes_and_forward_passes_share_out_the_draws_of_a_stretch(
    first: int, count: int, size: int, accumulate: int, processes: int
) -> None:
    per_step = size * processes * accumulate
    steps = range(first, first + count)
    taken = []
    for rank in range(processes):
        share = Share(rank=rank, processes=processes)
        batches = step_batches(steps, per_step, accumulate, share)
        assert len(batches) == count * accumulate
        assert all(len(batch) == size for batch in batches)
        taken += [draw for batch in batches for draw in batch]
    assert sorted(taken) == list(range(first * per_step, (first + count) * per_step))


@given(count=st.integers(1, 40), seed=st.integers(0, 5), turn=st.integers(0, 5))
def test_every_pass_takes_every_patch_once(count: int, seed: int, turn: int) -> None:
    assert sorted(order(count, seed, turn)) == list(range(count))


def test_passes_and_seeds_differ_in_their_order() -> None:
    orders = {order(20, seed, turn) for seed in range(3) for turn in range(3)}
    assert len(orders) == 9


@pytest.mark.parametrize("role", ["aerial", "satellite"])
def test_a_draw_follows_from_its_number_and_the_seed(
    dataset: Any, tiny: TrainConfig, role: Any
) -> None:
    patches = patches_of(dataset, tiny)
    first, again, other = (
        draws_of(patches, role),
        draws_of(patches, role),
        draws_of(patches, role, 4),
    )
    for draw in (0, 5, 2):
        one, two = first[draw], again[draw]
        assert one.keys() == two.keys()
        assert all((one[name] == two[name]).all() for name in one)
    assert any((first[0][name] != other[0][name]).any() for name in first[0])


def test_draws_of_one_patch_differ_from_pass_to_pass(dataset: Any, tiny: TrainConfig) -> None:
    draws = draws_of(patches_of(dataset, tiny, ids=("a00",)))
    assert len({draws[draw]["aerial"].tobytes() for draw in range(6)}) == 6


def test_a_batch_is_its_draws_on_top_of_each_other(dataset: Any, tiny: TrainConfig) -> None:
    draws = draws_of(patches_of(dataset, tiny), "satellite")
    batches = list(train_loader(draws, [range(0, 2), range(2, 4)], 0))
    assert [batch["satellite"].shape for batch in batches] == [(2, 12, 10, 40, 40)] * 2
    for name, value in batches[1].items():
        expected = np.stack([draws[draw][name] for draw in (2, 3)])
        assert (value.numpy() == expected).all()
        assert value.dtype == torch.from_numpy(expected).dtype


def test_checks_see_each_patch_once_and_unchanged(dataset: Any, tiny: TrainConfig) -> None:
    patches = patches_of(dataset, tiny)
    seen = [
        batch["aerial"][0].numpy().tobytes()
        for rank in range(3)
        for batch in check_loader(patches, "aerial", Share(rank=rank, processes=3), 0)
    ]
    assert sorted(seen) == sorted(sample.aerial.tobytes() for sample in patches)


def test_bands_are_taken_by_name_in_the_order_of_the_config(
    dataset: Any, tiny: TrainConfig
) -> None:
    inputs = replace(
        tiny.input, aerial_bands=("nir", "red"), aerial_mean=(1.0, 1.0), aerial_std=(1.0, 1.0)
    )
    chosen = patches_of(dataset, tiny, inputs=inputs)[0]
    every = patches_of(dataset, tiny)[0]
    assert (chosen.aerial == every.aerial[[3, 0]]).all()


def test_a_band_that_the_patches_lack_is_refused(dataset: Any, tiny: TrainConfig) -> None:
    bands = ("red", "green", "blue", "thermal", "elevation")
    patches = patches_of(dataset, tiny, inputs=replace(tiny.input, aerial_bands=bands))
    with pytest.raises(ConfigError, match=r"has 'thermal'; .* choose from these"):
        patches[0]


def test_patches_of_another_size_than_the_tile_are_refused(dataset: Any, tiny: TrainConfig) -> None:
    patches = patches_of(dataset, tiny, inputs=replace(tiny.input, tile_size=256))
    with pytest.raises(DataError, match=r"is 512 x 512 px and input.tile_size is 256"):
        patches[0]


def test_a_patch_without_labels_is_refused(dataset: Any, tiny: TrainConfig) -> None:
    dataset.labelled = False
    with pytest.raises(DataError, match="has no labels for a00"):
        patches_of(dataset, tiny)[0]


@pytest.mark.parametrize(("keep", "reads"), [(True, 4), (False, 8)])
def test_patches_that_fit_in_memory_are_read_once(
    dataset: Any, tiny: TrainConfig, keep: bool, reads: int
) -> None:
    patches = patches_of(dataset, tiny, keep=keep)
    for _ in range(2):
        assert [sample.id for sample in patches] == list(dataset.ids("train"))
    assert len(dataset.reads) == reads


def test_memory_is_counted_with_the_satellite_series(tiny: TrainConfig) -> None:
    patch = 6 * 512 * 512 + 4 * 12 * 10 * 40 * 40
    most = (2 << 30) // patch
    assert fits_in_memory(most, tiny)
    assert not fits_in_memory(most + 1, tiny)
    assert fits_in_memory(most + 1, replace(tiny, satellite=None))


def test_the_satellite_input_is_the_config_s() -> None:
    config = load("lf-dlm-tiny")
    spec = satellite_spec(config)
    assert spec == SatelliteSpec(
        bands=config.input.satellite_bands, window=40, cell_m=10.0, dates=config.dates
    )
    assert satellite_spec(load("unetformer")) is None
