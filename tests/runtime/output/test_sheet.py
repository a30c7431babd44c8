import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.datasets.flair import CLASSES
from runtime.errors import DataError
from runtime.grid import Grid
from runtime.output.kinds import MapTags, class_map, confidence_map, probability_map
from runtime.output.overviews import halve
from runtime.output.sheet import Sheet
from runtime.output.side_files import side_names
from runtime.output.workplace import Workplace

GRIDS = Callable[..., Grid]
LEVELS = Callable[[str | Path], list[NDArray[np.uint8]]]
KINDS = {
    "classes": class_map(CLASSES),
    "confidence": confidence_map(),
    "probabilities": probability_map(CLASSES[:3]),
}


def maps_of(shape: tuple[int, int]) -> dict[str, NDArray[np.uint8]]:
    """Values of every map, another one in each band, row and column."""
    rng = np.random.default_rng(shape)
    return {
        name: rng.integers(0, 256, (len(kind.bands), *shape), dtype=np.uint8)
        for name, kind in KINDS.items()
    }


def piece(
    maps: dict[str, NDArray[np.uint8]], block: int, cols: slice
) -> dict[str, NDArray[np.uint8]]:
    return {name: values[:, block * 512 : block * 512 + 512, cols] for name, values in maps.items()}


def fill(sheet: Sheet, maps: dict[str, NDArray[np.uint8]]) -> None:
    whole = slice(0, sheet.grid.shape[1])
    for block in sheet.missing(whole):
        sheet.write(block, whole, piece(maps, block, whole))


def test_a_sheet_that_waits_for_its_turn_takes_a_few_kilobytes(
    tmp_path: Path, grid_of: GRIDS, tags: MapTags
) -> None:
    grid, count = grid_of(5000, 5000), 1000
    with Workplace(tmp_path, {}) as place:
        tracemalloc.start()
        try:
            sheets = [place.sheet(f"{index:05}", grid, KINDS, tags) for index in range(count)]
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(sheets) == count
    assert held / count < 5000


@settings(max_examples=10)
@given(data=st.data(), height=st.integers(1, 1100), width=st.integers(1, 600))
def test_pieces_in_any_order_make_all_maps(
    data: st.DataObject,
    height: int,
    width: int,
    tmp_path_factory: pytest.TempPathFactory,
    grid_of: GRIDS,
    levels_of: LEVELS,
    tags: MapTags,
) -> None:
    out = tmp_path_factory.mktemp("sheet")
    maps = maps_of((height, width))
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, width), max_size=2)) - {width}), width]
    strips = [slice(*span) for span in pairwise(cuts)]
    with Workplace(out, {}) as place:
        sheet = place.sheet("a", grid_of(height, width), KINDS, tags)
        pieces = [(block, cols) for block in range(sheet.blocks) for cols in strips]
        left = set(range(len(pieces)))
        for number in data.draw(st.permutations(range(len(pieces)))):
            for cols in strips:
                rows = tuple(b for n, (b, c) in enumerate(pieces) if n in left and c == cols)
                assert sheet.missing(cols) == rows
            sheet.write(*pieces[number], piece(maps, *pieces[number]))
            left.remove(number)
        paths = sheet.finish()
        place.finish()
    beside = side_names("a_landcover")
    assert {path.name for path in out.iterdir()} == {*beside, *(Path(path).name for path in paths)}
    for path, (name, values) in zip(paths, maps.items(), strict=True):
        assert path == str(out / f"a_{KINDS[name].suffix}.tif")
        expected = values
        for found in levels_of(path):
            np.testing.assert_array_equal(found, expected)
            expected = halve(expected, KINDS[name].overviews)


def test_names_appear_when_all_maps_are_complete(
    tmp_path: Path, grid_of: GRIDS, tags: MapTags
) -> None:
    with Workplace(tmp_path, {}) as place:
        sheet = place.sheet("a", grid_of(9, 9), KINDS, tags)
        fill(sheet, maps_of((9, 9)))
        assert [path.name for path in tmp_path.iterdir()] == [".segx-run"]
        assert not sheet.finished
        paths = sheet.finish()
        assert sheet.finished
        assert sheet.finish() == sheet.paths == paths
        assert [path.name for path in (tmp_path / ".segx-run").glob("a_*")] == []


def test_the_values_are_those_at_the_call(
    tmp_path: Path, grid_of: GRIDS, tags: MapTags, levels_of: LEVELS
) -> None:
    maps = {"classes": maps_of((9, 9))["classes"]}
    before = maps["classes"].copy()
    with Workplace(tmp_path, {}) as place:
        sheet = place.sheet("a", grid_of(9, 9), {"classes": KINDS["classes"]}, tags)
        fill(sheet, maps)
        maps["classes"][:] = 0
        (path,) = sheet.finish()
    np.testing.assert_array_equal(levels_of(path)[0], before)


def test_wrong_calls_are_refused(tmp_path: Path, grid_of: GRIDS, tags: MapTags) -> None:
    with Workplace(tmp_path, {}) as place:
        sheet = place.sheet("a", grid_of(600, 9), {"classes": KINDS["classes"]}, tags)
        whole = slice(0, 9)
        for block, cols, shape in [
            (2, whole, (1, 88, 9)),
            (-1, whole, (1, 512, 9)),
            (1, slice(0, 10), (1, 88, 10)),
            (1, slice(4, 4), (1, 88, 0)),
            (1, whole, (1, 512, 9)),
            (1, whole, (2, 88, 9)),
        ]:
            with pytest.raises(ValueError, match="a"):
                sheet.write(block, cols, {"classes": np.zeros(shape, dtype=np.uint8)})
        with pytest.raises(ValueError, match=r"takes uint8 \(1, 88, 9\), not int64"):
            sheet.write(1, whole, {"classes": np.zeros((1, 88, 9), dtype=np.int64)})
        sheet.write(1, whole, {"classes": np.zeros((1, 88, 9), dtype=np.uint8)})
        with pytest.raises(ValueError, match=r"a lacks block rows \(0,\)"):
            sheet.finish()
        with pytest.raises(ValueError, match="not finished"):
            place.finish()


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
def test_a_disk_that_is_full_while_writing_is_one_line(
    tmp_path: Path, grid_of: GRIDS, tags: MapTags, levels_of: LEVELS
) -> None:
    maps, grid = maps_of((1024, 600)), grid_of(1024, 600)
    for size in (0, 60, 1_000, 500_000, 600_000, 1024 * 600 + 20):
        with (
            pytest.raises(DataError, match=r"cannot be written \(.*\); expected room and"),
            full_disk(size),
            Workplace(tmp_path, {}) as place,
        ):
            fill(place.sheet("a", grid, KINDS, tags), maps)
        assert {path.name for path in tmp_path.iterdir()} <= {".segx-run"}
    with Workplace(tmp_path, {}) as place:
        sheet = place.sheet("a", grid, KINDS, tags)
        fill(sheet, maps)
        paths = sheet.finish()
        place.finish()
    for path, values in zip(paths, maps.values(), strict=True):
        np.testing.assert_array_equal(levels_of(path)[0], values)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot limit the size of files")
def test_a_disk_that_is_full_at_the_end_leaves_the_old_map_wherever_it_ends(
    tmp_path: Path, grid_of: GRIDS, tags: MapTags, levels_of: LEVELS
) -> None:
    kinds, grid = {"confidence": confidence_map()}, grid_of(1024, 1024)
    values = maps_of((1024, 1024))["confidence"]
    with Workplace(tmp_path, {"run": 0}) as place:
        sheet = place.sheet("a", grid, kinds, tags)
        fill(sheet, {"confidence": values})
        path = Path(sheet.finish()[0])
        place.finish()
    end = path.stat().st_size
    path.write_text("old")
    # The last ones lie in what is written on closing.
    for size in (1_000, 500_000, end - 200_000, end - 30_000, end - 1_000, end - 5):
        with Workplace(tmp_path, {"run": 1}) as place:
            sheet = place.sheet("a", grid, kinds, tags)
            fill(sheet, {"confidence": values})
            with full_disk(size), pytest.raises(DataError, match="same command again: it goes on"):
                sheet.finish()
        assert path.read_text() == "old"
        assert {p.name for p in (tmp_path / ".segx-run").iterdir()} == {
            "journal",
            "lock",
            "a_confidence.raw",
        }
    with Workplace(tmp_path, {"run": 1}) as place:
        sheet = place.sheet("a", grid, kinds, tags)
        assert sheet.missing(slice(0, 1024)) == ()
        sheet.finish()
    np.testing.assert_array_equal(levels_of(path)[0], values)
