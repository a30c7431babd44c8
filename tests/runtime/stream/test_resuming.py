"""A run that was stopped goes on, and ends as if it had not been."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from local_model import HALO, TILE, LocalModel, map_files, noise, read, whole_map, write

from runtime.errors import DataError

STRIDE = TILE - 2 * HALO
SHAPE = (1200, 90)
BLOCK_TILES = -(-512 // STRIDE) + 1
"""Rows of tiles that a block row of a map is made from, at most."""


def stop_at(call: int, path: Path, out: Path, confidence: bool = False) -> int:
    """Map until a call of the model fails; return the tiles that were run."""
    model = LocalModel(fail_at=call)
    with pytest.raises(ZeroDivisionError):
        map_files([path], out, model, confidence=confidence)
    assert not list(out.glob("*.tif"))
    return len(model.runs)


@pytest.mark.parametrize("strip", [1, 100])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.8, 0.99])
def test_a_run_goes_on_where_it_was_stopped(
    share: float, strip: int, few_columns: Callable[[int], None], tmp_path: Path
) -> None:
    few_columns(strip)
    pixels = noise(*SHAPE)
    path = write(tmp_path / "a.tif", pixels)
    across = -(-SHAPE[1] // STRIDE)
    tiles = -(-SHAPE[0] // STRIDE) * across
    done = stop_at(int(share * tiles), path, tmp_path / "maps", confidence=True)
    model = LocalModel()
    report = map_files([path], tmp_path / "maps", model, confidence=True)
    np.testing.assert_array_equal(read(tmp_path / "maps" / "a_landcover.tif")[0], whole_map(pixels))
    assert report.resumed == (share > 0.4 or (share > 0.2 and strip == 1))
    # What had passed the model but was not written yet: a block row, and a few in the queues.
    assert len(model.runs) <= tiles - done + BLOCK_TILES * min(strip, across) + 10
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == [
        "a_confidence.tif",
        "a_landcover.qml",
        "a_landcover.tif",
        "a_landcover.tif.aux.xml",
        "a_landcover.tif.vat.dbf",
        "report.json",
    ]


def test_a_run_goes_on_with_strips_of_another_width(
    few_columns: Callable[[int], None], tmp_path: Path
) -> None:
    pixels = noise(*SHAPE)
    path = write(tmp_path / "a.tif", pixels)
    few_columns(1)
    stop_at(50, path, tmp_path / "maps")
    few_columns(2)
    model = LocalModel()
    assert map_files([path], tmp_path / "maps", model).resumed
    np.testing.assert_array_equal(read(tmp_path / "maps" / "a_landcover.tif")[0], whole_map(pixels))


def test_ctrl_c_leaves_what_a_run_can_go_on_with(tmp_path: Path) -> None:
    pixels = noise(*SHAPE)
    path = write(tmp_path / "a.tif", pixels)

    def interrupt(done: int, total: int) -> None:
        if done == 3 * total // 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_files([path], tmp_path / "maps", on_tile=interrupt)
    assert map_files([path], tmp_path / "maps").resumed
    np.testing.assert_array_equal(read(tmp_path / "maps" / "a_landcover.tif")[0], whole_map(pixels))


@pytest.mark.parametrize("changed", ["options", "input", "mask"])
def test_another_run_does_not_take_what_is_there_nor_destroy_it(
    changed: str, tmp_path: Path
) -> None:
    pixels = noise(*SHAPE)
    path = write(tmp_path / "a.tif", pixels)
    stop_at(100, path, tmp_path / "maps")
    before = path.read_bytes(), path.stat()
    if changed == "input":
        write(path, noise(*SHAPE, seed=1))
    elif changed == "mask":
        write(tmp_path / "mask.tif", np.zeros(SHAPE, dtype=np.uint8))
        (tmp_path / "mask.tif").rename(tmp_path / "a.tif.msk")
    with pytest.raises(DataError, match=r"the interrupted run of another command .* --restart"):
        map_files([path], tmp_path / "maps", confidence=changed == "options")
    path.with_name("a.tif.msk").unlink(missing_ok=True)
    path.write_bytes(before[0])
    os.utime(path, ns=(before[1].st_atime_ns, before[1].st_mtime_ns))
    assert map_files([path], tmp_path / "maps").resumed
    np.testing.assert_array_equal(read(tmp_path / "maps" / "a_landcover.tif")[0], whole_map(pixels))


def test_a_run_over_wide_values_goes_on_with_the_same_rule_only(tmp_path: Path) -> None:
    pixels = noise(*SHAPE)
    path, out = write(tmp_path / "a.tif", pixels.astype(np.uint16) * 9), tmp_path / "maps"
    with pytest.raises(ZeroDivisionError):
        map_files([path], out, LocalModel(fail_at=100), scale="0,2295")
    with pytest.raises(DataError, match="the interrupted run of another command"):
        map_files([path], out, scale="0,4095")
    assert map_files([path], out, scale="0,2295").resumed
    np.testing.assert_array_equal(read(out / "a_landcover.tif")[0], whole_map(pixels))


def test_a_run_can_be_begun_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(*SHAPE))
    stop_at(100, path, tmp_path / "maps")
    model = LocalModel()
    report = map_files([path], tmp_path / "maps", model, restart=True)
    assert not report.resumed
    assert len(model.runs) == report.tiles == -(-SHAPE[0] // STRIDE) * -(-SHAPE[1] // STRIDE)


def test_finished_files_of_a_mosaic_are_not_made_again(tmp_path: Path) -> None:
    pixels = noise(*SHAPE)
    paths = [
        write(tmp_path / f"{top}.tif", pixels[top : top + 200], top) for top in range(0, 1200, 200)
    ]
    with pytest.raises(ZeroDivisionError):
        map_files(paths, tmp_path / "maps", LocalModel(fail_at=100))
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "maps").glob("*.tif")}
    assert 0 < len(done) < 6
    report = map_files(paths, tmp_path / "maps")
    assert len(report.outputs) == 6
    for path, time in done.items():
        assert path.stat().st_mtime_ns == time
    found = [read(tmp_path / "maps" / f"{path.stem}_landcover.tif")[0] for path in paths]
    np.testing.assert_array_equal(np.concatenate(found), whole_map(pixels))
