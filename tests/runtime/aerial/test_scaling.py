"""Laws: one rule for all files, monotone, the same in every window; nothing is scaled unsaid."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aerial_files import spoil_block, write_file
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.aerial import source
from runtime.aerial.mosaic import AerialFile
from runtime.aerial.reader import MosaicReader
from runtime.aerial.scaling import Scaling, choose_scaling, parse_scale
from runtime.errors import BandError, ConfigError, DataError, SegxError
from runtime.manifest import AerialSpec, Normalization, ValueScaling
from runtime.raster import describe

Write = Callable[..., Path]
BANDS = ("red", "nir")


def spec(bands: tuple[str, ...] = BANDS, *, rule: tuple[float, float] | None = None) -> AerialSpec:
    count = len(bands)
    return AerialSpec(
        bands=bands,
        resolution_m=0.2,
        tile_size=64,
        halo=16,
        stride=4,
        halo_exact=True,
        normalization=Normalization(mean=(0.0,) * count, std=(1.0,) * count),
        value_scaling=rule
        and ValueScaling(
            minimum=tuple(rule[0] + index for index in range(count)), maximum=(rule[1],) * count
        ),
    )


def values(*shape: int, dtype: str = "uint16", seed: int = 0) -> NDArray[Any]:
    drawn: NDArray[Any] = np.random.default_rng(seed).integers(1, 4096, shape).astype(dtype)
    return drawn


def placed(path: Path, **options: Any) -> AerialFile:
    return AerialFile(path=path, info=describe(path), row=0, col=0, **options)


def choose(*paths: Path, wanted: str | None = None, model: AerialSpec | None = None) -> Scaling:
    found = choose_scaling([(placed(path), None) for path in paths], wanted, model or spec())
    assert found is not None
    return found


def refusal(
    kind: type[SegxError], *paths: Path, wanted: str | None = None, model: AerialSpec | None = None
) -> str:
    with pytest.raises(kind) as refused:
        choose_scaling([(placed(path), None) for path in paths], wanted, model or spec())
    message = str(refused.value)
    assert message.count(";") >= 2, "found; expected; remedy"
    assert "\n" not in message
    return message


def applied(rule: Scaling, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    out = np.empty(pixels.shape, dtype=np.uint8)
    rule.apply(pixels, out)
    return out


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    return write_file(tmp_path / "wide.tif", values(2, 90, 70), block=16)


# The rule.


@given(
    low=st.floats(-30_000, 30_000),
    span=st.floats(64, 60_000),
    dtype=st.sampled_from(["uint16", "int16"]),
)
def test_the_ends_are_the_ends_and_nothing_turns_back(low: float, span: float, dtype: str) -> None:
    limits = np.iinfo(dtype)
    rule = Scaling(minimum=(low,), maximum=(low + span,), text="")
    stored = np.arange(limits.min, limits.max + 1).astype(dtype)[None, None]
    found = applied(rule, stored)[0, 0].astype(int)
    exact = np.clip((stored[0, 0].astype(float) - low) * 255 / span, 0, 255)
    assert np.abs(found - exact).max() <= 0.51
    assert (np.diff(found) >= 0).all()
    assert (found[stored[0, 0] <= low] == 0).all()
    assert (found[stored[0, 0] >= low + span] == 255).all()


def test_every_band_has_a_rule_of_its_own() -> None:
    rule = Scaling(minimum=(0.0, 1000.0), maximum=(255.0, 2000.0), text="")
    pixels = np.array([[[7, 300]], [[1000, 1500]]], dtype=np.uint16)
    np.testing.assert_array_equal(applied(rule, pixels), [[[7, 255]], [[0, 128]]])


def test_given_values_hold_for_all_bands(wide: Path) -> None:
    rule = choose(wide, wanted=" 0, 4095")
    assert (rule.minimum, rule.maximum) == ((0, 0), (4095, 4095))
    assert rule.text == "0 to 4095 become 0 to 255 (by --scale)"


def test_the_rule_of_the_model_is_taken_unless_another_one_is_given(wide: Path) -> None:
    model = spec(rule=(10, 3000))
    assert choose(wide, model=model).text == (
        "red 10 to 3000, nir 11 to 3000 become 0 to 255 (by the bundle's rule)"
    )
    assert choose(wide, wanted="0,10", model=model).maximum == (10, 10)


def test_bands_that_come_from_elsewhere_need_no_rule(wide: Path) -> None:
    model = spec((*BANDS, "elevation"), rule=(10, 3000))
    assert choose(wide, model=model).minimum == (10, 11)
    assert choose(wide, wanted="0,10", model=model).minimum == (0, 0)


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_percentiles_are_those_of_all_files_whatever_their_order(
    dtype: str, tmp_path: Path
) -> None:
    stored = [values(2, 64, 64, dtype=dtype, seed=seed) // (1 + seed) for seed in range(3)]
    paths = [
        write_file(tmp_path / f"{seed}.tif", pixels, row=64 * seed)
        for seed, pixels in enumerate(stored)
    ]
    rule = choose(*paths, wanted="2%,98%")
    together = np.concatenate([pixels.reshape(2, -1) for pixels in stored], axis=1)
    for found, percent in ((rule.minimum, 2), (rule.maximum, 98)):
        expected = np.percentile(together, percent, axis=1, method="inverted_cdf")
        np.testing.assert_array_equal(found, expected)
    assert rule == choose(*reversed(paths), wanted="2%,98%")
    assert rule.text.endswith("become 0 to 255 (2% to 98% of 3 file(s))")


def test_percentiles_of_a_large_file_come_from_windows_all_over_it(tmp_path: Path) -> None:
    ramp = np.arange(1, 1025, dtype=np.uint16)[:, None] + np.zeros(1024, dtype=np.uint16)
    path = write_file(tmp_path / "a.tif", np.stack([ramp, ramp.T]))
    for percent in (5, 25, 60):
        rule = choose(path, wanted=f"{percent}%,{percent + 30}%")
        assert rule.minimum == pytest.approx((percent * 10.24,) * 2, abs=40)
        assert rule.maximum == pytest.approx((percent * 10.24 + 307.2,) * 2, abs=40)


def test_pixels_without_data_and_damaged_ones_do_not_count(tmp_path: Path) -> None:
    pixels = values(2, 64, 64) % 100 + 500
    pixels[:, :40] = 0
    path = write_file(tmp_path / "a.tif", pixels, nodata=0)
    rule = choose(path, wanted="0%,100%")
    assert min(rule.minimum) == 500
    wide = write_file(
        tmp_path / "b.tif", values(2, 160, 64) % 100 + 500, row=64, block=32, compress="deflate"
    )
    spoil_block(wide, 1, 1)
    assert min(choose(wide, wanted="0%,100%").minimum) == 500


def test_one_value_has_no_range_and_becomes_black(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.tif", np.full((2, 9, 9), 7, dtype=np.uint16))
    rule = choose(path, wanted="2%,98%")
    assert not applied(rule, np.full((2, 1, 1), 7, dtype=np.uint16)).any()


# Reading with it.


def whole(rule: Scaling, file: AerialFile, read: str = "all") -> NDArray[np.uint8]:
    from runtime.aerial.mosaic import Mosaic

    mosaic = Mosaic(grid=file.info.grid, files=(file,), satellite=None)
    height, width = file.info.grid.shape
    with MosaicReader(mosaic, scaling=rule) as reader:
        window = reader.read(slice(0, height), slice(0, width))
        assert window.valid.all() or read == "holes"
        return window.pixels


def test_a_window_is_the_crop_of_the_whole_in_pieces_too(
    wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = choose(wide, wanted="100,3000")
    expected = applied(rule, values(2, 90, 70))
    np.testing.assert_array_equal(whole(rule, placed(wide)), expected)
    monkeypatch.setattr(source, "_PIECE_PX", 300)
    np.testing.assert_array_equal(whole(rule, placed(wide)), expected)


@pytest.mark.parametrize("piece", [300, 1_000_000])
def test_what_holds_no_data_is_told_as_for_bytes(
    piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_PIECE_PX", piece)
    pixels = values(2, 90, 70)
    pixels[:, 30:50, 3:9] = 0
    path = write_file(tmp_path / "a.tif", pixels, nodata=0, block=16, compress="deflate")
    spoil_block(path, 0, 0)
    reader = source.AerialSource(placed(path), bands=None, scaling=choose(path, wanted="0,4095"))
    out = np.full(pixels.shape, 9, dtype=np.uint8)
    valid, damaged = reader.read(slice(0, 90), slice(0, 70), out)
    reader.close()
    bad = np.zeros((90, 70), dtype=np.bool_)
    bad[:16, :16] = True
    assert valid is not None
    assert damaged is not None
    np.testing.assert_array_equal(damaged, bad)
    np.testing.assert_array_equal(valid, pixels.any(axis=0) & ~bad)
    assert not out[:, bad].any()


# What is refused.


def test_wide_values_without_a_rule_are_refused(wide: Path) -> None:
    message = refusal(BandError, wide)
    assert message.startswith(f"{wide} is uint16; expected uint8; say which values")
    assert message.endswith("--scale LOW,HIGH, or --scale 2%,98% for percentiles of all files")


def test_a_rule_for_bytes_is_refused(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.tif", values(2, 8, 8).astype(np.uint8))
    assert "is uint8; expected imagery of 16 bits" in refusal(ConfigError, path, wanted="0,9")
    assert choose_scaling([(placed(path), None)], None, spec(rule=(0, 9))) is None


def test_bytes_and_wider_values_in_one_run_are_refused(wide: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.tif", values(2, 8, 8).astype(np.uint8))
    assert "expected one type in a run" in refusal(BandError, path, wide, wanted="0,9")


def test_floats_are_refused(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.tif", values(2, 8, 8, dtype="float32"))
    assert "is float32; expected uint8, or uint16 or int16 with --scale" in refusal(
        BandError, path, wanted="0,1"
    )


def test_heights_are_not_scaled_like_colours(wide: Path) -> None:
    message = refusal(BandError, wide, wanted="0,9", model=spec(("red", "elevation")))
    assert "holds elevation, which --scale does not know the unit of" in message


def test_files_without_data_have_no_percentiles(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.tif", np.zeros((2, 8, 8), dtype=np.uint16), nodata=0)
    assert "hold no data where percentiles were measured" in refusal(
        DataError, path, wanted="2%,98%"
    )


@pytest.mark.parametrize(
    "wanted",
    ["", "5", "1,2,3", "9,9", "9,1", "a,b", "2%,98", "-1%,98%", "2%,101%", "0,inf", "nan,1", "0,"],
)
def test_a_scale_that_says_nothing_is_refused(wanted: str) -> None:
    with pytest.raises(ConfigError, match=r"expected LOW,HIGH such as 0,4095, or percentiles"):
        parse_scale(wanted)


@pytest.mark.parametrize("limits", [((0.0,), (1.0,)), ((0.0, 5.0), (1.0, 5.0))])
def test_a_manifest_whose_rule_does_not_fit_is_refused(
    limits: tuple[tuple[float, ...], tuple[float, ...]],
) -> None:
    with pytest.raises(ValueError, match="value_scaling"):
        AerialSpec(
            bands=BANDS,
            resolution_m=0.2,
            tile_size=64,
            halo=16,
            stride=4,
            halo_exact=True,
            normalization=Normalization(mean=(0.0,) * 2, std=(1.0,) * 2),
            value_scaling=ValueScaling(minimum=limits[0], maximum=limits[1]),
        )
