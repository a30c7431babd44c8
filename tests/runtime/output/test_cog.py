import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from runtime.datasets.flair import CLASSES
from runtime.grid import Grid
from runtime.output import cog
from runtime.output.cog import write_cog
from runtime.output.kinds import (
    QUALITY,
    MapKind,
    MapTags,
    class_map,
    confidence_map,
    disagreement_map,
    margin_map,
    probability_map,
    quality_map,
)
from runtime.output.overviews import halve
from runtime.output.spool import Spool

LEVELS = Callable[[Path], list[NDArray[np.uint8]]]
GRIDS = Callable[..., Grid]


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 13, shape, dtype=np.uint8)


def write(
    folder: Path, grid: Grid, kind: MapKind, tags: MapTags, values: NDArray[np.uint8]
) -> Path:
    """Write a whole map; nothing but its raw file stays beside it."""
    spool = Spool(folder / "map.raw", grid.shape, bands=len(kind.bands), rule=kind.overviews)
    cols = slice(0, grid.shape[1])
    for block in range(-(-grid.shape[0] // 512)):
        part = values[:, spool.block_rows(block)]
        spool.write(block, cols, part)
        spool.write_overviews(block, part)
    write_cog(spool, grid, kind, tags, folder / "map.tif")
    assert sorted(path.name for path in folder.iterdir()) == ["map.raw", "map.tif"]
    return folder / "map.tif"


@pytest.mark.parametrize(
    "transform",
    [
        Affine(0.2, 0.0, 700_000.0, 0.0, -0.2, 6_600_000.0),
        Affine(0.17, 0.1, 700_000.0, 0.1, -0.17, 6_600_000.0),
        Affine(0.2, 0.0, 7e5, 0.0, 0.2, 6.6e6),
        Affine(1 / 3, 0.0, 700_000.1, 0.0, -1 / 3, 6_600_000.7),
    ],
    ids=str,
)
def test_a_map_lies_on_exactly_its_grid(
    transform: Affine, tmp_path: Path, tags: MapTags, grid_of: GRIDS
) -> None:
    values, grid = noise(1, 70, 41), grid_of(70, 41, transform)
    path = write(tmp_path, grid, class_map(CLASSES), tags, values)
    with rasterio.open(path) as dataset:
        assert (dataset.shape, dataset.crs) == (grid.shape, grid.crs)
        assert dataset.transform == transform
        np.testing.assert_array_equal(dataset.read(), values)


@pytest.mark.parametrize(
    "text",
    [
        "EPSG:2263",
        "EPSG:4326",
        "EPSG:7415",
        "EPSG:3035",
        "+proj=laea +lat_0=10 +lon_0=-81 +ellps=WGS84 +units=m",
        'LOCAL_CS["here",UNIT["metre",1]]',
    ],
)
def test_any_reference_system_passes_unchanged(text: str, tmp_path: Path, tags: MapTags) -> None:
    crs = CRS.from_string(text)
    grid = Grid((4, 5), Affine(0.2, 0.0, 70.0, 0.0, -0.2, 66.0), crs)
    path = write(tmp_path, grid, confidence_map(), tags, noise(1, 4, 5))
    with rasterio.open(path) as dataset:
        assert dataset.crs == crs


def test_a_class_map_knows_names_and_colours(tmp_path: Path, tags: MapTags, grid_of: GRIDS) -> None:
    path = write(tmp_path, grid_of(9, 9), class_map(CLASSES), tags, noise(1, 9, 9))
    with rasterio.open(path) as dataset:
        assert dataset.nodata == 255
        assert dataset.dtypes == ("uint8",)
        assert dataset.descriptions == ("land cover",)
        assert dataset.colorinterp == (ColorInterp.palette,)
        colors = dataset.colormap(1)
        assert [colors[i][:3] for i in range(13)] == [item.rgb for item in CLASSES]
        assert dataset.tags()["SEGX_BUNDLE"] == "tiny"
        names = dataset.tags(1)
        assert [names[f"CLASS_{i}"] for i in range(13)] == [item.name for item in CLASSES]


def test_a_quality_map_names_its_own_values(tmp_path: Path, tags: MapTags, grid_of: GRIDS) -> None:
    path = write(tmp_path, grid_of(9, 9), quality_map(), tags, noise(1, 9, 9) % 4)
    with rasterio.open(path) as dataset:
        colors, names = dataset.colormap(1), dataset.tags(1)
        assert [colors[i][:3] for i in range(4)] == [item.rgb for item in QUALITY]
        assert names == {f"QUALITY_{i}": item.name for i, item in enumerate(QUALITY)}
        assert (dataset.descriptions, dataset.nodata) == (("quality",), 255)


def test_tags_of_any_text_pass_unchanged(tmp_path: Path, grid_of: GRIDS) -> None:
    text = 'a <b> & "c" d\'é 北'
    tags = MapTags(file={"MADE_BY": text}, band={"CLASS_0": text})
    path = write(tmp_path, grid_of(3, 4), class_map(CLASSES), tags, noise(1, 3, 4))
    with rasterio.open(path) as dataset:
        assert dataset.tags()["MADE_BY"] == text
        assert dataset.tags(1) == {"CLASS_0": text}


@pytest.mark.parametrize(
    ("side", "overviews"), [(511, []), (512, []), (513, [2]), (1024, [2]), (1100, [2, 4])]
)
def test_maps_are_cloud_optimized(
    side: int, overviews: list[int], tmp_path: Path, tags: MapTags, grid_of: GRIDS
) -> None:
    values = noise(1, side, 300)
    path = write(tmp_path, grid_of(side, 300), class_map(CLASSES), tags, values)
    with rasterio.open(path) as dataset:
        structure = dataset.tags(ns="IMAGE_STRUCTURE")
        assert (structure["LAYOUT"], structure["COMPRESSION"]) == ("COG", "DEFLATE")
        assert dataset.block_shapes == [(512, 512)]
        assert dataset.overviews(1) == overviews


@pytest.mark.parametrize("shape", [(1, 1), (513, 40), (1100, 600)], ids=str)
@pytest.mark.parametrize(
    "kind",
    [
        class_map(CLASSES),
        confidence_map(),
        margin_map(),
        probability_map(CLASSES[:3]),
        quality_map(),
        disagreement_map(),
    ],
    ids=lambda kind: kind.suffix,
)
def test_every_map_is_a_valid_cog(
    kind: MapKind, shape: tuple[int, int], tmp_path: Path, tags: MapTags, grid_of: GRIDS
) -> None:
    validate = pytest.importorskip("rio_cogeo").cog_validate
    values = noise(len(kind.bands), *shape) % 3
    path = write(tmp_path, grid_of(*shape), kind, tags, values)
    assert validate(path, strict=True) == (True, [], [])


def test_maps_give_gdal_no_new_names_to_keep(
    tmp_path: Path, tags: MapTags, grid_of: GRIDS, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    save = cog._save

    def note(path: Path, view: ET.Element) -> None:
        names.append(path.name)
        save(path, view)

    monkeypatch.setattr(cog, "_save", note)
    spools = [Spool(tmp_path / f"{stem}.raw", (70, 41), bands=1, rule="mode") for stem in "ab"]
    for spool in spools:
        spool.write(0, slice(0, 41), noise(1, 70, 41))
        target = spool.path.with_suffix(".tif")
        write_cog(spool, grid_of(70, 41), class_map(CLASSES), tags, target)
    assert names == [names[0]] * 2


@pytest.mark.parametrize(
    "kind", [class_map(CLASSES), confidence_map(), probability_map(CLASSES[:3])]
)
def test_overviews_are_those_of_the_raw_file(
    kind: MapKind, tmp_path: Path, tags: MapTags, grid_of: GRIDS, levels_of: LEVELS
) -> None:
    values = noise(len(kind.bands), 1101, 700)
    values[:, 500:530] = 255
    path = write(tmp_path, grid_of(1101, 700), kind, tags, values)
    expected = [values]
    for found in levels_of(path):
        np.testing.assert_array_equal(found, expected[-1])
        expected.append(halve(expected[-1], kind.overviews))
    assert len(expected) == 4


def test_overviews_of_classes_hold_no_class_in_between(
    tmp_path: Path, tags: MapTags, grid_of: GRIDS, levels_of: LEVELS
) -> None:
    values = np.where(np.arange(1024) % 4 < 3, 2, 12).astype(np.uint8)
    image = np.broadcast_to(values, (1, 1024, 1024))
    path = write(tmp_path, grid_of(1024, 1024), class_map(CLASSES), tags, image)
    assert set(np.unique(levels_of(path)[1])) <= {2, 12}


def test_overviews_of_a_confidence_pass_over_nodata(
    tmp_path: Path, tags: MapTags, grid_of: GRIDS, levels_of: LEVELS
) -> None:
    image = np.full((1, 1024, 1024), 100, dtype=np.uint8)
    image[0, ::2] = 255
    path = write(tmp_path, grid_of(1024, 1024), confidence_map(), tags, image)
    assert set(np.unique(levels_of(path)[1])) == {100}


def test_probabilities_have_a_band_for_every_class(
    tmp_path: Path, tags: MapTags, grid_of: GRIDS
) -> None:
    values = noise(13, 8, 9)
    path = write(tmp_path, grid_of(8, 9), probability_map(CLASSES), tags, values)
    with rasterio.open(path) as dataset:
        assert dataset.descriptions == tuple(item.name for item in CLASSES)
        np.testing.assert_array_equal(dataset.read(), values)
