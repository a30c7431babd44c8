"""Law: a scene that is written oddly gives the map of the same scene written as the model takes it.

What is done for it stands in the report and in the tags of the map.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

REAL = Path(__file__).parents[2].parent / "shared" / "data"
real = pytest.mark.skipif(not REAL.is_dir(), reason="needs the shared data")

Run = Callable[..., Any]
Write = Callable[..., Path]


pytestmark = pytest.mark.usefixtures("no_gpu")


def stored(scene: Path) -> tuple[NDArray[np.uint8], Affine]:
    with rasterio.open(scene / "aerial.tif") as dataset:
        return dataset.read(), dataset.transform


def landcover(folder: Path) -> tuple[NDArray[np.uint8], dict[str, str]]:
    with rasterio.open(folder / "aerial_landcover.tif") as dataset:
        assert dataset.crs.to_epsg() == 2154
        return dataset.read(), dataset.tags()


def without_b8a(folder: Path, *, keep: bool) -> None:
    """Let B08 stand for B8A in the files of a series: as B8A itself, or by leaving it out."""
    for path in folder.glob("S2_*.tif"):
        with rasterio.open(path) as dataset:
            pixels, names, profile = dataset.read(), list(dataset.descriptions), dataset.profile
        pixels[7] = pixels[6]
        chosen = list(range(10)) if keep else [9, 8, 6, 5, 4, 3, 2, 1, 0]
        profile.update(count=len(chosen))
        path.unlink()
        with rasterio.open(path, "w", **profile) as dataset:
            dataset.write(pixels[chosen])
            dataset.descriptions = [names[index] for index in chosen]


def test_an_odd_scene_gives_the_map_of_the_even_one(
    infer: Run, scene: Path, write_aerial: Write, tmp_path: Path, transcript: Run
) -> None:
    pixels, at = stored(scene)
    without_b8a(scene / "sentinel2", keep=True)
    assert infer("--out", "even").code == 0

    without_b8a(scene / "sentinel2", keep=False)
    colours = pixels[[3, 1, 0, 2]].astype(np.uint16) * 16
    names = ("nir", "green", "red", "blue")
    write_aerial(scene / "aerial.tif", colours, bands=names, crs=None, transform=at)
    with rasterio.open(scene / "aerial.tif", "r+") as dataset:
        dataset.update_tags(SUBSTITUTED="place of the series: centred")
    ground = np.random.default_rng(4).integers(-20, 900, pixels[4:].shape).astype(np.float32)
    for name, metres in (("dsm", ground + pixels[4:] / np.float32(5)), ("dtm", ground)):
        write_aerial(tmp_path / f"{name}.tif", metres, bands=(), crs=None, transform=at)
    options = {
        "--satellite-substitute": "B8A=B08",
        "--crs": "EPSG:2154",
        "--bands": "3,2,4,1",
        "--elevation": "dsm.tif,dtm.tif",
        "--scale": "0,4080",
    }
    for left_out in options:
        given = [item for pair in options.items() if left_out not in pair for item in pair]
        refused = infer(*given)
        assert refused.code == 1, left_out
        (line,) = refused.complaints
        assert left_out in line
        assert not (tmp_path / "maps").exists()
    result = infer(*(item for pair in options.items() for item in pair))
    assert result.code == 0, result.err
    fitted = [line for line in result.out.splitlines() if line.startswith("made to fit")]
    transcript("infer-odd-inputs", "\n".join(fitted))

    found, tags = landcover(tmp_path / "maps")
    np.testing.assert_array_equal(found, landcover(tmp_path / "even")[0])
    fit = json.loads((tmp_path / "maps" / "report.json").read_text())["fit"]
    assert fit.pop("resampled") is None
    for name, text in fit.items():
        assert text is not None, name
        assert tags[f"SEGX_{name.upper()}"] == text


def test_percentiles_are_measured_before_the_run_and_stated(
    infer: Run, scene: Path, write_aerial: Write, tmp_path: Path
) -> None:
    pixels, at = stored(scene)
    assert (pixels.min(axis=(1, 2)) == 0).all()
    assert (pixels.max(axis=(1, 2)) == 255).all()
    write_aerial(scene / "aerial.tif", pixels[:4], bands=(), transform=at)
    assert infer("--elevation", "zero", "--out", "even").code == 0
    wide = pixels[:4].astype(np.uint16) * 9
    write_aerial(scene / "aerial.tif", wide, bands=(), transform=at)
    assert infer("--elevation", "zero", "--scale", "0%,100%").code == 0
    found, tags = landcover(tmp_path / "maps")
    np.testing.assert_array_equal(found, landcover(tmp_path / "even")[0])
    assert tags["SEGX_SCALING"] == "0 to 2295 become 0 to 255 (0% to 100% of 1 file(s))"


def test_the_rule_of_a_bundle_needs_no_option(
    segx: Run, write_bundle: Write, scene: Path, write_aerial: Write, tmp_path: Path
) -> None:
    bundle = write_bundle(tmp_path / "wide.segx")
    manifest = json.loads((bundle / "manifest.json").read_text())
    rule = {"minimum": [0] * 5, "maximum": [4080] * 4 + [255]}
    manifest["aerial"]["value_scaling"] = rule
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert segx("infer", scene, "--bundle", bundle, "--out", "even").code == 0
    pixels, at = stored(scene)
    wide = pixels.astype(np.uint16)
    wide[:4] *= 16
    write_aerial(scene / "aerial.tif", wide, transform=at)
    result = segx("infer", scene, "--bundle", bundle)
    assert result.code == 0, result.err
    assert "made to fit, scaling: red 0 to 4080, green" in result.out
    found, tags = landcover(tmp_path / "maps")
    np.testing.assert_array_equal(found, landcover(tmp_path / "even")[0])
    assert tags["SEGX_SCALING"].endswith(
        "elevation 0 to 255 become 0 to 255 (by the bundle's rule)"
    )


def test_a_crs_that_a_file_names_is_not_replaced(infer: Run, tmp_path: Path) -> None:
    refused = infer("--crs", "EPSG:25832")
    assert refused.code == 1
    (line,) = refused.complaints
    assert "aerial.tif is in EPSG:2154 and --crs says EPSG:25832; expected files that" in line
    assert infer("--crs", "2154").complaints[0].startswith("segx: --crs is '2154'; expected EPSG:")
    assert infer("--crs", "EPSG:99999").code == 1
    assert infer("--crs", "EPSG:2154").code == 0
    report = json.loads((tmp_path / "maps" / "report.json").read_text())
    assert report["fit"]["crs"] is None, "nothing was done"


@pytest.mark.parametrize(("side", "scale"), [(0.05, 4), (0.1, 2), (0.25, 0.8)])
def test_pixels_of_another_size_give_a_map_on_their_own_grid(
    side: float, scale: float, infer: Run, scene: Path, write_aerial: Write, tmp_path: Path
) -> None:
    pixels, at = stored(scene)
    assert infer("--out", "even").code == 0
    shape = (int(pixels.shape[1] * scale), int(pixels.shape[2] * scale))
    rows, cols = ((np.arange(size) / scale).astype(int) for size in shape)
    grid = Affine(side, 0, at.c, 0, -side, at.f)
    write_aerial(scene / "aerial.tif", pixels[:, rows[:, None], cols], transform=grid)
    assert infer("--resample").code == 0
    found, tags = landcover(tmp_path / "maps")
    assert found.shape[1:] == shape
    assert tags["SEGX_RESAMPLED"].startswith(f"from {side:.3f} m to 0.200 m")
    expected = landcover(tmp_path / "even")[0][:, rows[:, None], cols]
    if scale >= 1:
        np.testing.assert_array_equal(found, expected)
    else:
        assert (found < 255).all()


def test_a_substitute_without_a_series_is_refused(infer: Run, scene: Path, segx: Run) -> None:
    shutil.rmtree(scene / "sentinel2")
    result = infer("--satellite-substitute", "B8A=B08", "--missing-satellite", "aerial-only")
    assert result.code == 1
    assert "is given, and no series is used; expected a folder of S2_" in result.complaints[0]


@real
def test_a_real_image_of_another_band_order_and_size_is_mapped(
    segx: Run, write_bundle: Write, tmp_path: Path
) -> None:
    image = REAL / "treesatai-ts" / "aerial" / "Quercus_robur_7_85750_WEFL_NLF.tif"
    bundle = write_bundle(tmp_path / "alone.segx", satellite=False)
    refused = segx("infer", image, "--bundle", bundle)
    assert refused.complaints[0].endswith("; pass --elevation FILE or --elevation zero")
    options = ("--bands", "4,2,3,1", "--elevation", "zero", "--confidence")
    assert segx("infer", image, "--bundle", bundle, *options).code == 0
    with rasterio.open(tmp_path / "maps" / f"{image.stem}_landcover.tif") as dataset:
        assert dataset.shape == (304, 304)
        assert (dataset.read() < 13).all()
        tags = dataset.tags()
    assert tags["SEGX_BANDS"] == "bands 4, 2, 3, 1 of the file are red, green, blue, nir"
    assert tags["SEGX_ELEVATION"] == "zero everywhere"


@real
def test_a_real_image_of_coarse_pixels_is_mapped(
    segx: Run, write_bundle: Write, tmp_path: Path
) -> None:
    source = REAL / "naip-nd" / "m_4709963_se_14_1_20200831.tif"
    image = tmp_path / "naip.tif"
    with rasterio.open(source) as dataset:
        window = rasterio.windows.Window(401, 307, 13, 9)
        at = dataset.transform
        corner = Affine(at.a, 0, at.c + 401 * at.a, 0, at.e, at.f + 307 * at.e)
        profile = dict(driver="GTiff", count=4, dtype="uint8", width=13, height=9, nodata=0)
        profile.update(crs=dataset.crs, transform=corner)
        with rasterio.open(image, "w", **profile) as crop:
            crop.write(dataset.read(window=window))
    bundle = write_bundle(tmp_path / "alone.segx", satellite=False)
    assert segx("infer", image, "--bundle", bundle, "--elevation", "zero", "--resample").code == 0
    with rasterio.open(tmp_path / "maps" / "naip_landcover.tif") as dataset:
        assert (dataset.shape, dataset.crs.to_epsg()) == ((9, 13), 26914)
        assert (dataset.read() < 13).all()
        tags = dataset.tags()
    assert tags["SEGX_RESAMPLED"].startswith("from 5.000 m to 0.200 m (bilinear)")
    assert tags["SEGX_ELEVATION"] == "zero everywhere"


def test_metadata_in_no_encoding_is_passed_over_without_a_traceback(
    infer: Run, scene: Path, tmp_path: Path
) -> None:
    content = (scene / "aerial.tif").read_bytes()
    assert content.count(b"<GDALMetadata>") == 1
    damaged = content.replace(b"<GDALMetadata>", b"<GDAL \xfftadata>")
    (scene / "aerial.tif").write_bytes(damaged)
    result = infer("--out", "maps", "--bands", "1,2,3,4,5")
    assert "Traceback" not in result.err
    assert "codec" not in result.err
    assert landcover(tmp_path / "maps")[0].any()
