"""What is taken away from a model's inputs, and that nothing else is."""

import datetime
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.card import ModelCard
from runtime.datasets.flair import CLASSES
from runtime.errors import BandError, BundleError, ConfigError
from runtime.manifest import AerialSpec, Normalization
from runtime.robustness import (
    PLAIN,
    Perturbed,
    Setting,
    ShiftedSpec,
    changed_card,
    check_settings,
    kept_months,
    settings,
    with_months,
    without_band,
)
from runtime.satellite import SatelliteSpec, SatelliteStack, window_cells

SPEC = SatelliteSpec(window=8)
CARD = ModelCard(
    name="made",
    sha256="0" * 64,
    verified=False,
    toy=False,
    aerial=AerialSpec(
        bands=("red", "nir"),
        resolution_m=0.2,
        tile_size=64,
        halo=0,
        stride=4,
        halo_exact=True,
        normalization=Normalization(mean=(100.4, 31.6), std=(50.0, 20.0)),
    ),
    satellite=SPEC,
    classes=CLASSES,
    single_branch=True,
)


def stack() -> SatelliteStack:
    rng = np.random.default_rng(5)
    return SatelliteStack(
        dn=rng.integers(1, 10_000, (4, 10, 40, 50), dtype=np.uint16),
        cover=np.zeros((4, 2, 40, 50), dtype=np.uint8),
        dates=tuple(datetime.date(2021, month, 3) for month in (2, 5, 6, 9)),
        offsets=(0,) * 4,
    )


def feed(batch: int = 2) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(1)
    date_mask = np.ones((batch, 12), dtype=np.float32)
    date_mask[0, [0, 3, 10]] = 0.0
    series = rng.random((batch, 12, 10, 8, 8), dtype=np.float32)
    return {
        "aerial": rng.integers(0, 256, (batch, 2, 64, 64), dtype=np.uint8),
        "satellite": series * date_mask[:, :, None, None, None],
        "date_mask": date_mask,
        "days": rng.random((batch, 12), dtype=np.float32),
    }


class Recorder:
    """A model that keeps what it is given."""

    precision = "fp32"

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.given = dict(feed)
        return {}


def assert_same(one: Mapping[str, NDArray[Any]], two: Mapping[str, NDArray[Any]]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def given_to(setting: Setting, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    model = Recorder()
    blank = {"satellite_logits": np.zeros(3)}
    Perturbed(model, CARD, setting, lambda left: {**left, **blank}).run(batch)
    return model.given


def test_a_shift_of_nothing_is_the_plain_window() -> None:
    cells = window_cells(20.3, 25.7, 8)
    moved = ShiftedSpec(window=8, shift_m=0.0).prepare(stack(), *cells)
    np.testing.assert_array_equal(moved.series, SPEC.prepare(stack(), *cells).series)


@pytest.mark.parametrize("shift_m", [5.0, 20.0, -10.0])
def test_a_shift_samples_so_many_metres_further_along_the_rows(shift_m: float) -> None:
    rows, cols = window_cells(20.3, 25.7, 8)
    spec = ShiftedSpec(window=8, shift_m=shift_m)
    expected = SPEC.prepare(stack(), rows, cols + shift_m / 10.0)
    np.testing.assert_allclose(spec.prepare(stack(), rows, cols).series, expected.series, atol=1e-6)
    # A window that is turned to the series' grid takes its own right.
    turned = SPEC.prepare(stack(), cols - 5.0 + shift_m / 10.0, rows)
    found = spec.prepare(stack(), cols - 5.0, rows)
    np.testing.assert_allclose(found.series, turned.series, atol=1e-6)


def test_a_series_of_larger_pixels_is_shifted_by_metres_too() -> None:
    rows, cols = window_cells(20.0, 25.0, 8)
    found = ShiftedSpec(window=8, shift_m=10.0).prepare(stack(), rows / 2, cols / 2)
    expected = SPEC.prepare(stack(), rows / 2, cols / 2 + 0.5)
    np.testing.assert_allclose(found.series, expected.series, atol=1e-6)


def test_only_a_shift_changes_how_patches_are_read() -> None:
    assert changed_card(CARD, Setting(name="x", months=3, band="nir")) is CARD
    shifted = changed_card(CARD, Setting(name="x", shift_m=5.0))
    assert shifted.satellite == ShiftedSpec(window=8, shift_m=5.0)
    assert replace(shifted, satellite=SPEC) == CARD


@given(mask=st.lists(st.booleans(), min_size=12, max_size=12), count=st.integers(1, 12))
def test_kept_months_are_some_of_the_valid_ones_and_evenly_spread(
    mask: list[bool], count: int
) -> None:
    valid = np.array(mask, dtype=np.float32)
    kept = kept_months(valid, count)
    assert kept.sum() == min(count, valid.sum())
    assert (kept <= valid).all()
    if kept.sum() < valid.sum():
        places = np.cumsum(valid)[kept > 0]
        gaps = np.diff([-places[0] + 1, *places, 2 * valid.sum() - places[-1] + 1])
        assert gaps.max() - gaps.min() <= 2


def test_months_that_are_taken_away_are_empty_and_the_others_stay() -> None:
    batch = feed()
    left = with_months(batch, 3)
    assert left["date_mask"].sum(axis=1).tolist() == [3.0, 3.0]
    kept = left["date_mask"] > 0
    np.testing.assert_array_equal(left["satellite"][kept], batch["satellite"][kept])
    assert not left["satellite"][~kept].any()
    assert_same(with_months(batch, 12), batch)
    assert_same(with_months(left, 3), left)


@pytest.mark.parametrize(
    ("band", "name", "index"), [("nir", "aerial", (slice(None), 1)), ("B08", "satellite", None)]
)
def test_a_band_left_out_twice_is_left_out_once(
    band: str, name: str, index: tuple[Any, ...] | None
) -> None:
    batch, place = feed(), index or (slice(None), slice(None), 6)
    once = without_band(batch, band, CARD)
    assert_same(without_band(once, band, CARD), once)
    assert len(np.unique(once[name][place])) == 1
    others = once[name].copy()
    others[place] = batch[name][place]
    assert_same({**once, name: others}, batch)


def test_the_model_sees_zeros_where_an_aerial_band_is_left_out() -> None:
    left = without_band(feed(), "nir", CARD)["aerial"][:, 1].astype(np.float32)
    scale = CARD.aerial.normalization
    # As near as whole numbers allow.
    assert (abs(left - scale.mean[1]) / scale.std[1] <= 0.5 / 20.0).all()


def test_nothing_taken_away_is_nothing_changed() -> None:
    assert_same(given_to(PLAIN, feed()), feed())


def test_without_any_month_the_satellite_branch_gives_zeros() -> None:
    given = given_to(Setting(name="x", months=0), feed())
    assert set(given) == {"aerial", "satellite_logits"}
    np.testing.assert_array_equal(given["aerial"], feed()["aerial"])


def test_every_setting_stands_by_itself_after_the_plain_one() -> None:
    asked = settings([12, 0], [5.0], ["nir"])
    assert [item.name for item in asked] == [
        "as it is",
        "12 months",
        "0 months",
        "satellite 5 m east",
        "without nir",
    ]
    assert asked[0] == PLAIN
    check_settings(asked, CARD)


ALONE = replace(CARD, satellite=None)
WRONG: dict[str, tuple[ModelCard, Setting, type[Exception], str]] = {
    "months below 0": (CARD, Setting(name="x", months=-1), ConfigError, "months of 0 or more"),
    "an endless shift": (CARD, Setting(name="x", shift_m=np.inf), ConfigError, "and metres"),
    "months of an aerial model": (ALONE, Setting(name="x", months=3), ConfigError, "no satellite"),
    "shift of an aerial model": (ALONE, Setting(name="x", shift_m=3), ConfigError, "no satellite"),
    "unknown band": (CARD, Setting(name="x", band="green"), BandError, "red, nir, B02, .*'green'"),
    "a branch that is needed": (
        replace(CARD, single_branch=False),
        Setting(name="x", months=0),
        BundleError,
        "leave 0 out of --dates",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_settings_that_a_model_cannot_be_measured_under_are_refused(case: str) -> None:
    card, setting, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        check_settings((setting,), card)
