"""Polygons of maps of any ground, in a file that GDAL and QGIS read."""

import sqlite3
import xml.etree.ElementTree as ET
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from attribute_tables import read_table
from numpy.typing import NDArray
from rasterio.crs import CRS

from runtime.datasets.flair import CLASSES
from runtime.errors import DataError
from runtime.grid import Grid
from runtime.output.kinds import MapTags, class_map, class_tags
from runtime.output.workplace import Workplace

raw = pytest.importorskip("pyogrio.raw")
shapely = pytest.importorskip("shapely")

from segx.gis import VectorOptions, vectorize  # noqa: E402

NORTH_UP = Affine(0.2, 0.0, 7e5, 0.0, -0.2, 6.6e6)
TURNED = Affine(0.3, 0.4, 7e5, 0.4, -0.3, 6.6e6)
PLAIN = VectorOptions()


def ground(height: int, width: int) -> NDArray[np.uint8]:
    """Patches of several sizes with single pixels in them, and a hole of nodata."""
    rng = np.random.default_rng((height, width))
    coarse = rng.integers(0, 4, (-(-height // 8), -(-width // 8)), dtype=np.uint8)
    classes = np.kron(coarse, np.ones((8, 8), dtype=np.uint8))[:height, :width].copy()
    single = rng.random(classes.shape) < 0.03
    classes[single] = rng.integers(0, 13, single.sum())
    classes[height // 3 : height // 2, width // 4 : width // 2] = 255
    return classes


def finished(
    out: Path, classes: NDArray[np.uint8], transform: Affine = NORTH_UP, crs: str = "EPSG:2154"
) -> Path:
    """Write a map as a run does."""
    grid = Grid((classes.shape[0], classes.shape[1]), transform, CRS.from_string(crs))
    tags = MapTags(file={"SEGX_BUNDLE": "tiny <1>"}, band=class_tags(CLASSES))
    with Workplace(out, {}) as place:
        sheet = place.sheet("a", grid, {"classes": class_map(CLASSES)}, tags)
        for block in range(sheet.blocks):
            rows = classes[None, block * 512 : block * 512 + 512]
            sheet.write(block, slice(0, classes.shape[1]), {"classes": rows})
        (path,) = sheet.finish()
        place.finish()
    return Path(path)


def polygons(path: Path) -> tuple[dict[str, Any], NDArray[np.object_], list[NDArray[Any]]]:
    meta, _, geometry, columns = raw.read(path, layer="landcover")
    return meta, shapely.from_wkb(geometry), columns


@pytest.mark.parametrize(
    ("transform", "crs"),
    [(NORTH_UP, "EPSG:2154"), (TURNED, "EPSG:2154"), (NORTH_UP, "EPSG:2263")],
    ids=["north up", "turned", "feet"],
)
def test_areas_are_those_of_the_map(transform: Affine, crs: str, tmp_path: Path) -> None:
    path = finished(tmp_path, ground(600, 70), transform, crs)
    file = vectorize(path, tmp_path, PLAIN)
    assert file == tmp_path / "a_landcover.gpkg"
    meta, geometry, (classes, names, areas) = polygons(file)
    assert list(meta["fields"]) == ["class", "class_name", "area_m2"]
    assert CRS.from_string(meta["crs"]) == CRS.from_string(crs)
    foot = CRS.from_string(crs).linear_units_factor[1]
    np.testing.assert_allclose(shapely.area(geometry) * foot**2, areas, rtol=1e-5)
    for row in read_table(path):
        assert areas[classes == row.value].sum() == pytest.approx(row.area_m2, abs=1e-4)
        assert set(names[classes == row.value]) <= {row.name}


def test_polygons_lie_on_their_pixels(tmp_path: Path) -> None:
    path = finished(tmp_path, ground(90, 70), TURNED)
    _, geometry, (classes, _, _) = polygons(vectorize(path, tmp_path, PLAIN))
    from rasterio.features import rasterize

    with rasterio.open(path) as dataset:
        found = rasterize(
            zip(geometry, classes.tolist(), strict=True), dataset.shape, 255, transform=TURNED
        )
        np.testing.assert_array_equal(found, dataset.read(1))


def test_small_areas_become_part_of_their_largest_neighbour(tmp_path: Path) -> None:
    classes = np.zeros((20, 30), dtype=np.uint8)
    classes[:, 15:] = 1
    classes[5:7, 13:15] = 2  # 4 px between 0, of 284 px, and 1, of 294 px
    classes[10:12, 20:23] = 3  # 6 px: as large as asked for
    classes[:3, :4] = 255
    classes[1, 1] = 4  # nothing but nodata around it
    path = finished(tmp_path, classes)
    options = VectorOptions(min_area_m2=6 * 0.04)
    _, _, (found, _, areas) = polygons(vectorize(path, tmp_path, options))
    counted = {int(value): round(areas[found == value].sum() / 0.04) for value in set(found)}
    assert counted == {0: 284, 1: 294 + 4, 3: 6, 4: 1}
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), classes)
    assert not list(tmp_path.glob("*.sieve"))


def test_a_least_area_above_that_of_the_map_is_taken(tmp_path: Path) -> None:
    path = finished(tmp_path, np.zeros((9, 9), dtype=np.uint8))
    file = vectorize(path, tmp_path, VectorOptions(min_area_m2=1e6))
    assert len(polygons(file)[1]) == 1


def test_simplified_neighbours_leave_no_gap(tmp_path: Path) -> None:
    path = finished(tmp_path, ground(120, 90))
    plain = polygons(vectorize(path, tmp_path, PLAIN))[1]
    simple = polygons(vectorize(path, tmp_path, VectorOptions(simplify_m=0.5)))[1]
    assert shapely.get_num_coordinates(simple).sum() < shapely.get_num_coordinates(plain).sum()
    assert shapely.is_valid(simple).all()
    # Neither gaps nor overlaps: the parts are as large together as what they cover, the whole.
    whole = shapely.union_all(plain)
    assert shapely.area(simple).sum() == pytest.approx(shapely.area(whole), rel=1e-9)
    assert shapely.area(shapely.union_all(simple)) == pytest.approx(shapely.area(whole), rel=1e-9)


def test_what_made_the_map_stands_in_the_file(tmp_path: Path) -> None:
    path = finished(tmp_path, ground(40, 50))
    file = vectorize(path, tmp_path, VectorOptions(min_area_m2=2.5))
    import pyogrio

    told = pyogrio.read_info(file, layer="landcover")["dataset_metadata"]
    assert told["SEGX_BUNDLE"] == "tiny <1>"
    assert told["SEGX_VECTOR_MIN_AREA"] == "2.5 m2"
    assert told["SEGX_VECTOR_SIMPLIFY"] == "0 m"


def test_qgis_finds_the_colours_of_the_classes(tmp_path: Path) -> None:
    file = vectorize(finished(tmp_path, ground(40, 50)), tmp_path, PLAIN)
    with closing(sqlite3.connect(file)) as database:
        ((table, column, is_default, style),) = database.execute(
            "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
        ).fetchall()
        known = database.execute(
            "SELECT table_name, column_name FROM gpkg_geometry_columns"
        ).fetchall()
    assert (table, column) in known
    assert is_default
    root = ET.fromstring(style)
    colors = {
        symbol.get("name"): option.get("value")
        for symbol in root.iter("symbol")
        for option in symbol.iter("Option")
        if option.get("name") == "color"
    }
    assert [
        (item.get("value"), item.get("label"), colors[item.get("symbol")])
        for item in root.iter("category")
    ] == [
        (str(index), item.name, ",".join(map(str, (*item.rgb, 255))))
        for index, item in enumerate(CLASSES)
    ]


def test_a_map_without_data_becomes_an_empty_layer(tmp_path: Path) -> None:
    path = finished(tmp_path, np.full((9, 9), 255, dtype=np.uint8))
    assert len(polygons(vectorize(path, tmp_path, PLAIN))[1]) == 0


def test_a_map_that_is_gone_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a_landcover.tif cannot be read .*; expected the map"):
        vectorize(tmp_path / "a_landcover.tif", tmp_path, PLAIN)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_nothing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = finished(tmp_path, ground(9, 9))

    def full(*args: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(DataError, match=r"a_landcover.gpkg cannot be written \(No space left"):
        vectorize(path, tmp_path, PLAIN)
    assert not list(tmp_path.glob("*.gpkg"))


def test_a_path_that_sqlite_cannot_open_is_one_line(tmp_path: Path) -> None:
    path = finished(tmp_path, ground(9, 9))
    with pytest.raises(DataError, match=r"a_landcover.gpkg cannot be written"):
        vectorize(path, tmp_path / "nowhere", PLAIN)
