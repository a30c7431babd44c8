from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.sample import AERIAL_BANDS, Sample
from runtime.satellite import SatelliteInput, SatelliteSpec
from trainkit.augment import Augmenter, Symmetry, moved, symmetries
from trainkit.recipe import AugmentConfig

ALL = symmetries(AugmentConfig(flips=True, rotations=True))
NOTHING = AugmentConfig(flips=False, rotations=False)
CELLS = 40
SIDE = 512


@pytest.fixture
def sample(dataset: Any) -> Sample:
    read: Sample = dataset.read("a01", SatelliteSpec())
    return read


def series_of(sample: Sample) -> SatelliteInput:
    assert sample.satellite is not None
    return sample.satellite


def cells_of_pixels() -> NDArray[np.intp]:
    """The cell of the window that each row or column of the tile lies in."""
    metres = (np.arange(SIDE) + 0.5 - SIDE / 2) * 0.2
    cells: NDArray[np.intp] = np.floor(metres / 10.0 + CELLS / 2).astype(np.intp)
    return cells


def grounded() -> Sample:
    """A sample in which all inputs of a place hold the number of its cell."""
    number = np.arange(CELLS * CELLS).reshape(CELLS, CELLS)
    cell = cells_of_pixels()
    pixels = number[cell[:, None], cell[None, :]]
    series = np.broadcast_to(number.astype(np.float32), (12, 10, CELLS, CELLS))
    ones = np.ones(12, dtype=np.float32)
    return Sample(
        id="ground",
        bands=("low", "high"),
        aerial=np.stack([pixels % 251, pixels // 251]).astype(np.uint8),
        satellite=SatelliteInput(series=series, date_mask=ones, days=ones, dates_used=()),
        labels=(pixels % 251).astype(np.uint8),
    )


@pytest.mark.parametrize("symmetry", ALL)
def test_every_symmetry_keeps_pixels_cells_and_labels_on_the_same_ground(
    symmetry: Symmetry,
) -> None:
    changed = moved(grounded(), symmetry)
    cell = cells_of_pixels()
    series = series_of(changed).series
    below = series[:, :, cell[:, None], cell[None, :]]
    pixels = changed.aerial[0].astype(np.float32) + 251.0 * changed.aerial[1]
    assert (below == pixels).all()
    assert changed.labels is not None
    assert (changed.labels == changed.aerial[0]).all()


def test_there_are_eight_different_symmetries() -> None:
    square = np.arange(9).reshape(3, 3)
    assert len({symmetry(square).tobytes() for symmetry in ALL}) == 8


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (NOTHING, [[[0, 1], [2, 3]]]),
        (
            replace(NOTHING, flips=True),
            [[[0, 1], [2, 3]], [[3, 2], [1, 0]], [[1, 0], [3, 2]], [[2, 3], [0, 1]]],
        ),
        (
            replace(NOTHING, rotations=True),
            [[[0, 1], [2, 3]], [[1, 3], [0, 2]], [[3, 2], [1, 0]], [[2, 0], [3, 1]]],
        ),
    ],
)
def test_flips_and_quarter_turns_can_be_had_alone(
    config: AugmentConfig, expected: list[list[list[int]]]
) -> None:
    square = np.arange(4).reshape(2, 2)
    assert [symmetry(square).tolist() for symmetry in symmetries(config)] == expected


def test_a_crop_keeps_labels_on_their_pixels() -> None:
    augmenter = Augmenter(config=AugmentConfig(), bands=("red", "green"), crop_px=256)
    rng = np.random.default_rng(1)
    places = set()
    for _ in range(20):
        changed = augmenter(grounded(), rng)
        assert changed.labels is not None
        assert changed.aerial.shape == (2, 256, 256)
        assert (changed.labels == changed.aerial[0]).all()
        places.add(changed.aerial.tobytes())
    assert len(places) == 20


def test_without_augmentation_a_sample_stays_as_it_is(sample: Sample) -> None:
    changed = Augmenter(config=NOTHING, bands=AERIAL_BANDS)(sample, np.random.default_rng(0))
    assert (changed.aerial == sample.aerial).all()
    assert (series_of(changed).series == series_of(sample).series).all()


def test_brightness_and_contrast_leave_heights_alone(sample: Sample) -> None:
    config = replace(NOTHING, brightness=0.2, contrast=0.2)
    changed = Augmenter(config=config, bands=AERIAL_BANDS)(sample, np.random.default_rng(0))
    assert changed.aerial.dtype == np.uint8
    assert (changed.aerial[4] == sample.aerial[4]).all()
    assert all((changed.aerial[band] != sample.aerial[band]).any() for band in range(4))


def test_brightness_moves_all_bands_by_one_shift_within_the_range(sample: Sample) -> None:
    config = replace(NOTHING, brightness=0.1)
    changed = Augmenter(config=config, bands=AERIAL_BANDS)(sample, np.random.default_rng(3))
    shift = changed.aerial[:4].astype(int) - sample.aerial[:4]
    inside = (changed.aerial[:4] > 0) & (changed.aerial[:4] < 255)
    # Rounding moves a value by half a level at most.
    assert np.ptp(shift[inside]) <= 1
    assert 0 < abs(shift[inside].mean()) <= 25.5


def test_masked_months_are_empty_and_at_least_three_stay(sample: Sample) -> None:
    augmenter = Augmenter(config=replace(NOTHING, date_dropout=0.7), bands=AERIAL_BANDS)
    rng = np.random.default_rng(0)
    counts = set()
    for _ in range(30):
        changed = series_of(augmenter(sample, rng))
        masked = changed.date_mask == 0
        assert not changed.series[masked].any()
        assert (changed.series[~masked] == series_of(sample).series[~masked]).all()
        assert changed.date_mask[1] == 0
        counts.add(int(changed.date_mask.sum()))
    assert min(counts) >= 3
    assert len(counts) > 3


def test_gain_scales_each_month_by_one_number(sample: Sample) -> None:
    augmenter = Augmenter(config=replace(NOTHING, satellite_gain=0.1), bands=AERIAL_BANDS)
    before = series_of(sample).series
    after = series_of(augmenter(sample, np.random.default_rng(0))).series
    months = [month for month in range(12) if before[month].any()]
    gains = [float(after[month].sum() / before[month].sum()) for month in months]
    for month, gain in zip(months, gains, strict=True):
        np.testing.assert_allclose(after[month], before[month] * gain, rtol=1e-4)
    assert 0.9 * 0.95 <= min(gains) < max(gains) <= 1.1 * 1.05


def test_the_sample_itself_is_not_changed(sample: Sample) -> None:
    config = AugmentConfig(brightness=0.2, contrast=0.2, date_dropout=0.5, satellite_gain=0.2)
    copies = [sample.aerial.copy(), series_of(sample).series.copy()]
    Augmenter(config=config, bands=AERIAL_BANDS, crop_px=256)(sample, np.random.default_rng(0))
    assert (sample.aerial == copies[0]).all()
    assert (series_of(sample).series == copies[1]).all()
