from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.sample import AERIAL_BANDS, Sample
from runtime.satellite import SatelliteInput, SatelliteSpec
from runtime.symmetry import Symmetry
from trainkit.aerial_changes import warped
from trainkit.augment import Augmenter, moved, symmetries
from trainkit.batches import Role
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


COLOURED = [{"gamma": 0.3}, {"clahe": 1.0}, {"hue_saturation": 0.2}]
WARPED = [{"zoom": 0.2}, {"rotate": 10.0}, {"zoom": 0.2, "rotate": 10.0}]


@pytest.mark.parametrize("keys", [*COLOURED, *WARPED])
def test_a_draw_follows_from_its_number_and_the_seed(sample: Sample, keys: dict[str, Any]) -> None:
    config = replace(NOTHING, **keys)
    augmenter = Augmenter(config=config, bands=AERIAL_BANDS, role="aerial")
    one, other = (augmenter(sample, np.random.default_rng([7, draw, 1])) for draw in (4, 5))
    # Whatever was drawn in between.
    again = Augmenter(config=config, bands=AERIAL_BANDS, role="aerial")(
        sample, np.random.default_rng([7, 4, 1])
    )
    assert (again.aerial == one.aerial).all()
    assert (again.aerial != other.aerial).any()
    assert (one.aerial != sample.aerial).any()
    assert one.aerial.dtype == np.uint8
    assert one.aerial.shape == sample.aerial.shape


@pytest.mark.parametrize("keys", COLOURED)
def test_changes_of_light_leave_heights_and_labels_alone(
    sample: Sample, keys: dict[str, Any]
) -> None:
    augmenter = Augmenter(config=replace(NOTHING, **keys), bands=AERIAL_BANDS, role="aerial")
    before = sample.aerial.copy()
    changed = augmenter(sample, np.random.default_rng(0))
    assert (changed.aerial[4] == before[4]).all()
    assert (sample.aerial == before).all()
    assert changed.labels is not None
    assert (changed.labels == sample.labels).all()
    touched = [bool((changed.aerial[band] != before[band]).any()) for band in range(4)]
    # Hue and saturation mean nothing to near infrared.
    assert touched == [True, True, True, "hue_saturation" not in keys]


def test_one_exponent_is_taken_for_all_bands(sample: Sample) -> None:
    same = replace(sample, aerial=np.broadcast_to(sample.aerial[:1], sample.aerial.shape))
    augmenter = Augmenter(config=replace(NOTHING, gamma=0.3), bands=AERIAL_BANDS)
    changed = augmenter(same, np.random.default_rng(2)).aerial
    assert all((changed[band] == changed[0]).all() for band in range(4))


def test_light_without_colour_can_be_changed_too(sample: Sample) -> None:
    grey = sample.with_bands(("nir", "elevation"))
    config = replace(NOTHING, gamma=0.3, clahe=1.0)
    changed = Augmenter(config=config, bands=grey.bands)(grey, np.random.default_rng(0)).aerial
    assert (changed[0] != grey.aerial[0]).any()
    assert (changed[1] == grey.aerial[1]).all()


def test_a_zoom_of_one_and_no_turn_change_nothing(sample: Sample) -> None:
    aerial, labels = warped(sample.aerial, sample.labels, NOTHING, np.random.default_rng(0))
    assert (aerial == sample.aerial).all()
    assert labels is not None
    assert sample.labels is not None
    assert (labels == sample.labels).all()


@pytest.mark.parametrize("keys", WARPED)
def test_labels_stay_on_their_pixels_under_zoom_and_turn(keys: dict[str, Any]) -> None:
    before = blocks()
    augmenter = Augmenter(config=replace(NOTHING, **keys), bands=("a", "b"), role="aerial")
    changed = augmenter(before, np.random.default_rng(1))
    assert changed.labels is not None
    # Between blocks the image is a mixture; within them it is the number that the labels are.
    agree = changed.aerial[0] == changed.labels
    assert 0.9 < agree.mean() < 1.0
    assert set(np.unique(changed.labels)) <= set(range(8))
    assert (changed.aerial[1] == 200).all()


def blocks() -> Sample:
    """A sample of large blocks, whose first band is what the labels are."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 8, (8, 8), dtype=np.uint8).repeat(64, axis=0).repeat(64, axis=1)
    aerial = np.stack([labels, np.full_like(labels, 200)])
    return Sample(id="blocks", bands=("a", "b"), aerial=aerial, satellite=None, labels=labels)


def test_a_zoom_keeps_the_centre_and_both_axes_alike() -> None:
    place = (np.arange(SIDE) - (SIDE - 1) / 2).astype(np.float32)
    rows = np.clip(np.rint(128 + place / 4), 0, 255).astype(np.uint8)
    aerial = np.stack(np.meshgrid(rows, rows, indexing="ij"))
    inner = slice(128, -128)
    slopes = set()
    for draw in range(8):
        found, _ = warped(aerial, None, replace(NOTHING, zoom=0.2), np.random.default_rng([draw]))
        down = np.polyfit(place[inner], found[0, inner, 256].astype(float) - 128, 1)
        right = np.polyfit(place[inner], found[1, 256, inner].astype(float) - 128, 1)
        np.testing.assert_allclose(down, right, atol=2e-3)
        assert abs(down[1]) < 0.2
        assert 0.25 / 1.2 - 0.01 <= down[0] <= 0.25 / 0.8 + 0.01
        slopes.add(round(float(down[0]), 2))
    assert len(slopes) > 3


@pytest.mark.parametrize("role", ["satellite", "joint"])
def test_zoom_and_turn_are_for_patches_without_a_satellite_window(
    sample: Sample, role: Role
) -> None:
    config = replace(NOTHING, zoom=0.2, rotate=10.0)
    changed = Augmenter(config=config, bands=AERIAL_BANDS, role=role)(
        sample, np.random.default_rng(0)
    )
    assert (changed.aerial == sample.aerial).all()
    assert (series_of(changed).series == series_of(sample).series).all()


def test_any_number_of_months_is_kept_with_the_same_chance(sample: Sample) -> None:
    augmenter = Augmenter(config=replace(NOTHING, date_dropout="uniform"), bands=AERIAL_BANDS)
    rng = np.random.default_rng(0)
    counts = np.zeros(13, dtype=int)
    months = np.zeros(12, dtype=int)
    for _ in range(660):
        changed = series_of(augmenter(sample, rng))
        masked = changed.date_mask == 0
        assert not changed.series[masked].any()
        assert (changed.series[~masked] == series_of(sample).series[~masked]).all()
        counts[int(changed.date_mask.sum())] += 1
        months += ~masked
    # The series has eleven months: the second one is empty. Sixty of each, give or take four
    # standard deviations.
    assert counts[0] == counts[12] == months[1] == 0
    assert (abs(counts[1:12] - 60) < 4 * np.sqrt(60)).all()
    assert np.ptp(np.delete(months, 1)) < 100


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"zoom": 1.0}, "zoom is 1.0; expected 0 to below 1"),
        ({"clahe": 1.5}, "clahe is 1.5; expected a chance"),
        ({"date_dropout": -0.1}, "date_dropout is -0.1; expected a chance"),
    ],
)
def test_changes_that_leave_nothing_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentConfig(**keys)
