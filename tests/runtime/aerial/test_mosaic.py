import dataclasses
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest
from aerial_files import noise, scenes_of, transform_at, write_file
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from runtime.aerial.mosaic import MOST_BLOCK_ROWS, Mosaic, join
from runtime.errors import BandError, DataError
from runtime.grid import Grid
from runtime.raster import RasterInfo, describe
from runtime.scene import Scene

Place = tuple[int, int, int, int]
"""Row, column, height, width."""
LAMBERT = CRS.from_epsg(2154)
opened: "Counter[Path]" = Counter()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Header(Scene):
    """A scene whose header was never on a disk."""

    info: RasterInfo

    def open(self) -> Any:
        opened[self.aerial] += 1
        return self

    def __enter__(self) -> "Header":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass


def header(name: str, grid: Grid, **changes: Any) -> Header:
    satellite, alone = changes.pop("satellite", None), changes.pop("alone", False)
    described = RasterInfo(
        path=Path(name),
        grid=grid,
        count=3,
        dtype="uint8",
        nodata=None,
        bands=("red", "green", "blue"),
        tags={},
    )
    info = dataclasses.replace(described, **changes)
    return Header(aerial=Path(name), info=info, satellite=satellite, alone=alone)


def at(row: int, col: int, height: int = 10, width: int = 10) -> Grid:
    return Grid((height, width), transform_at(row, col), LAMBERT)


def headers(places: Sequence[Place]) -> list[Header]:
    return [header(f"{index:04d}.tif", at(*place)) for index, place in enumerate(places)]


def names(mosaics: Sequence[Mosaic]) -> list[list[str]]:
    return [[file.path.stem for file in mosaic.files] for mosaic in mosaics]


places = st.lists(
    st.tuples(*[st.integers(-40, 40)] * 2, *[st.integers(1, 15)] * 2), min_size=1, max_size=12
)


def touch(one: Place, other: Place, reach: int) -> bool:
    return all(
        one[axis] <= other[axis] + other[axis + 2] + reach
        and other[axis] <= one[axis] + one[axis + 2] + reach
        for axis in (0, 1)
    )


@settings(max_examples=50)
@given(places=places, reach=st.integers(0, 6))
def test_files_that_touch_directly_or_through_others_are_one_mosaic(
    places: list[Place], reach: int
) -> None:
    groups = [{index} for index in range(len(places))]
    for i, one in enumerate(places):
        for j, other in enumerate(places[:i]):
            if touch(one, other, reach):
                merged = groups[i] | groups[j]
                for index in merged:
                    groups[index] = merged
    expected = sorted({tuple(sorted(group)) for group in groups})
    found = [tuple(map(int, group)) for group in names(join(headers(places), reach=reach))]
    assert found == expected


@settings(max_examples=50)
@given(places=places)
def test_the_grid_is_the_bounding_box_and_files_keep_their_place_on_the_ground(
    places: list[Place],
) -> None:
    (mosaic,) = join(headers(places), reach=200)
    top, left = (min(place[axis] for place in places) for axis in (0, 1))
    bottom, right = (max(place[axis] + place[axis + 2] for place in places) for axis in (0, 1))
    assert mosaic.grid.shape == (bottom - top, right - left)
    assert at(top, left).offset_of(mosaic.grid) == (0, 0)
    for file, place in zip(mosaic.files, places, strict=True):
        assert (file.row, file.col) == (place[0] - top, place[1] - left)
        assert mosaic.grid.offset_of(file.info.grid) == (file.row, file.col)


@settings(max_examples=50)
@given(places=places, data=st.data())
def test_the_files_in_a_window_are_those_that_share_a_pixel_with_it(
    places: list[Place], data: st.DataObject
) -> None:
    (mosaic,) = join(headers(places), reach=200)
    row, col, height, width = data.draw(
        st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 30)] * 2)
    )
    found = mosaic.files_in(slice(row, row + height), slice(col, col + width))
    window = np.zeros((150, 150), dtype=np.bool_)
    window[row : row + height, col : col + width] = True
    assert list(found) == [file for file in mosaic.files if window[file.rows, file.cols].any()]


@settings(max_examples=60)
@given(
    shifts=st.lists(
        st.tuples(*[st.sampled_from([0.0, 0.004, -0.008, 0.02, 0.5, 0.996])] * 2),
        min_size=1,
        max_size=6,
    ),
    stretch=st.sampled_from([0.0, 1e-4, 2e-3]),
    turned=st.booleans(),
)
def test_one_lattice_is_what_the_grid_says(
    shifts: list[tuple[float, float]], stretch: float, turned: bool
) -> None:
    grids = []
    for index, (down, across) in enumerate(shifts):
        a, b = (0.12, 0.16) if turned else (0.2, 0.0)
        x, y = (
            7e5 + a * across + b * (10 * index + down),
            6.6e6 + b * across - a * (10 * index + down),
        )
        wider = 1 + stretch * index
        grids.append(Grid((10, 10), Affine(a * wider, b, x, b * wider, -a, y), LAMBERT))
    mosaics = join([header(f"{i}.tif", grid) for i, grid in enumerate(grids)], reach=200)
    left = list(range(len(grids)))
    expected = []
    while left:
        group = [i for i in left if i == left[0] or grids[left[0]].offset_of(grids[i]) is not None]
        expected.append([str(index) for index in group])
        left = [index for index in left if index not in group]
    assert names(mosaics) == expected


def test_files_of_another_series_crs_or_kind_are_mosaics_of_their_own() -> None:
    one: Any = object()
    other: Any = object()
    scenes = [
        header("a.tif", at(0, 0), satellite=one),
        header("b.tif", at(0, 10), satellite=one),
        header("c.tif", at(0, 20), satellite=other),
        header("d.tif", at(10, 0), satellite=one, alone=True),
        header("e.tif", Grid((10, 10), transform_at(10, 10), CRS.from_epsg(32631)), satellite=one),
        header("f.tif", at(10, 20)),
    ]
    mosaics = join(scenes, reach=5)
    assert names(mosaics) == [["a", "b"], ["c"], ["d"], ["e"], ["f"]]
    assert [mosaic.satellite for mosaic in mosaics] == [one, other, one, one, None]
    assert [mosaic.name for mosaic in mosaics] == ["2 files", "c", "d", "e", "f"]


def test_a_crs_that_is_written_otherwise_is_the_same_lattice() -> None:
    grid = Grid((10, 10), transform_at(0, 10), CRS.from_wkt(LAMBERT.to_wkt(version="WKT1_GDAL")))
    assert len(join([header("a.tif", at(0, 0)), header("b.tif", grid)], reach=0)) == 1


def test_files_come_by_name_whatever_their_order() -> None:
    scenes = headers([(0, 10 * index, 10, 10) for index in range(5)])
    assert names(join(scenes[::-1], reach=0)) == [["0000", "0001", "0002", "0003", "0004"]]


def test_a_file_by_itself_keeps_its_grid_to_the_last_bit() -> None:
    grid = Grid((7, 9), Affine(0.2, 0.01, 700_000.1, -0.01, -0.2, 6_600_000.3), LAMBERT)
    (mosaic,) = join([header("a.tif", grid)], reach=0)
    assert mosaic.grid == grid


def test_thousands_of_headers_are_opened_once_each() -> None:
    opened.clear()
    scenes = headers([(10 * (i // 50), 10 * (i % 50), 10, 10) for i in range(2_500)])
    (mosaic,) = join(scenes, reach=3)
    assert mosaic.grid.shape == (500, 500)
    assert opened == Counter({scene.aerial: 1 for scene in scenes})


def test_headers_come_from_the_files(tmp_path: Path) -> None:
    files = [write_file(tmp_path / f"{i}.tif", noise(3, 8, 9), row=8 * i, col=i) for i in (0, 1)]
    (mosaic,) = join(scenes_of(*files), reach=0)
    assert [file.info for file in mosaic.files] == [describe(path) for path in files]
    assert mosaic.grid == Grid((16, 10), transform_at(0, 0), LAMBERT)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.tif is not there"):
        join(scenes_of(tmp_path / "gone.tif"), reach=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"bands": ("green", "red", "blue")},
        {"count": 4, "bands": ("red", "green", "blue", "nir")},
        {"dtype": "uint16"},
    ],
)
def test_files_that_touch_hold_the_same_bands(changes: dict[str, Any]) -> None:
    scenes = [header("a.tif", at(0, 0)), header("b.tif", at(10, 0), **changes)]
    with pytest.raises(BandError, match=r"^b\.tif .* touches a\.tif.*; expected .*; rewrite"):
        join(scenes, reach=0)
    apart = [header("a.tif", at(0, 0)), header("b.tif", at(50, 0), **changes)]
    assert len(join(apart, reach=0)) == 2


def test_a_file_without_band_names_joins_one_with_them() -> None:
    unnamed = header("a.tif", at(0, 0), bands=("", "", ""))
    shouted = header("b.tif", at(0, 10), bands=("RED", "Green", "blue"))
    assert len(join([unnamed, shouted, header("c.tif", at(0, 20))], reach=0)) == 1


@settings(max_examples=50)
@given(
    places=places,
    heights=st.lists(st.integers(1, 9), min_size=12, max_size=12),
    cols=st.tuples(st.integers(0, 60), st.integers(1, 30)),
)
def test_rows_of_blocks_lead_from_top_to_bottom(
    places: list[Place], heights: list[int], cols: tuple[int, int]
) -> None:
    scenes = [
        header(f"{index:04d}.tif", at(*place), block_height=heights[index])
        for index, place in enumerate(places)
    ]
    (mosaic,) = join(scenes, reach=200)
    ends, run = [0], slice(cols[0], sum(cols))
    while ends[-1] < mosaic.grid.shape[0]:
        ends.append(mosaic.block_end(ends[-1], run))
    assert ends[-1] == mosaic.grid.shape[0]
    assert all(0 < end - start <= mosaic.block_rows for start, end in pairwise(ends))
    for start, end in pairwise(ends):
        files = mosaic.files_in(slice(start, start + 1), run)
        on_border = [(end - file.row) % file.info.block_height == 0 for file in files]
        stops = [end in (file.rows.start, file.rows.stop) for file in mosaic.files]
        assert not files or any(on_border) or any(stops)


def test_of_files_side_by_side_the_block_that_ends_last_counts() -> None:
    scenes = [
        header("a.tif", at(0, 0), block_height=3),
        header("b.tif", at(0, 10), block_height=5),
    ]
    (mosaic,) = join(scenes, reach=0)
    assert [mosaic.block_end(row, slice(5, 15)) for row in (0, 2, 5, 9)] == [5, 5, 10, 10]
    assert [mosaic.block_end(row, slice(5, 10)) for row in (0, 2, 5, 9)] == [3, 3, 6, 10]


def test_blocks_as_high_as_a_file_are_not_read_at_once() -> None:
    (mosaic,) = join([header("a.tif", at(0, 0, 9_000, 10), block_height=9_000)], reach=0)
    assert mosaic.block_rows == MOST_BLOCK_ROWS
    assert mosaic.block_end(0, slice(0, 10)) == MOST_BLOCK_ROWS
