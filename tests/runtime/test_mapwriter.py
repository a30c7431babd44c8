import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from runtime.errors import DataError
from runtime.flair import CLASSES
from runtime.grid import Grid
from runtime.mapwriter import (
    MapKind,
    MapTags,
    MapWriter,
    class_map,
    class_tags,
    confidence_map,
    probability_map,
)

NORTH_UP = Affine(0.2, 0.0, 700_000.0, 0.0, -0.2, 6_600_000.0)
TURNED = Affine(0.17, 0.1, 700_000.0, 0.1, -0.17, 6_600_000.0)
TAGS = MapTags(file={"SEGX_BUNDLE": "tiny"}, band=class_tags(CLASSES))


def grid(shape: tuple[int, int], transform: Affine = NORTH_UP) -> Grid:
    return Grid(shape, transform, CRS.from_epsg(2154))


def write(path: Path, where: Grid, kind: MapKind, values: NDArray[np.uint8]) -> Path:
    with MapWriter(path, where, kind, TAGS) as writer:
        writer.write(slice(0, where.shape[0]), slice(0, where.shape[1]), values)
        writer.finish()
    return path


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 13, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    "transform", [NORTH_UP, TURNED, Affine(0.2, 0.0, 7e5, 0.0, 0.2, 6.6e6)], ids=str
)
def test_a_map_lies_on_exactly_its_grid(transform: Affine, tmp_path: Path) -> None:
    values = noise(1, 70, 41)
    where = grid((70, 41), transform)
    path = write(tmp_path / "map.tif", where, class_map(CLASSES), values)
    with rasterio.open(path) as dataset:
        assert (dataset.shape, dataset.crs) == (where.shape, where.crs)
        assert dataset.transform == transform
        np.testing.assert_array_equal(dataset.read(), values)


def test_a_class_map_knows_names_and_colours(tmp_path: Path) -> None:
    path = write(tmp_path / "map.tif", grid((9, 9)), class_map(CLASSES), noise(1, 9, 9))
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


@pytest.mark.parametrize(("side", "overviews"), [(512, []), (513, [2]), (1100, [2, 4])])
def test_maps_are_cloud_optimized(side: int, overviews: list[int], tmp_path: Path) -> None:
    path = write(tmp_path / "map.tif", grid((side, 300)), class_map(CLASSES), noise(1, side, 300))
    with rasterio.open(path) as dataset:
        structure = dataset.tags(ns="IMAGE_STRUCTURE")
        assert (structure["LAYOUT"], structure["COMPRESSION"]) == ("COG", "DEFLATE")
        assert dataset.block_shapes == [(512, 512)]
        assert dataset.overviews(1) == overviews


def test_overviews_of_classes_hold_no_class_in_between(tmp_path: Path) -> None:
    values = np.where(np.arange(1024) % 4 < 3, 2, 12).astype(np.uint8)
    image = np.broadcast_to(values, (1, 1024, 1024))
    path = write(tmp_path / "map.tif", grid((1024, 1024)), class_map(CLASSES), image)
    with rasterio.open(path, overview_level=0) as dataset:
        assert set(np.unique(dataset.read())) <= {2, 12}


def test_overviews_of_a_confidence_pass_over_nodata(tmp_path: Path) -> None:
    image = np.full((1, 1024, 1024), 100, dtype=np.uint8)
    image[0, ::2] = 255
    path = write(tmp_path / "map.tif", grid((1024, 1024)), confidence_map(), image)
    with rasterio.open(path, overview_level=0) as dataset:
        assert set(np.unique(dataset.read())) == {100}


def test_probabilities_have_a_band_for_every_class(tmp_path: Path) -> None:
    values = noise(13, 8, 9)
    path = write(tmp_path / "map.tif", grid((8, 9)), probability_map(CLASSES), values)
    with rasterio.open(path) as dataset:
        assert dataset.descriptions == tuple(item.name for item in CLASSES)
        np.testing.assert_array_equal(dataset.read(), values)


@given(data=st.data(), height=st.integers(1, 40), width=st.integers(1, 40))
def test_windows_in_any_order_make_the_map(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, height: int, width: int
) -> None:
    folder = tmp_path_factory.mktemp("windows")
    values = noise(1, height, width)
    step = data.draw(st.integers(1, 16))
    starts = [(r, c) for r in range(0, height, step) for c in range(0, width, step)]
    with MapWriter(folder / "m.tif", grid((height, width)), class_map(CLASSES), TAGS) as writer:
        for row, col in data.draw(st.permutations(starts)):
            rows, cols = slice(row, min(row + step, height)), slice(col, min(col + step, width))
            writer.write(rows, cols, values[:, rows, cols])
        writer.finish()
    with rasterio.open(folder / "m.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), values)


def test_the_name_appears_when_the_map_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "map.tif"
    with MapWriter(path, grid((9, 9)), class_map(CLASSES), TAGS) as writer:
        writer.write(slice(0, 9), slice(0, 9), noise(1, 9, 9))
        assert not path.exists()
        writer.finish()
        assert [file.name for file in tmp_path.iterdir()] == ["map.tif"]
    assert [file.name for file in tmp_path.iterdir()] == ["map.tif"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_map_and_nothing_beside(
    error: type[BaseException], tmp_path: Path
) -> None:
    path = write(tmp_path / "map.tif", grid((9, 9)), class_map(CLASSES), noise(1, 9, 9))
    old = path.read_bytes()
    with pytest.raises(error), MapWriter(path, grid((9, 9)), class_map(CLASSES), TAGS):
        raise error
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == old


def test_a_map_that_is_not_finished_does_not_appear(tmp_path: Path) -> None:
    with MapWriter(tmp_path / "map.tif", grid((9, 9)), class_map(CLASSES), TAGS):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "maps").write_text("")
    with pytest.raises(DataError, match=r"map.tif cannot be written \(.*\); expected room and"):
        MapWriter(tmp_path / "maps" / "map.tif", grid((9, 9)), class_map(CLASSES), TAGS)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let every file end at `size` bytes, as a full disk does."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot limit the size of files")
def test_a_disk_that_is_full_leaves_nothing_wherever_it_ends(tmp_path: Path) -> None:
    shape = (1024, 1024)
    values = np.random.default_rng(0).integers(0, 254, (1, *shape), dtype=np.uint8)
    whole = write(tmp_path / "whole.tif", grid(shape), confidence_map(), values)
    end = whole.stat().st_size
    whole.unlink()
    # The last ones lie in what is written on closing.
    for size in (1_000, 500_000, end - 200_000, end - 30_000, end - 1_000, end - 5):
        with full_disk(size), pytest.raises(DataError, match="cannot be written"):
            write(tmp_path / "map.tif", grid(shape), confidence_map(), values)
        assert list(tmp_path.iterdir()) == [], size
