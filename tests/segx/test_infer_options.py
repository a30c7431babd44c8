"""Options of `segx infer` beyond input, bundle and backend."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray

import segx as segx_package

Run = Callable[..., Any]
TOY = Path(segx_package.__file__).with_name("toy.segx")


pytestmark = pytest.mark.usefixtures("no_gpu")


def maps(folder: Path) -> dict[str, NDArray[np.uint8]]:
    found = {}
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as dataset:
            found[path.stem.removeprefix("aerial_")] = dataset.read()
    return found


def rewrite(path: Path, pixels: NDArray[np.uint8], **changes: Any) -> None:
    with rasterio.open(path) as dataset:
        profile, names = dataset.profile, dataset.descriptions
    changes = {"count": pixels.shape[0], **changes}
    profile.update(height=pixels.shape[1], width=pixels.shape[2], **changes)
    path.unlink()
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)
        dataset.descriptions = names[: pixels.shape[0]]


def test_what_a_run_takes_is_said_before_it(infer: Run, tmp_path: Path, transcript: Run) -> None:
    result = infer("--dry-run", "--json", "plan.json", "--confidence")
    assert result.code == 0, result.err
    transcript("infer-dry-run", result.out)
    assert not (tmp_path / "maps").exists()
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert infer("--confidence").code == 0
    report = json.loads((tmp_path / "maps" / "report.json").read_text())
    assert plan["tiles"] == report["tiles"]
    assert plan["pixels"] == report["pixels"]
    assert plan["area_km2"] == pytest.approx(report["area_km2"])
    assert plan["recompute"] >= (plan["tile_size"] / plan["stride"]) ** 2
    assert plan["disk_mib"] * 2**20 >= 2 * plan["pixels"]
    assert sum(plan["memory_mib"].values()) == pytest.approx(
        report["memory"]["planned_mib"], rel=0.15
    )


def test_bands_in_another_order_are_named(infer: Run, scene: Path, tmp_path: Path) -> None:
    assert infer("--out", "own").code == 0
    path = scene / "aerial.tif"
    with rasterio.open(path) as dataset:
        pixels = dataset.read()
    rewrite(path, pixels[[3, 0, 1, 2, 4]])
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("nir", "red", "green", "blue", "elevation")
    refused = infer()
    assert refused.code == 1
    (line,) = refused.complaints
    assert line.endswith("pass --bands 2,3,4,1,5")
    assert infer("--bands", "2,3,4,1,5").code == 0
    assert infer("--bands", "red,green,blue,nir,elevation", "--out", "named").code == 0
    for folder in ("maps", "named"):
        found = maps(tmp_path / folder)
        np.testing.assert_array_equal(found["landcover"], maps(tmp_path / "own")["landcover"])
    report = json.loads((tmp_path / "maps" / "report.json").read_text())
    assert report["fit"]["bands"] == (
        "bands 2, 3, 4, 1, 5 of the file are red, green, blue, nir, elevation"
    )


def test_elevation_comes_from_elsewhere(infer: Run, scene: Path, tmp_path: Path) -> None:
    assert infer("--out", "own").code == 0
    path = scene / "aerial.tif"
    with rasterio.open(path) as dataset:
        pixels = dataset.read()
    shutil.copy(path, tmp_path / "heights.tif")
    rewrite(tmp_path / "heights.tif", pixels[4:])
    rewrite(path, pixels[:4])
    refused = infer()
    assert refused.code == 1
    assert "--elevation FILE or --elevation zero" in refused.complaints[0]
    assert infer("--elevation", "heights.tif").code == 0
    np.testing.assert_array_equal(
        maps(tmp_path / "maps")["landcover"], maps(tmp_path / "own")["landcover"]
    )
    assert infer("--elevation", "zero", "--out", "zero").code == 0
    with rasterio.open(tmp_path / "zero" / "aerial_landcover.tif") as dataset:
        assert dataset.tags()["SEGX_ELEVATION"] == "zero everywhere"


def test_another_resolution_is_resampled_when_asked_for(
    infer: Run, scene: Path, tmp_path: Path
) -> None:
    path = scene / "aerial.tif"
    with rasterio.open(path) as dataset:
        pixels, at = dataset.read(), dataset.transform
    coarse = Affine(2 * at.a, 0, at.c, 0, 2 * at.e, at.f)
    rewrite(path, pixels[:, ::2, ::2], transform=coarse)
    refused = infer()
    assert refused.code == 1
    assert "--resample" in refused.complaints[0]
    assert infer("--resample").code == 0
    with (
        rasterio.open(path) as aerial,
        rasterio.open(tmp_path / "maps" / "aerial_landcover.tif") as found,
    ):
        assert (found.shape, found.transform) == (aerial.shape, aerial.transform)
        assert found.tags()["SEGX_RESAMPLED"].startswith("from 0.400 m to 0.200 m")
        assert (found.read() < 255).all()


def test_tiles_without_satellite_are_mapped_alone_when_asked_for(
    segx: Run, infer: Run, scene: Path, tmp_path: Path
) -> None:
    shutil.rmtree(scene / "sentinel2")
    refused = infer()
    assert refused.code == 1
    arguments = ("--bundle", TOY, "--missing-satellite", "aerial-only", "--toy-ok")
    result = segx("infer", scene, *arguments)
    assert result.code == 0, result.err
    assert "mapped without Sentinel-2" in result.out
    assert (maps(tmp_path / "maps")["quality"] == 2).all()
    report = json.loads((tmp_path / "maps" / "report.json").read_text())
    assert report["satellite"]["tiles_aerial_only"] == report["tiles"]
    assert report["satellite"]["encoder_runs"] == 0
    with rasterio.open(tmp_path / "maps" / "aerial_landcover.tif") as dataset:
        assert dataset.tags()["SEGX_MISSING_SATELLITE"] == "aerial-only"


def test_the_satellite_part_runs_once_for_many_tiles(infer: Run, tmp_path: Path) -> None:
    assert infer("--out", "own").code == 0
    result = infer("--satellite-lattice", "0")
    assert result.code == 0, result.err
    own, once = (
        json.loads((tmp_path / folder / "report.json").read_text())["satellite"]
        for folder in ("own", "maps")
    )
    assert once["encoder_runs"] < own["encoder_runs"]
    assert own["lattice_agreement"] is None
    assert 0 <= once["lattice_agreement"] <= 1


@pytest.mark.parametrize(("kind", "runs"), [("flips", 4), ("dihedral", 8)])
def test_tiles_are_run_mirrored_when_asked_for(
    kind: str, runs: int, infer: Run, tmp_path: Path
) -> None:
    assert infer("--out", "own").code == 0
    result = infer("--tta", kind, "--batch", "2", "--confidence")
    assert result.code == 0, result.err
    assert f"test-time augmentation: {kind} ({runs} runs per tile)" in result.out
    report = json.loads((tmp_path / "maps" / "report.json").read_text())
    assert (report["plan"]["tta"], report["plan"]["runs_per_tile"]) == (kind, runs)
    assert report["satellite"]["encoder_runs"] == runs * report["tiles"]
    with rasterio.open(tmp_path / "maps" / "aerial_landcover.tif") as dataset:
        assert dataset.tags()["SEGX_TTA"] == f"{kind}, {runs} runs per tile"
    own, found = maps(tmp_path / "own")["landcover"], maps(tmp_path / "maps")["landcover"]
    assert own.shape == found.shape
    assert not np.array_equal(own, found)
    assert (found < 13).all()


def test_mirrored_tiles_cost_what_the_forecast_says(infer: Run, tmp_path: Path) -> None:
    for name in ("none", "dihedral"):
        assert infer("--dry-run", "--tta", name, "--json", f"{name}.json").code == 0
    none, all_of_them = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("none", "dihedral")
    )
    assert all_of_them["recompute"] == pytest.approx(8 * none["recompute"])
    assert all_of_them["tile_s"] > none["tile_s"]


def test_mirrored_tiles_go_with_no_lattice_of_windows(infer: Run, tmp_path: Path) -> None:
    result = infer("--tta", "flips", "--satellite-lattice", "0")
    assert result.code == 1
    (line,) = result.complaints
    assert line.startswith("segx: --tta flips and --satellite-lattice are given; expected one of ")
    assert not (tmp_path / "maps").exists()


def test_a_halo_below_the_models_is_warned_of(infer: Run, tmp_path: Path) -> None:
    result = infer("--halo", "0")
    assert result.code == 0
    assert "--halo 0 is below the" in result.complaints[0]
    refused = infer("--halo", "1000")
    assert refused.code == 1
    assert refused.complaints[0].startswith("segx: --halo 1000: ")


def test_memory_that_is_too_little_is_refused(infer: Run, tmp_path: Path) -> None:
    result = infer("--max-memory", "100MB")
    assert result.code == 1
    (line,) = result.complaints
    assert line.startswith("segx: --max-memory is 95 MiB and this run needs ")
    assert infer("--max-memory", "lots").code == 2
    assert infer("--max-memory", "8GB").code == 0


def test_damaged_blocks_leave_a_map_that_is_not_whole(
    infer: Run, scene: Path, tmp_path: Path
) -> None:
    rasterio.shutil.copy(scene / "aerial.tif", scene / "cog.tif", driver="COG", BLOCKSIZE=128)
    path = (scene / "cog.tif").rename(scene / "aerial.tif")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 9 // 10])
    result = infer()
    assert result.code == 3
    (line,) = result.complaints
    assert "aerial.tif are nodata; expected whole files; " in line
    report = json.loads((tmp_path / "maps" / "report.json").read_text())
    assert {block["path"] for block in report["damaged"]} == {str(path)}
    found = maps(tmp_path / "maps")["landcover"]
    assert (found == 255).any()
    assert (found < 255).any()


def test_a_lattice_takes_one_tile_per_call(infer: Run) -> None:
    assert infer("--satellite-lattice", "4", "--batch", "2").code == 2
