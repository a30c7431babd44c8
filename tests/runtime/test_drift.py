import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.bundle import open_bundle
from runtime.card import ModelCard
from runtime.datasets.flair import CLASSES
from runtime.drift import LEAST_MARGIN, BandRange, InputRanges, RangesBuilder
from runtime.errors import BundleError
from runtime.jsonfile import plain
from runtime.manifest import AerialSpec, Normalization, parse_manifest
from runtime.satellite import SatelliteSpec

SATELLITE = ("B04", "B08")


def card(*, satellite: bool = True) -> ModelCard:
    return ModelCard(
        name="m",
        sha256="0" * 64,
        verified=True,
        toy=False,
        aerial=AerialSpec(
            bands=("red", "nir", "elevation"),
            resolution_m=0.2,
            tile_size=6,
            halo=0,
            stride=1,
            halo_exact=True,
            normalization=Normalization(mean=(0.0,) * 3, std=(1.0,) * 3),
        ),
        satellite=SatelliteSpec(bands=SATELLITE, window=4) if satellite else None,
        classes=CLASSES,
    )


def feed(
    aerial: tuple[float, ...], satellite: tuple[float, ...] = (), months: int = 12
) -> dict[str, NDArray[Any]]:
    """Inputs whose bands have these means, around which their values lie."""
    tile = np.empty((1, 3, 5, 6), dtype=np.uint8)
    tile[:] = np.array(aerial)[None, :, None, None]
    tile[:, :, ::2, ::2] += 3
    tile[:, :, ::2, 1::2] -= 3
    made: dict[str, NDArray[Any]] = {"aerial": tile}
    if satellite:
        series = np.zeros((1, 12, 2, 4, 4), dtype=np.float32)
        series[:, :months] = np.array(satellite, dtype=np.float32)[:, None, None]
        series[:, :months, :, 0] += 0.01
        series[:, :months, :, 1] -= 0.01
        made["satellite"] = series
        made["date_mask"] = (np.arange(12) < months).astype(np.float32)[None]
        made["days"] = np.zeros((1, 12), dtype=np.float32)
    return made


def built(*feeds: dict[str, NDArray[Any]], satellite: bool = True) -> InputRanges:
    builder = RangesBuilder()
    for each in feeds:
        builder.add(each)
    return builder.finish(card(satellite=satellite))


def test_ranges_are_the_lowest_and_highest_mean_widened_by_a_quarter() -> None:
    ranges = built(
        feed((50, 90, 7), (0.1, 0.4)), feed((90, 50, 7), (0.2, 0.2)), feed((60, 60, 7), (0.15, 0.3))
    )
    assert ranges.samples == 3
    assert [band.name for band in ranges.aerial] == ["red", "nir", "elevation"]
    assert [band.name for band in ranges.satellite] == ["B04", "B08"]
    ends = [(band.low, band.high) for band in (*ranges.aerial, *ranges.satellite)]
    expected = [(40, 100), (40, 100), (3, 11), (0.075, 0.225), (0.15, 0.45)]
    np.testing.assert_allclose(ends, expected, atol=1e-6)
    assert LEAST_MARGIN["aerial"] == 4.0, "which is what makes room around 7"


@given(
    samples=st.lists(
        st.tuples(
            st.tuples(*[st.integers(3, 252)] * 3),
            st.tuples(*[st.floats(0.01, 1.5)] * 2),
            st.integers(1, 12),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_no_sample_that_ranges_come_from_is_outside(samples: list[Any]) -> None:
    feeds = [feed(*sample) for sample in samples]
    ranges = built(*feeds)
    assert [ranges.outside(each) for each in feeds] == [()] * len(feeds)


def test_every_band_outside_is_named_whichever_end_it_leaves() -> None:
    ranges = built(feed((50, 90, 7), (0.1, 0.4)), feed((90, 50, 7), (0.2, 0.2)))
    assert ranges.outside(feed((70, 70, 7), (0.15, 0.3))) == ()
    assert ranges.outside(feed((30, 70, 40), (0.15, 0.3))) == ("red", "elevation")
    assert ranges.outside(feed((70, 110, 7), (0.25, 0.1))) == ("nir", "B04", "B08")


def test_months_without_a_date_do_not_count() -> None:
    ranges = built(feed((50, 50, 50), (0.3, 0.4)))
    assert ranges.outside(feed((50, 50, 50), (0.3, 0.4), months=1)) == ()
    assert ranges.outside(feed((50, 50, 50), (0.3, 0.4), months=0)) == ("B04", "B08")


def test_pixels_without_data_do_not_count() -> None:
    ranges = built(feed((50, 60, 70)), satellite=False)
    half = feed((50, 60, 70))
    half["aerial"][:, :, :, 4:] = 0
    valid = np.ones((5, 6), dtype=np.bool_)
    assert ranges.outside(half, valid) == ("red", "nir", "elevation")
    valid[:, 4:] = False
    assert ranges.outside(half, valid) == ()


def test_a_model_of_one_input_has_aerial_ranges_only() -> None:
    ranges = built(feed((50, 60, 70)), satellite=False)
    assert ranges.satellite == ()
    assert ranges.outside(feed((50, 60, 170))) == ("elevation",)


def test_large_tiles_do_not_overflow() -> None:
    builder = RangesBuilder()
    builder.add({"aerial": np.full((1, 3, 4200, 4200), 255, dtype=np.uint8)})
    assert builder.finish(card(satellite=False)).aerial[0].high == 259.0


def test_ranges_of_nothing_are_a_wrong_call() -> None:
    with pytest.raises(ValueError, match="no sample was added"):
        built()


# In the manifest.


def test_a_bundle_gives_its_ranges_to_the_card(
    write_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = open_bundle(write_bundle(tmp_path / "plain.segx")).manifest
    ranges = InputRanges(
        samples=9,
        aerial=tuple(BandRange(name=b, low=1.5, high=2.0) for b in manifest.aerial.bands),
        satellite=tuple(BandRange(name=b, low=0.0, high=1.0) for b in SatelliteSpec().bands),
    )
    bundle = open_bundle(write_bundle(tmp_path / "new.segx", input_ranges=plain(ranges)))
    assert bundle.card.input_ranges == ranges
    assert open_bundle(tmp_path / "plain.segx").card.input_ranges is None


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"samples": 1, "aerial": []}, r"input ranges of \[\]; expected \['red', 'green', 'blue'"),
        ({"samples": 1}, "input_ranges lacks the key 'aerial'"),
        (
            {"samples": 1, "aerial": [{"name": "red", "low": 2.0, "high": 1.0}]},
            r"the range of red runs from 2\.0 to 1\.0",
        ),
        (
            {"samples": 1, "aerial": [{"name": "red", "low": float("nan"), "high": 1.0}]},
            r"the range of red runs from nan to 1\.0",
        ),
    ],
)
def test_ranges_that_do_not_fit_the_bands_are_refused(
    tiny_bundle: Path, ranges: dict[str, Any], message: str
) -> None:
    data = json.loads((tiny_bundle / "manifest.json").read_text())
    with pytest.raises(BundleError, match=message):
        parse_manifest({**data, "input_ranges": ranges}, where="m.json")
