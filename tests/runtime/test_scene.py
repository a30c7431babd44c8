import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from runtime.aerial.bands import choose_bands
from runtime.aerial.resample import tile_grid
from runtime.errors import BandError, DataError, GridError, SatelliteError
from runtime.geoseries import GeoSeries
from runtime.grid import Grid
from runtime.manifest import AerialSpec, Normalization
from runtime.raster import describe
from runtime.satellite import SatelliteSpec, window_cells
from runtime.scene import PatchSeries, Scene, check_overlap, find_scenes

Write = Callable[..., Path]
AddArea = Callable[..., Path]
SPEC = AerialSpec(
    bands=("red", "green", "blue", "nir", "elevation"),
    resolution_m=0.2,
    tile_size=64,
    halo=16,
    stride=4,
    halo_exact=True,
    normalization=Normalization(mean=(0.0,) * 5, std=(1.0,) * 5),
)
WINDOW = SatelliteSpec(window=8)


def pixels(height: int = 6, width: int = 7) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, height, width), dtype=np.uint8)


def find(source: Path, satellite: Path | None = None) -> list[Scene]:
    return find_scenes(source, satellite, needs_satellite=True)


def series_of(scene: Scene) -> str:
    assert scene.satellite is not None
    return scene.satellite.name


# What INPUT may be.


def test_a_scene_folder_is_its_aerial_image_and_its_series(tiny_scene: Path) -> None:
    (scene,) = find(tiny_scene)
    assert scene.aerial == tiny_scene / "aerial.tif"
    assert series_of(scene) == str(tiny_scene / "sentinel2")


def test_a_file_has_its_series_beside_it(tiny_scene: Path) -> None:
    (scene,) = find(tiny_scene / "aerial.tif")
    assert series_of(scene) == str(tiny_scene / "sentinel2")


def test_a_folder_of_files_shares_one_series(
    tiny_scene: Path, write_aerial: Write, tmp_path: Path
) -> None:
    for name in ("b.tif", "a.TIFF", "c.txt", ".hidden.tif.aux"):
        write_aerial(tmp_path / name, pixels())
    (tmp_path / "folder.tif").mkdir()
    shutil.copytree(tiny_scene / "sentinel2", tmp_path / "sentinel2")
    scenes = find(tmp_path)
    assert [scene.aerial.name for scene in scenes] == ["a.TIFF", "b.tif"]
    assert scenes[0].satellite is scenes[1].satellite


@pytest.mark.parametrize("source", ["", "aerial.tif"])
def test_a_series_that_is_named_is_taken(source: str, tiny_scene: Path, tmp_path: Path) -> None:
    named = shutil.copytree(tiny_scene / "sentinel2", tmp_path / "other")
    (scene,) = find(tiny_scene / source, named)
    assert series_of(scene) == str(named)


def test_a_model_of_one_input_needs_no_series(write_aerial: Write, tmp_path: Path) -> None:
    path = write_aerial(tmp_path / "a.tif", pixels())
    (scene,) = find_scenes(path, None, needs_satellite=False)
    assert scene.satellite is None


def test_a_flair_tree_is_its_patches_with_the_series_of_their_areas(add_area: AddArea) -> None:
    add_area({"IMG_000002": (30.0, 20.0), "IMG_000001": (31.5, 25.0)})
    root = add_area({"IMG_000003": (30.0, 20.0)}, zone="Z2_UU")
    scenes = find(root)
    assert [scene.aerial.stem for scene in scenes] == ["IMG_000001", "IMG_000002", "IMG_000003"]
    assert [series_of(scene) for scene in scenes] == ["D004_2021/Z10_AU"] * 2 + ["D004_2021/Z2_UU"]
    assert [scene.satellite.dates for scene in scenes if scene.satellite] == [3, 3, 3]


def test_flair_patches_are_mapped_by_themselves_and_other_files_with_their_neighbours(
    add_area: AddArea, tiny_scene: Path
) -> None:
    assert all(scene.alone for scene in find(add_area({"IMG_000001": (30.0, 20.0)})))
    assert not any(scene.alone for scene in find(tiny_scene))


def test_flair_files_with_a_named_series_are_a_folder_of_files(
    tiny_scene: Path, write_aerial: Write, tmp_path: Path
) -> None:
    write_aerial(tmp_path / "IMG_000001.tif", pixels())
    (scene,) = find(tmp_path, tiny_scene / "sentinel2")
    assert isinstance(scene.satellite, GeoSeries)
    shutil.copytree(tiny_scene / "sentinel2", tmp_path / "sentinel2")
    assert isinstance(find(tmp_path)[0].satellite, GeoSeries)


def test_a_flair_tree_with_a_named_series_is_refused(add_area: AddArea, tiny_scene: Path) -> None:
    root = add_area({"IMG_000001": (30.0, 20.0)})
    with pytest.raises(DataError, match=r"or a FLAIR #2 tree \(without --satellite\); check"):
        find(root, tiny_scene / "sentinel2")


def test_an_input_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not there; expected a GeoTIFF or a folder"):
        find(tmp_path / "nowhere")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no GeoTIFF; expected aerial.tif or"):
        find(tmp_path)


@pytest.mark.parametrize("source", ["", "a.tif"])
def test_a_missing_series_is_refused(source: str, write_aerial: Write, tmp_path: Path) -> None:
    write_aerial(tmp_path / "a.tif", pixels())
    with pytest.raises(
        SatelliteError, match=r"sentinel2 is not there; .*; name it with --satellit"
    ):
        find(tmp_path / source)


# Whether an aerial raster fits the model.


def check(path: Path, scene: Scene | None = None, spec: AerialSpec = SPEC) -> None:
    info = describe(path)
    choose_bands(info, None, spec)
    tile_grid(info.grid, spec, False, name=str(path))
    check_overlap(info.grid, None if scene is None else scene.satellite, path)


def refusal(path: Path, kind: type[DataError], scene: Scene | None = None) -> str:
    with pytest.raises(kind) as refused:
        check(path, scene)
    message = str(refused.value)
    assert message.startswith(str(path))
    assert message.count(";") >= 2, "found; expected; remedy"
    return message


@pytest.mark.parametrize(
    "bands",
    [
        SPEC.bands,
        ("Red", "GREEN", "blue", "NIR", "Elevation"),
        (),
        ("Band 1", "Band 2", "Band 3", "Band 4", "Band 5"),
        ("red", "green"),
    ],
)
def test_bands_that_say_nothing_else_are_taken(
    bands: Sequence[str], write_aerial: Write, tmp_path: Path
) -> None:
    check(write_aerial(tmp_path / "a.tif", pixels(), bands=bands))


def test_the_case_of_band_names_does_not_matter(write_aerial: Write, tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, bands=("Red", "Green", "Blue", "NIR", "DSM"))
    path = write_aerial(tmp_path / "a.tif", pixels(), bands=("red", "green", "blue", "nir", "dsm"))
    check(path, spec=spec)


def test_bands_in_another_order_are_refused(write_aerial: Write, tmp_path: Path) -> None:
    names = ("nir", "red", "green", "blue", "elevation")
    path = write_aerial(tmp_path / "a.tif", pixels(), bands=names)
    assert "holds nir, red, green, blue, elevation; expected 5: red" in refusal(path, BandError)


@pytest.mark.parametrize("count", [3, 4, 6])
def test_another_number_of_bands_is_refused(
    count: int, write_aerial: Write, tmp_path: Path
) -> None:
    image = np.zeros((count, 5, 5), dtype=np.uint8)
    path = write_aerial(tmp_path / "a.tif", image, bands=())
    assert "unnamed bands; expected 5: red" in refusal(path, BandError)


@pytest.mark.parametrize("names", [(), SPEC.bands])
def test_an_alpha_band_may_follow_unless_it_has_a_name(
    names: Sequence[str], write_aerial: Write, tmp_path: Path
) -> None:
    path = write_aerial(tmp_path / "a.tif", np.concatenate([pixels(), pixels()[:1]]), bands=names)
    assert "6 unnamed bands" in refusal(path, BandError)
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [*dataset.colorinterp[:5], ColorInterp.alpha]
    check(path)
    with rasterio.open(path, "r+") as dataset:
        dataset.set_band_description(6, "infrared")
    refusal(path, BandError)


@pytest.mark.parametrize("size", [0.181, 0.2, 0.219])
def test_a_resolution_within_a_tenth_is_taken(
    size: float, write_aerial: Write, tmp_path: Path
) -> None:
    transform = Affine(size, 0, 7e5, 0, -size, 6.6e6)
    check(write_aerial(tmp_path / "a.tif", pixels(), transform=transform))


@pytest.mark.parametrize(
    "sides", [(0.17, 0.17), (1.0, 1.0), (0.1, 0.4), (0.4, 0.1), (0.2, 0.3), (0.3, 0.2)]
)
def test_a_resolution_further_off_is_refused(
    sides: tuple[float, float], write_aerial: Write, tmp_path: Path
) -> None:
    transform = Affine(sides[0], 0, 7e5, 0, -sides[1], 6.6e6)
    path = write_aerial(tmp_path / "a.tif", pixels(), transform=transform)
    assert "m per pixel; expected 0.200 m within 10%; pass --resample" in refusal(path, GridError)


def test_feet_are_not_metres(write_aerial: Write, tmp_path: Path) -> None:
    path = write_aerial(tmp_path / "a.tif", pixels(), crs="EPSG:2263")
    assert "has 0.061 m per pixel" in refusal(path, GridError)


def test_degrees_are_refused(write_aerial: Write, tmp_path: Path) -> None:
    transform = Affine(2e-6, 0, 5.0, 0, -2e-6, 45.0)
    path = write_aerial(tmp_path / "a.tif", pixels(), crs="EPSG:4326", transform=transform)
    assert "EPSG:4326, which is not in metres" in refusal(path, GridError)


def test_a_series_of_another_place_is_refused(
    write_aerial: Write, write_series: Write, tmp_path: Path
) -> None:
    path = write_aerial(tmp_path / "a.tif", pixels())
    write_series(tmp_path / "sentinel2", offset_m=5_000)
    (scene,) = find(path)
    assert "sentinel2 do not overlap; expected the same ground" in refusal(path, GridError, scene)


@pytest.mark.parametrize("crs", ["EPSG:25832", "EPSG:25831", "EPSG:3857"])
def test_an_aerial_image_in_any_crs_meets_its_series(
    crs: str, write_aerial: Write, write_series: Write, tiny_scene: Path, tmp_path: Path
) -> None:
    with rasterio.open(tiny_scene / "aerial.tif") as dataset:
        corner = dataset.transform.c, dataset.transform.f
    (x,), (y,) = rasterio.warp.transform("EPSG:2154", crs, [corner[0]], [corner[1]])
    path = write_aerial(
        tmp_path / "a.tif", pixels(), crs=crs, transform=Affine(0.2, 0, x, 0, -0.2, y)
    )
    (scene,) = find(path, tiny_scene / "sentinel2")
    check(path, scene)


# Where the satellite windows lie.


def plane(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    """A series of one date whose ten bands all hold the same plane."""
    return np.broadcast_to(values.round().astype(np.uint16), (1, 10, *values.shape)).copy()


@pytest.mark.parametrize(("epsg", "turned"), [(2154, False), (2154, True), (25832, True)])
def test_a_window_lies_on_the_ground_around_its_tile(
    epsg: int, turned: bool, write_aerial: Write, write_series: Write, tmp_path: Path
) -> None:
    size = 40
    places = {"rows": np.mgrid[:size, :size][0], "cols": np.mgrid[:size, :size][1]}
    (x,), (y,) = rasterio.warp.transform("EPSG:2154", epsg_of(epsg), [861_904.6], [6_523_377.2])
    spread = (0.16, 0.12, 0.12, -0.16) if turned else (0.2, 0.0, 0.0, -0.2)
    transform = Affine(spread[0], spread[1], x, spread[2], spread[3], y)
    path = write_aerial(tmp_path / "a.tif", pixels(), crs=epsg_of(epsg), transform=transform)
    found = {}
    for name, values in places.items():
        folder = write_series(tmp_path / name, days=("20210601",), dn=plane(values * 100.0 + 1))
        (scene,) = find(path, folder)
        assert isinstance(scene.satellite, GeoSeries)
        grid = describe(path).grid
        series = scene.satellite.prepare(grid, 20.0, 30.0, WINDOW).series[5, 0]
        found[name] = (series.mean() * 10_000 - 1) / 100
    east, north = spread[0] * 30 + spread[1] * 20 + x, spread[2] * 30 + spread[3] * 20 + y
    (east,), (north,) = rasterio.warp.transform(epsg_of(epsg), "EPSG:32631", [east], [north])
    place = describe(tmp_path / "rows" / "S2_20210601.tif").grid.transform
    assert found["rows"] == pytest.approx((north - place.f) / place.e - 0.5, abs=0.02)
    assert found["cols"] == pytest.approx((east - place.c) / place.a - 0.5, abs=0.02)


def epsg_of(code: int) -> str:
    return f"EPSG:{code}"


@pytest.mark.parametrize("shift", [(0.0, 0.0), (-128.0, 64.0)])
def test_the_window_of_a_patch_is_that_of_training(
    shift: tuple[float, float], add_area: AddArea
) -> None:
    centroids: Mapping[str, tuple[float, float]] = {"IMG_000001": (31.25, 24.5)}
    (scene,) = find(add_area(centroids))
    assert isinstance(scene.satellite, PatchSeries)
    tree = scene.satellite.tree
    grid: Grid = describe(scene.aerial).grid
    found = scene.satellite.prepare(grid, 256 + shift[0], 256 + shift[1], WINDOW)
    cells = window_cells(31.25 + shift[0] / 50, 24.5 + shift[1] / 50, WINDOW.window)
    expected = WINDOW.prepare(tree.stack("IMG_000001"), *cells)
    np.testing.assert_allclose(found.series, expected.series, rtol=1e-5, atol=1e-6)
    assert found.dates_used == expected.dates_used
    if shift == (0.0, 0.0):
        trained = tree.satellite_input("IMG_000001", WINDOW)
        np.testing.assert_array_equal(found.series, trained.series)


def test_a_patch_without_a_crs_is_taken_for_lambert_93(add_area: AddArea) -> None:
    (scene,) = find(add_area({"IMG_000001": (30.0, 20.0)}, crs=None))
    with scene.open() as reader:
        assert reader.info.grid.crs.to_epsg() == 2154
