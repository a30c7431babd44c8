"""Runs of a contest: what they take, what they say, and ratios of one round; no peer runs."""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tools.bench_peers import contest, peer_worker, raster, ratios
from tools.bench_peers.contest import Inside, Rules, Segx, Turn, Worker
from tools.bench_peers.report import Contest, write


def _turn(name: str, number: int, seconds: float, mib: float = 100.0, **more: Any) -> Turn:
    inside = Inside(
        start_s=1.0,
        work_s=seconds - 1,
        opening_s=0.5,
        steady_s=seconds - 1.5,
        tiles=9,
        map=Path("none.tif"),
    )
    return replace(
        Turn(
            contender=name,
            round=number,
            process_s=seconds,
            cpu_s=seconds,
            peak_rss_mib=mib,
            inside=inside,
        ),
        **more,
    )


def test_ratios_are_of_one_round_and_only_of_rounds_that_both_ended() -> None:
    turns = [
        *(_turn("segx", number, seconds) for number, seconds in enumerate((2.0, 4.0, 5.0, 8.0))),
        *(_turn("peer", number, seconds) for number, seconds in enumerate((6.0, 8.0, 20.0))),
        _turn("peer", 3, 1.0, failed="ended with 1"),
    ]
    found = ratios.ratio(turns, "peer", "segx", ratios.FIGURES["process_s"])
    assert found == ratios.Ratio(min=2.0, median=3.0, rounds=3)
    work = ratios.ratio(turns, "peer", "segx", ratios.FIGURES["work_s"])
    assert work is not None
    assert work.min == pytest.approx(7 / 3)
    assert ratios.ratio(turns, "nobody", "segx", ratios.FIGURES["process_s"]) is None


@given(values=st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 100)), min_size=1, max_size=5))
def test_a_ratio_turned_around_has_the_inverse_median(values: list[tuple[float, float]]) -> None:
    values = values[: len(values) - (len(values) + 1) % 2]  # an odd number has a middle
    turns = [
        _turn(name, number, seconds)
        for number, pair in enumerate(values)
        for name, seconds in zip("ab", pair, strict=True)
    ]
    one = ratios.ratio(turns, "a", "b", ratios.FIGURES["process_s"])
    other = ratios.ratio(turns, "b", "a", ratios.FIGURES["process_s"])
    assert one is not None
    assert other is not None
    assert one.min <= one.median
    assert one.median == pytest.approx(1 / other.median)


def _write_map(path: Path, classes: NDArray[np.uint8]) -> Path:
    height, width = classes.shape
    profile: dict[str, Any] = {"driver": "GTiff", "count": 1, "dtype": "uint8"}
    place = {"crs": "EPSG:2154", "transform": raster.GROUND}
    with rasterio.open(path, "w", height=height, width=width, **profile, **place) as target:
        target.write(classes, 1)
    return path


def test_agreement_is_the_share_of_equal_pixels_over_all_rows(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    one, other = generator.integers(0, 3, (2, ratios.ROWS + 13, 31), dtype=np.uint8)
    paths = [_write_map(tmp_path / f"{k}.tif", m) for k, m in enumerate((one, other, one[:-1]))]
    assert ratios.agreement(paths[0], paths[1]) == (one == other).mean()
    assert ratios.agreement(paths[0], paths[0]) == 1.0
    with pytest.raises(ValueError, match="px"):
        ratios.agreement(paths[0], paths[2])


def test_a_report_of_segx_is_read(tmp_path: Path) -> None:
    report = {
        "wall_s": 10.0,
        "cold_start_s": 2.0,
        "tiles": 5,
        "outputs": ["maps/a_confidence.tif", "maps/a_landcover.tif"],
        "backend": "openvino",
        "precision": "fp32",
    }
    (tmp_path / contest.RESULT).write_text(json.dumps(report))
    segx = Segx(name="s", bundle=Path("b"), source=Path("r"), backend="openvino", threads=2)
    inside = segx.inside(tmp_path, {"process_s": 11.5, "began": 0.0})
    assert (inside.start_s, inside.work_s, inside.opening_s) == (1.5, 10.0, 2.0)
    # Four of the five tiles came after the cold start.
    assert inside.steady_s == 10.0
    assert inside.map == Path("maps/a_landcover.tif")
    words = segx.command(tmp_path)
    assert words[:4] == [sys.executable, "-m", "segx", "infer"]
    options = dict(zip(words[5::2], words[6::2], strict=True))
    assert words[4] == "r"
    assert options.keys() == {"--bundle", "--out", "--backend", "--threads", "--json"}
    (tmp_path / contest.RESULT).write_text(json.dumps({**report, "tiles": 1}))
    assert segx.inside(tmp_path, {"process_s": 11.5}).steady_s is None


def test_a_worker_gets_its_task_and_says_what_it_took(tmp_path: Path) -> None:
    worker = Worker(name="w", script=("python", "script"), task={"threads": 2})
    words = worker.command(tmp_path)
    assert words[:2] == ["python", "script"]
    task = json.loads(Path(words[2]).read_text())
    assert task == {"threads": 2, "map": str(tmp_path / contest.MAP)}
    said = {"began": 100.5, "imports_s": 2.0, "opening_s": 1.0, "work_s": 7.0, "tiles": 3}
    Path(words[3]).write_text(json.dumps({**said, "versions": {}}))
    inside = worker.inside(tmp_path, {"began": 100.0})
    assert (inside.start_s, inside.work_s, inside.steady_s, inside.tiles) == (2.5, 7.0, 6.0, 3)


@dataclass(frozen=True)
class _Script:
    """A contender that is a line of Python."""

    name: str
    line: str

    def command(self, folder: Path) -> list[str]:
        write = f"open({str(folder / contest.RESULT)!r}, 'w').write('1')"
        return [sys.executable, "-S", "-c", f"{self.line}\n{write}"]

    def inside(self, folder: Path, outside: Mapping[str, float]) -> Inside:
        return Inside(
            start_s=0, work_s=1, opening_s=0, steady_s=1, tiles=1, map=folder / contest.MAP
        )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="cores are chosen on Linux only")
def test_memory_is_that_of_the_run_alone(tmp_path: Path) -> None:
    here = np.ones(13 << 20, dtype=np.float64)  # 104 MiB, which must not be counted
    rules = Rules(rounds=1, threads=1, out=tmp_path)
    small = contest.take_turn(_Script("small", "pass"), 0, rules)
    large = contest.take_turn(_Script("large", "x = b'1' * (48 << 20)"), 0, rules)
    assert not small.failed
    assert small.peak_rss_mib < 40 < here.nbytes / 2**20
    assert 48 < large.peak_rss_mib < 48 + 40
    assert small.process_s > 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="cores are chosen on Linux only")
def test_what_fails_or_hangs_is_said(tmp_path: Path) -> None:
    rules = Rules(rounds=1, threads=1, out=tmp_path, limit_s=0.3)
    bad = contest.take_turn(_Script("bad", "raise SystemExit('no room')"), 0, rules)
    assert bad.failed == "ended with 1; no room"
    hangs = contest.take_turn(_Script("hangs", "import signal; signal.pause()"), 0, rules)
    assert hangs.failed.startswith("ended with out of time")
    assert math.isnan(hangs.process_s)


def test_who_begins_changes_and_who_failed_sits_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def turn(contender: _Script, number: int, rules: Rules) -> Turn:
        failed = "broken" if contender.name == "b" else ""
        return _turn(contender.name, number, 1.0, failed=failed)

    monkeypatch.setattr(contest, "take_turn", turn)
    rules = Rules(rounds=3, threads=1, out=tmp_path)
    seen: list[Turn] = []
    turns = contest.play([_Script(name, "") for name in "abc"], rules, seen.append)
    assert [(one.round, one.contender) for one in turns] == [
        *((0, name) for name in "abc"),
        *((1, name) for name in "ca"),
        *((2, name) for name in "ca"),
    ]
    assert seen == turns


def test_the_table_says_ratios_agreement_and_failures(tmp_path: Path) -> None:
    maps = {}
    for name, value in (("segx", 1), ("peer", 1)):
        classes = np.full((4, 5), value, dtype=np.uint8)
        classes[0, 0] = len(name) == 4 and name == "peer"
        maps[name] = _write_map(tmp_path / f"{name}.tif", classes)
    turns = []
    for name, seconds, mib in (("segx", 2.0, 100.0), ("peer", 5.0, 250.0)):
        one = _turn(name, 0, seconds, mib)
        assert one.inside is not None
        turns.append(replace(one, inside=replace(one.inside, map=maps[name])))
    turns.append(Turn(contender="broken", round=0, failed="ended with 1; no room"))
    found = Contest(
        title="A contest",
        rules=Rules(rounds=1, threads=2, out=tmp_path),
        settings={},
        groups=(ratios.Group(title="All", segx="segx", others=("peer", "broken")),),
        turns=turns,
    )
    table, everything = write(found, "all")
    text = table.read_text()
    assert "| peer | 9 | 5.00 | 1.00 | 4.00 | 0.50 | 250 | 2.50 / 2.50 | 4.00 / 4.00 |" in text
    assert "| 2.50 / 2.50 | 95.0000% |" in text
    assert "- broken failed: ended with 1; no room" in text
    row = json.loads(everything.read_text())["groups"][0]["rows"][1]
    assert row["ratios"]["peak_rss_mib"] == {"min": 2.5, "median": 2.5, "rounds": 1}
    assert row["agreement"] == 0.95


def test_a_peer_says_how_long_each_step_took(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Session:
        kind = "fake"

        def run(self, names: Any, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
            return [feed["image"]]

    def tool(task: Mapping[str, Any], count: list[int]) -> Iterator[str]:
        yield "imports"
        session = peer_worker._Counted(Session(), count)
        assert session.kind == "fake"
        yield "opening"
        for batch in (1, 3):
            session.run(None, {"image": np.zeros((batch, 2, 4, 4))})
        yield "work"

    monkeypatch.setitem(peer_worker.TOOLS, "pytest", tool)
    clock = SimpleNamespace(perf_counter=iter((0.0, 1.0, 3.0, 7.0)).__next__)
    monkeypatch.setattr(peer_worker, "time", clock)
    task, result = tmp_path / "task.json", tmp_path / "result.json"
    task.write_text(json.dumps({"tool": "pytest"}))
    peer_worker.main(str(task), str(result))
    found = json.loads(result.read_text())
    seconds = {key: found[f"{key}_s"] for key in ("imports", "opening", "work")}
    assert seconds == {"imports": 1.0, "opening": 2.0, "work": 6.0}
    assert found["tiles"] == 4
    assert found["versions"]["pytest"] == pytest.__version__
