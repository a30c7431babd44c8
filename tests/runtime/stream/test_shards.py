"""Shards share a run out; what they write is what one process writes."""

import json
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_model import LocalModel, card_of, map_files, noise, read, whole_map, write

from runtime.backends import BackendChoice
from runtime.engines.lock import hold
from runtime.errors import BusyError, ConfigError, DataError
from runtime.output.kinds import BLOCK
from runtime.output.workplace import FOLDER, Workplace, shard_folder, shard_is_done
from runtime.pipeline import ShardResult, map_shard
from runtime.scene import Scene
from runtime.stream.options import InferOptions
from runtime.stream.shards import NEAR, Shard
from runtime.stream.survey import make_survey
from runtime.tally import Tally

SHAPE = (1300, 60)
sheets = st.lists(st.tuples(st.integers(1, 9000), st.integers(1, 9000)), min_size=1, max_size=12)


def block_pixels(height: int, width: int, block: int) -> int:
    return min(BLOCK, height - block * BLOCK) * width


@given(shapes=sheets, count=st.integers(1, 40))
def test_shards_are_a_partition_in_order_and_balanced(
    shapes: list[tuple[int, int]], count: int
) -> None:
    shares = [Shard(index=index + 1, count=count).share(shapes) for index in range(count)]
    written = [
        [sheet, block] for share in shares for sheet, blocks in enumerate(share) for block in blocks
    ]
    assert written == [
        [sheet, block]
        for sheet, (height, _) in enumerate(shapes)
        for block in range(-(-height // BLOCK))
    ]
    pixels = [
        sum(
            block_pixels(*shapes[sheet], block)
            for sheet, rows in enumerate(share)
            for block in rows
        )
        for share in shares
    ]
    fair = sum(height * width for height, width in shapes) / count
    largest = max(block_pixels(*shape, 0) for shape in shapes)
    slack = max(NEAR * fair * count, largest)
    assert all(abs(found - fair) <= 2 * slack for found in pixels)


@given(sides=st.integers(1, 400), count=st.integers(1, 20))
def test_many_small_files_are_not_cut(sides: int, count: int) -> None:
    shapes = [(sides, sides)] * 64
    shares = [Shard(index=index + 1, count=count).share(shapes) for index in range(count)]
    numbers = [sum(len(blocks) for blocks in share) for share in shares]
    assert sum(numbers) == 64
    assert max(numbers) - min(numbers) <= 2


@pytest.mark.parametrize("text", ["", "3", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1/999999"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected I/N.*correct --shard"):
        Shard.parse(text)


def run_shard(
    paths: Sequence[Path], out: Path, text: str, model: LocalModel | None = None, **options: Any
) -> ShardResult:
    survey = make_survey(
        [Scene(aerial=path, satellite=None) for path in paths], card_of(), InferOptions(**options)
    )
    tally = Tally(BackendChoice(name="onnxruntime", reason="a test"))
    return map_shard(survey, Shard.parse(text), model or LocalModel(), out, tally=tally)


def mosaic(folder: Path) -> tuple[list[Path], Any]:
    pixels = noise(*SHAPE)
    cuts = [0, 60, 700, 1300]
    paths = [write(folder / f"{top}.tif", pixels[top:end], top) for top, end in pairwise(cuts)]
    return paths, whole_map(pixels)


def names(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir() if path.suffix in {".tif", ".json"})


@pytest.mark.parametrize(
    ("order", "blend"), [("123", False), ("321", False), ("213", False), ("312", True)]
)
def test_what_shards_write_in_any_order_is_the_map_of_one_process(
    order: str, blend: bool, few_columns: Callable[[int], None], tmp_path: Path
) -> None:
    few_columns(1)
    paths, whole = mosaic(tmp_path / "in")
    one = map_files(paths, tmp_path / "one", LocalModel(probabilities=blend), blend=blend)
    out = tmp_path / "maps"
    for place, index in enumerate(order):
        model = LocalModel(probabilities=blend)
        result = run_shard(paths, out, f"{index}/3", model, blend=blend)
        assert result.left == 2 - place
        assert model.runs, "every shard has something to do"
    assert result.report is not None
    assert (result.report.shard, result.report.shards) == (None, 3)
    assert names(out) == names(tmp_path / "one")
    for name in names(out):
        if name.endswith(".tif"):
            np.testing.assert_array_equal(read(out / name), read(tmp_path / "one" / name))
    if not blend:
        found = [read(out / f"{path.stem}_landcover.tif")[0] for path in paths]
        np.testing.assert_array_equal(np.concatenate(found), whole)
    assert not list(out.glob(".segx-run*"))
    assert result.report.pixels == one.pixels == SHAPE[0] * SHAPE[1]
    assert result.report.tiles >= one.tiles
    assert len(result.report.outputs) == len(one.outputs)
    assert json.loads((out / "report.json").read_text())["tiles"] == result.report.tiles


def test_a_shard_that_is_done_is_not_run_again(tmp_path: Path) -> None:
    paths, _ = mosaic(tmp_path / "in")
    out = tmp_path / "maps"
    first = run_shard(paths, out, "1/2")
    model = LocalModel()
    again = run_shard(paths, out, "1/2", model)
    assert not model.runs
    assert first.report is not None
    assert again.report is not None
    assert (again.report.tiles, again.report.shard, again.left) == (first.report.tiles, "1/2", 1)
    run_shard(paths, out, "2/2")
    done = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    for text in ("1/2", "2/2"):
        assert run_shard(paths, out, text, model) == ShardResult(report=None, left=0)
    assert not model.runs
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == done


def test_a_shard_that_was_stopped_goes_on(
    few_columns: Callable[[int], None], tmp_path: Path
) -> None:
    few_columns(1)
    paths, whole = mosaic(tmp_path / "in")
    out = tmp_path / "maps"
    full = LocalModel()
    run_shard(paths, tmp_path / "other", "2/2", full)
    with pytest.raises(ZeroDivisionError):
        run_shard(paths, out, "2/2", LocalModel(fail_at=len(full.runs) - 5))
    run_shard(paths, out, "1/2")
    model = LocalModel()
    result = run_shard(paths, out, "2/2", model)
    assert result.left == 0
    assert 0 < len(model.runs) < len(full.runs)
    assert result.report is not None
    assert result.report.resumed
    found = [read(out / f"{path.stem}_landcover.tif")[0] for path in paths]
    np.testing.assert_array_equal(np.concatenate(found), whole)


def test_a_run_of_the_whole_does_what_shards_left(
    few_columns: Callable[[int], None], tmp_path: Path
) -> None:
    few_columns(1)
    paths, whole = mosaic(tmp_path / "in")
    out = tmp_path / "maps"
    done = run_shard(paths, out, "1/2")
    with pytest.raises(ZeroDivisionError):
        run_shard(paths, out, "2/2", LocalModel(fail_at=35))
    model = LocalModel()
    report = map_files(paths, out, model)
    assert done.report is not None
    assert report.shards == 1
    assert report.resumed
    assert report.tiles == len(model.runs) + done.report.tiles
    everything = LocalModel()
    map_files(paths, tmp_path / "one", everything)
    assert len(model.runs) < len(everything.runs)
    assert not list(out.glob(".segx-run*"))
    found = [read(out / f"{path.stem}_landcover.tif")[0] for path in paths]
    np.testing.assert_array_equal(np.concatenate(found), whole)


def test_shards_that_would_write_other_maps_are_refused(tmp_path: Path) -> None:
    paths, _ = mosaic(tmp_path / "in")
    out = tmp_path / "maps"
    run_shard(paths, out, "1/2")
    with pytest.raises(DataError, match=r"holds \.segx-run-1-of-2 and shard 1/3 was asked for"):
        run_shard(paths, out, "1/3")
    with pytest.raises(DataError, match="the interrupted run of another command"):
        map_files(paths, out, confidence=True)
    with pytest.raises(DataError, match="the interrupted run of another command"):
        run_shard(paths, out, "1/2", confidence=True)
    assert map_files(paths, out, confidence=True, restart=True).shards == 0
    assert not list(out.glob(".segx-run*"))


def test_a_shard_and_a_run_of_the_whole_do_not_write_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("runtime.output.workplace.SHARD_WAIT_S", 0.0)
    monkeypatch.setattr("runtime.output.workplace._WAIT_S", 0.0)
    paths, _ = mosaic(tmp_path / "in")
    out = tmp_path / "maps"
    seen: list[str] = []

    def another(done: int, total: int) -> None:
        if done == 1:
            with pytest.raises(BusyError, match=r"by a run of the whole, .* wait for its end"):
                run_shard(paths, out, "1/2")
            seen.append("shard")

    map_files(paths, out, on_tile=another)
    assert seen == ["shard"]


def test_a_shard_waits_for_another_that_looks_for_a_run_of_the_whole(tmp_path: Path) -> None:
    whole = tmp_path / FOLDER
    whole.mkdir()
    looking = ExitStack()
    looking.enter_context(hold(whole / "lock", limit_s=0, on_wait=lambda: None))
    threading.Timer(0.2, looking.close).start()
    with Workplace(tmp_path, {"run": 1}, shard=(1, 2)) as work:
        work.finish()
    assert shard_is_done(tmp_path, 1, 2)
    assert not shard_is_done(tmp_path, 2, 2)


def test_a_run_of_the_whole_outlasts_a_shard_that_looks_for_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("runtime.output.workplace._WAIT_S", 0.4)
    with Workplace(tmp_path, {"run": 1}, shard=(1, 2)) as work:
        work.note({"index": 1})
        work.finish()
    looking = ExitStack()
    folder = shard_folder(tmp_path, 1, 2)
    looking.enter_context(hold(folder / "lock", limit_s=0, on_wait=lambda: None))
    threading.Timer(0.5, looking.close).start()
    with Workplace(tmp_path, {"run": 1}) as work:
        assert work.notes == [{"index": 1}]
        work.finish()


def test_what_more_shards_left_than_files_may_be_open_is_taken_over(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    count, limits = 60, resource.getrlimit(resource.RLIMIT_NOFILE)
    for index in range(1, count + 1):
        with Workplace(tmp_path, {"run": 1}, shard=(index, count)) as work:
            work.note({"index": index})
            work.finish()
    here = len(list(Path("/dev/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (here + count // 2, limits[1]))
    try:
        with Workplace(tmp_path, {"run": 1}) as work:
            assert [note["index"] for note in work.notes] == sorted(
                range(1, count + 1), key=lambda index: f"{index}-of"
            )
            work.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert list(tmp_path.iterdir()) == []


def test_more_shards_than_there_is_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(50, 70))
    results = [run_shard([path], tmp_path / "maps", f"{index}/4") for index in range(1, 5)]
    assert [result.left for result in results] == [3, 2, 1, 0]
    assert results[-1].report is not None
    assert results[-1].report.pixels == 50 * 70
    np.testing.assert_array_equal(
        read(tmp_path / "maps" / "a_landcover.tif")[0], whole_map(noise(50, 70))
    )
    assert re.fullmatch("[0-9a-f]{64}", results[-1].report.run)
