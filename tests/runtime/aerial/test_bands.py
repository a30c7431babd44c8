"""Laws: what is taken without `--bands` is the model's order; a refusal says what mends it."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from runtime.aerial.bands import bands_text, choose_bands, choose_for_all
from runtime.errors import BandError, ConfigError, SegxError
from runtime.grid import Grid
from runtime.manifest import AerialSpec, Normalization
from runtime.raster import RasterInfo

GRID = Grid((6, 7), Affine(0.2, 0, 7e5, 0, -0.2, 6.6e6), CRS.from_epsg(2154))
FLAIR = ("red", "green", "blue", "nir", "elevation")
WORDS = ("red", "green", "blue", "nir", "swir", "elevation", "thermal")


def spec(bands: Sequence[str] = FLAIR) -> AerialSpec:
    count = len(bands)
    return AerialSpec(
        bands=tuple(bands),
        resolution_m=0.2,
        tile_size=64,
        halo=16,
        stride=4,
        halo_exact=True,
        normalization=Normalization(mean=(0.0,) * count, std=(1.0,) * count),
    )


def info(bands: Sequence[str], *, alpha: int | None = None) -> RasterInfo:
    return RasterInfo(
        path=Path("a.tif"),
        grid=GRID,
        count=len(bands),
        dtype="uint8",
        nodata=None,
        bands=tuple(bands),
        tags={},
        alpha=alpha,
    )


def refusal(
    kind: type[SegxError],
    file: RasterInfo,
    wanted: str | None = None,
    *,
    model: Sequence[str] = FLAIR,
    elevation: bool = False,
) -> str:
    with pytest.raises(kind) as refused:
        choose_bands(file, wanted, spec(model), elevation=elevation)
    message = str(refused.value)
    assert message.count(";") >= 2, "found; expected; remedy"
    assert "\n" not in message
    return message


# Without --bands.


@pytest.mark.parametrize(
    "bands",
    [
        FLAIR,
        ("Red", "GREEN", "blue", "NIR", "Elevation"),
        ("",) * 5,
        ("Band 1", "Band 2", "Band 3", "Band 4", "Band 5"),
        ("red", "green", "", "", ""),
    ],
)
def test_a_file_in_the_models_order_is_taken_as_it_is(bands: Sequence[str]) -> None:
    assert choose_bands(info(bands), None, spec()) is None


@given(held=st.permutations(WORDS), model=st.permutations(WORDS), taken=st.integers(1, 7))
def test_a_refused_order_is_mended_by_the_bands_in_the_refusal(
    held: list[str], model: list[str], taken: int
) -> None:
    expected = model[:taken]
    file = info(held)
    try:
        assert choose_bands(file, None, spec(expected)) is None
        assert held == expected
    except BandError as error:
        value = re.search(r"; pass --bands ([\d,]+)$", str(error))
        assert value is not None
        chosen = choose_bands(file, value[1], spec(expected))
        assert [held[i] for i in chosen or range(taken)] == expected


@given(held=st.permutations(FLAIR[:4]), more=st.sampled_from([(), ("thermal",)]))
def test_a_file_without_elevation_is_mended_by_both_options(
    held: list[str], more: tuple[str, ...]
) -> None:
    file = info([*held, *more])
    message = refusal(BandError, file)
    assert "; pass --elevation FILE or --elevation zero" in message
    value = re.search(r", and pass --bands ([\d,]+)$", message)
    assert (value is None) == (tuple(held) == FLAIR[:4] and not more)
    chosen = choose_bands(file, value and value[1], spec(), elevation=True)
    assert [held[i] for i in chosen or range(4)] == list(FLAIR[:4])


def test_unnamed_bands_without_elevation_are_taken_as_the_others() -> None:
    file = info(("",) * 4)
    assert refusal(BandError, file).endswith("; pass --elevation FILE or --elevation zero")
    assert choose_bands(file, None, spec(), elevation=True) is None


def test_one_name_that_says_another_order_is_enough() -> None:
    message = refusal(BandError, info(("nir", "", "", "", "")))
    assert message.endswith("; name the bands to take with --bands, as numbers in this order")


@pytest.mark.parametrize(("count", "remedy"), [(3, "give a file"), (6, "name the bands")])
def test_another_number_of_bands_is_refused(count: int, remedy: str) -> None:
    message = refusal(BandError, info(("",) * count))
    assert f"a.tif holds {count} unnamed bands; expected 5: red, green, blue, nir" in message
    assert f"; {remedy}" in message


def test_elevation_from_two_sources_is_refused() -> None:
    message = refusal(BandError, info(FLAIR), elevation=True)
    assert message.endswith("; leave --elevation out, or pass --bands 1,2,3,4")
    assert choose_bands(info(FLAIR), "1,2,3,4", spec(), elevation=True) == (0, 1, 2, 3)


def test_elevation_for_a_model_without_it_is_refused() -> None:
    message = refusal(ConfigError, info(FLAIR[:3]), model=FLAIR[:3], elevation=True)
    assert message.endswith("; leave --elevation out")


# Alpha.


@pytest.mark.parametrize("names", [FLAIR[:4], ("",) * 4])
def test_a_spare_alpha_band_is_not_read(names: Sequence[str]) -> None:
    file = info((*names, ""), alpha=4)
    assert choose_bands(file, None, spec(FLAIR[:4])) == (0, 1, 2, 3)
    assert choose_bands(file, None, spec(), elevation=True) == (0, 1, 2, 3)


def test_an_alpha_band_is_no_elevation() -> None:
    message = refusal(BandError, info(("",) * 5, alpha=4))
    assert message.startswith("a.tif holds 4 unnamed bands")
    assert message.endswith("; pass --elevation FILE or --elevation zero")


def test_the_fourth_of_four_bands_is_data_although_gdal_flags_it() -> None:
    file = info(("",) * 4, alpha=3)
    assert choose_bands(file, None, spec(FLAIR[:4])) == (0, 1, 2, 3)
    assert choose_bands(file, None, spec(), elevation=True) == (0, 1, 2, 3)
    assert choose_bands(file, None, spec(FLAIR[:3])) == (0, 1, 2)
    message = refusal(BandError, file)
    assert message.startswith("a.tif holds 4 unnamed bands")
    assert message.endswith("; pass --elevation FILE or --elevation zero")


def test_an_alpha_band_in_front_does_not_shift_the_numbers() -> None:
    file = info(("", "green", "red"), alpha=0)
    message = refusal(BandError, file, model=("red", "green"))
    assert message.endswith("; pass --bands 3,2")


# With --bands.


@given(held=st.permutations(WORDS), data=st.data())
def test_names_numbers_and_both_choose_the_same(held: list[str], data: st.DataObject) -> None:
    chosen = data.draw(st.permutations(range(7)))[:5]
    words = [
        data.draw(st.sampled_from([held[i], held[i].upper(), f" {held[i]} ", str(i + 1)]))
        for i in chosen
    ]
    assert choose_bands(info(held), ",".join(words), spec()) == tuple(chosen)


def test_all_bands_in_their_order_need_no_choice() -> None:
    assert choose_bands(info(FLAIR), "1,2,3,4,5", spec()) is None
    assert choose_bands(info(("",) * 4, alpha=3), "1,2,3,4", spec(FLAIR[:4])) == (0, 1, 2, 3)


@pytest.mark.parametrize("item", ["0", "6", "swir", "", "-1", "1.0", "³"])
def test_a_band_that_is_not_there_is_named(item: str) -> None:
    message = refusal(BandError, info(FLAIR), f"1,2,3,4,{item}")
    assert f"a.tif holds red, green, blue, nir, elevation and no single band '{item}'" in message


def test_a_name_of_two_bands_is_refused() -> None:
    assert "no single band 'x'" in refusal(BandError, info(("x", "x")), "x", model=("red",))


@pytest.mark.parametrize("wanted", ["1,2,3", "1,2,3,4,5,1"])
def test_another_number_of_chosen_bands_is_refused(wanted: str) -> None:
    assert refusal(ConfigError, info(FLAIR), wanted).endswith("; correct --bands")


def test_chosen_bands_without_elevation_name_the_option() -> None:
    assert "; pass --elevation FILE or" in refusal(ConfigError, info(FLAIR), "1,2,3,4")
    assert "; correct --bands" in refusal(ConfigError, info(FLAIR), "1,2,3,4,5", elevation=True)


def test_a_band_twice_is_refused() -> None:
    assert "names a band of a.tif twice" in refusal(ConfigError, info(FLAIR), "1,2,3,4,red")


# Words.


def test_the_text_says_which_bands_are_which() -> None:
    assert bands_text((3, 0), spec(("nir", "red"))) == "bands 4, 1 of the file are nir, red"
    assert (
        bands_text((3, 0), spec(("nir", "red", "elevation")))
        == "bands 4, 1 of the file are nir, red"
    )
    assert bands_text(None, spec()) is None
    assert bands_text((0, 1, 2, 3), spec()) is None


# A mosaic.


def test_the_files_of_a_mosaic_have_one_choice() -> None:
    plain, flagged = info(("",) * 4), info(("",) * 4, alpha=3)
    four = spec(FLAIR[:4])
    assert choose_for_all([plain, plain], None, four) is None
    assert choose_for_all([plain, flagged], None, four) == (0, 1, 2, 3)
    assert choose_for_all(iter([flagged, plain]), "2,1,3,4", four) == (1, 0, 2, 3)


def test_files_of_two_choices_are_refused() -> None:
    files = [info(("nir", "red", "")), info(("", "nir", "red"))]
    with pytest.raises(BandError, match=r"touch and hold .* at other places; expected the same"):
        choose_for_all(files, "nir,red", spec(("nir", "red")))
