"""A run that was stopped at any moment goes on to the same maps."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attribute_tables import read_table
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import runtime
from runtime.datasets.flair import CLASSES
from runtime.grid import Grid
from runtime.output import disk, journal, sheet, spool
from runtime.output.kinds import MapTags, class_map, confidence_map
from runtime.output.overviews import halve
from runtime.output.side_files import side_names
from runtime.output.workplace import Workplace

GRIDS = Callable[..., Grid]
LEVELS = Callable[[str | Path], list[NDArray[np.uint8]]]
ROOT = Path(runtime.__file__).parents[1]
KINDS = {"classes": class_map(CLASSES), "confidence": confidence_map()}
SHAPES = {"a": (1100, 40), "b": (70, 530)}
STRIPS = {"a": (slice(0, 17), slice(17, 40)), "b": (slice(0, 530),)}
MAPS = {
    stem: np.random.default_rng(len(stem)).integers(0, 256, (1, *shape), dtype=np.uint8)
    for stem, shape in SHAPES.items()
}


class Killed(BaseException):
    """What ends a run in these tests."""


def run(out: Path, grid_of: GRIDS, tags: MapTags) -> int:
    """Write what is missing of both sheets; returns the pieces written."""
    written = 0
    with Workplace(out, {"run": 1}) as place:
        for stem, shape in SHAPES.items():
            maps = place.sheet(stem, grid_of(*shape), KINDS, tags)
            for cols in STRIPS[stem]:
                for block in maps.missing(cols):
                    rows = slice(block * 512, block * 512 + 512)
                    values = MAPS[stem][:, rows, cols]
                    maps.write(block, cols, {"classes": values, "confidence": 255 - values})
                    written += 1
            maps.finish()
        place.finish()
    return written


def check(out: Path, levels_of: LEVELS) -> None:
    beside = [name for stem in MAPS for name in side_names(f"{stem}_landcover")]
    rasters = [f"{stem}_{suffix}.tif" for stem in MAPS for suffix in ("landcover", "confidence")]
    assert {path.name for path in out.iterdir()} == {*beside, *rasters}
    for stem, values in MAPS.items():
        counted = [row.pixels for row in read_table(out / f"{stem}_landcover.tif")]
        assert counted == np.bincount(values.ravel(), minlength=256)[: len(CLASSES)].tolist()
        for suffix, expected in (("landcover", values), ("confidence", 255 - values)):
            rule = "mode" if suffix == "landcover" else "average"
            levels = levels_of(out / f"{stem}_{suffix}.tif")
            assert len(levels) == (3 if stem == "a" else 2)
            for found in levels:
                np.testing.assert_array_equal(found, expected)
                expected = halve(expected, rule)  # type: ignore[arg-type]


class Fuse:
    """Ends the run at a certain operation on the disk, in the midst of its bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
        self.left = left
        put, add = disk.put, journal.Journal._add

        def torn(file: FileIO, data: memoryview, position: int) -> None:
            if self.blows():
                put(file, data[: len(data) // 2], position)
                raise Killed
            put(file, data, position)

        def guarded(function: Callable[..., None]) -> Callable[..., None]:
            def call(*args: object, **options: object) -> None:
                if self.blows():
                    raise Killed
                function(*args, **options)

            return call

        monkeypatch.setattr(spool, "put", torn)
        monkeypatch.setattr(os, "replace", guarded(os.replace))
        monkeypatch.setattr(Path, "unlink", guarded(Path.unlink))
        monkeypatch.setattr(journal.Journal, "_add", guarded(add))

    def blows(self) -> bool:
        self.left -= 1
        return self.left <= 0


@settings(max_examples=6)
@given(moments=st.lists(st.integers(1, 600), min_size=1, max_size=3))
def test_a_run_that_ends_anywhere_goes_on(
    moments: list[int],
    tmp_path_factory: pytest.TempPathFactory,
    grid_of: GRIDS,
    tags: MapTags,
    levels_of: LEVELS,
) -> None:
    out = tmp_path_factory.mktemp("killed")
    for moment in moments:
        with pytest.MonkeyPatch.context() as patch:
            Fuse(patch, moment)
            try:
                run(out, grid_of, tags)
            except Killed:
                continue
            break
    else:
        run(out, grid_of, tags)
    check(out, levels_of)


@settings(max_examples=6)
@given(data=st.data(), done=st.integers(0, 7))
def test_damage_to_what_a_run_left_is_found(
    data: st.DataObject,
    done: int,
    tmp_path_factory: pytest.TempPathFactory,
    grid_of: GRIDS,
    tags: MapTags,
    levels_of: LEVELS,
) -> None:
    out = tmp_path_factory.mktemp("damaged")
    folder = out / ".segx-run"
    with pytest.MonkeyPatch.context() as patch:
        lines = journal.Journal._add

        def add(self: journal.Journal, *args: Any) -> None:
            nonlocal done
            if done == 0:
                raise Killed
            done -= 1
            lines(self, *args)

        patch.setattr(journal.Journal, "_add", add)
        with pytest.raises(Killed):
            run(out, grid_of, tags)
    for path in sorted(folder.iterdir()) if folder.exists() else []:
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(0, 3))):
            if content:
                content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(
                    st.integers(0, 7)
                )
        keep = data.draw(st.sampled_from([1, 1, 1, 0, None]))
        end = data.draw(st.integers(0, len(content))) if keep is None else len(content) * keep
        path.write_bytes(content[:end])
    run(out, grid_of, tags)
    check(out, levels_of)


def test_overviews_that_a_power_cut_lost_are_made_again(
    tmp_path: Path, grid_of: GRIDS, tags: MapTags, levels_of: LEVELS
) -> None:
    values = MAPS["a"]
    with Workplace(tmp_path, {}) as place:
        maps = place.sheet("a", grid_of(*SHAPES["a"]), {"classes": KINDS["classes"]}, tags)
        for block in maps.missing(slice(0, 40)):
            rows = slice(block * 512, block * 512 + 512)
            maps.write(block, slice(0, 40), {"classes": values[:, rows]})
    raw = tmp_path / ".segx-run" / "a_landcover.raw"
    content = raw.read_bytes()
    raw.write_bytes(content[: values.size] + bytes(len(content) - values.size))
    with Workplace(tmp_path, {}) as place:
        maps = place.sheet("a", grid_of(*SHAPES["a"]), {"classes": KINDS["classes"]}, tags)
        assert maps.missing(slice(0, 40)) == ()
        (path,) = maps.finish()
    for found, expected in zip(
        levels_of(path),
        (values, halve(values, "mode"), halve(halve(values, "mode"), "mode")),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_at_most_the_piece_at_work_is_written_again(
    tmp_path: Path, grid_of: GRIDS, tags: MapTags, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = sheet.Sheet.write
    left = 0

    def stop(self: sheet.Sheet, *args: Any) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        write(self, *args)

    pieces = sum(-(-shape[0] // 512) * len(STRIPS[stem]) for stem, shape in SHAPES.items())
    for done in range(pieces):
        out, left = tmp_path / str(done), done
        with monkeypatch.context() as patch:
            patch.setattr(sheet.Sheet, "write", stop)
            with pytest.raises(Killed):
                run(out, grid_of, tags)
        assert run(out, grid_of, tags) == pieces - done


CHILD = """
import sys
from pathlib import Path
import numpy as np
from affine import Affine
from rasterio.crs import CRS
from runtime.datasets.flair import CLASSES
from runtime.grid import Grid
from runtime.output.kinds import MapTags, class_map
from runtime.output.workplace import Workplace

grid = Grid((9 * 512, 64), Affine(0.2, 0.0, 7e5, 0.0, -0.2, 6.6e6), CRS.from_epsg(2154))
with Workplace(Path(sys.argv[1]), {}) as place:
    sheet = place.sheet("a", grid, {"classes": class_map(CLASSES)}, MapTags(file={}, band={}))
    for block in sheet.missing(slice(0, 64)):
        values = (np.arange(512 * 64) // 7 % (block + 9)).astype(np.uint8).reshape(1, 512, 64)
        print(block, flush=True)
        if block == int(sys.argv[2]):
            sys.stdin.read()
        sheet.write(block, slice(0, 64), {"classes": values})
    sheet.finish()
    place.finish()
"""


def test_a_killed_process_is_gone_on_with(tmp_path: Path, levels_of: LEVELS) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    pipe = subprocess.PIPE
    # It would wait at the last block for ever, and is killed there or before.
    with subprocess.Popen([*command, "8"], cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout is not None
        seen = [int(child.stdout.readline()) for _ in range(random.randrange(1, 9))]
        child.kill()
    assert not (tmp_path / "a_landcover.tif").exists()
    again = subprocess.run([*command, "9"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(again.stdout.split()[0]) >= seen[-1]
    values = [(np.arange(512 * 64) // 7 % (block + 9)).reshape(512, 64) for block in range(9)]
    np.testing.assert_array_equal(levels_of(tmp_path / "a_landcover.tif")[0][0], np.vstack(values))
