import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio.shutil
from affine import Affine
from attribute_tables import read_table
from rasterio.crs import CRS

from runtime.classes import LandCoverClass
from runtime.datasets.flair import CLASSES
from runtime.grid import Grid
from runtime.output.kinds import MapTags, class_map, quality_map
from runtime.output.side_files import side_names
from runtime.output.workplace import Workplace

GRIDS = Callable[..., Grid]
NAMED = (
    LandCoverClass(name='a <b> & "c" d\'é', color="#010203"),
    LandCoverClass(name="", color="#ff8000"),
    *CLASSES[:3],
)


def finished(
    out: Path, grid: Grid, tags: MapTags, classes: tuple[LandCoverClass, ...] = NAMED
) -> Path:
    """Write a map of all values from 0 to the last class, and nodata."""
    values = np.random.default_rng(3).integers(0, len(classes) + 1, (1, *grid.shape), np.uint8)
    values[values == len(classes)] = 255
    with Workplace(out, {}) as place:
        sheet = place.sheet("a", grid, {"classes": class_map(classes)}, tags)
        for block in range(sheet.blocks):
            cols = slice(0, grid.shape[1])
            sheet.write(block, cols, {"classes": values[:, block * 512 : block * 512 + 512]})
        (path,) = sheet.finish()
        place.finish()
    return Path(path)


@pytest.mark.parametrize(
    ("transform", "crs", "pixel_m2"),
    [
        (Affine(0.2, 0, 7e5, 0, -0.2, 6.6e6), "EPSG:2154", 0.04),
        (Affine(0.3, 0.4, 7e5, 0.4, -0.3, 6.6e6), "EPSG:2154", 0.25),
        (Affine(1, 0, 7e5, 0, -2, 6.6e5), "EPSG:2263", 2 * (1200 / 3937) ** 2),
    ],
)
def test_the_table_counts_the_finished_map(
    transform: Affine, crs: str, pixel_m2: float, tmp_path: Path, tags: MapTags
) -> None:
    grid = Grid((600, 37), transform, CRS.from_string(crs))
    path = finished(tmp_path, grid, tags)
    with rasterio.open(path) as dataset:
        values = dataset.read(1)
        colors = dataset.colormap(1)
    rows = read_table(path)
    assert [(row.value, row.name, row.rgb) for row in rows] == [
        (value, item.name, item.rgb) for value, item in enumerate(NAMED)
    ]
    for row in rows:
        assert row.pixels == (values == row.value).sum() > 0
        assert row.rgb == colors[row.value][:3]
        assert row.area_m2 == pytest.approx(row.pixels * pixel_m2, abs=1e-4)
        assert row.area_ha == pytest.approx(row.area_m2 / 1e4, abs=1e-8)


def test_gdal_reads_the_table(tmp_path: Path, tags: MapTags, grid_of: GRIDS) -> None:
    """What GDAL copies with a raster into a file of another kind, it has read."""
    path = finished(tmp_path, grid_of(20, 30), tags)
    copy = tmp_path / "copy.png"
    rasterio.shutil.copy(str(path), str(copy), driver="PNG")
    assert read_table(copy) == read_table(path)


def test_the_table_of_arcgis_is_the_same(tmp_path: Path, tags: MapTags, grid_of: GRIDS) -> None:
    raw = pytest.importorskip("pyogrio.raw")
    path = finished(tmp_path, grid_of(20, 30), tags, CLASSES)
    meta, _, _, columns = raw.read(path.with_name(f"{path.name}.vat.dbf"))
    assert list(meta["fields"]) == [
        *("VALUE", "CLASS_NAME", "RED", "GREEN", "BLUE"),
        *("COUNT", "AREA_M2", "AREA_HA"),
    ]
    for found, row in zip(zip(*columns, strict=True), read_table(path), strict=True):
        value, name, *rest = found
        assert (value, name, tuple(rest[:3])) == (row.value, row.name, row.rgb)
        assert rest[3:] == pytest.approx([row.pixels, row.area_m2, row.area_ha], abs=0.005)


def test_the_table_of_arcgis_does_not_depend_on_the_day(
    tmp_path: Path, tags: MapTags, grid_of: GRIDS
) -> None:
    path = finished(tmp_path, grid_of(5, 6), tags)
    content = path.with_name(f"{path.name}.vat.dbf").read_bytes()
    assert content[:4] == bytes((3, 70, 1, 1))


def test_qgis_is_told_the_colour_and_name_of_each_value(
    tmp_path: Path, tags: MapTags, grid_of: GRIDS
) -> None:
    path = finished(tmp_path, grid_of(5, 6), tags)
    root = ET.parse(path.with_suffix(".qml")).getroot()
    (renderer,) = root.findall("./pipe/rasterrenderer")
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    assert [
        (entry.get("value"), entry.get("color"), entry.get("label"), entry.get("alpha"))
        for entry in renderer.findall("./colorPalette/paletteEntry")
    ] == [(str(value), item.color, item.name, "255") for value, item in enumerate(NAMED)]


def test_a_finished_map_stays_when_a_gis_adds_to_its_table(
    tmp_path: Path, tags: MapTags, grid_of: GRIDS
) -> None:
    """Of a run with more files, this one is done: what is beside it may grow, but not go."""
    kinds, grid = {"quality": quality_map()}, grid_of(9, 9)
    values = {"quality": np.zeros((1, 9, 9), np.uint8)}
    for change in ("grows", "goes"):
        out = tmp_path / change
        with Workplace(out, {}) as place:
            sheet = place.sheet("a", grid, kinds, tags)
            sheet.write(0, slice(0, 9), values)
            sheet.finish()
        side = out / side_names("a_quality")[0]
        side.write_text("<PAMDataset/>") if change == "grows" else side.unlink()
        with Workplace(out, {}) as place:
            assert place.sheet("a", grid, kinds, tags).finished == (change == "grows")
