"""`segx bench --protocol flair2`: who takes part, turns, ratios, and what is printed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from runtime.child import Ended
from runtime.errors import CheckpointError, ConfigError
from runtime.jsonfile import plain
from segx import protocol_flair2, protocol_worker
from segx.bundles import TOY
from segx.protocol_flair2 import BASELINE, Contender, Rules, compete, find_contender
from segx.protocol_worker import Outcome, Task

Run = Callable[..., Any]

SMALL = """
name = "small"

[satellite]
encoder_widths = [8, 8, 16, 16]
decoder_widths = [8, 8, 16, 16]
n_head = 4
d_model = 16
"""

WALL_S = {"u-t-and-t": 4.0, "u-tae": 2.0, "lf-dlm": 12.0, str(TOY): 1.0}


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who has run, in order; runs take no time, and say what `WALL_S` says."""
    taken: list[str] = []

    def run(who: Contender, task: Task, on_patch: Callable[[int], None]) -> Outcome:
        # Each turn is slower than the one before, for everybody in the same round.
        number = sum(source == who.source for source in taken)
        taken.append(who.source)
        patches = task.patches or 8
        for done in range(1, patches + 1):
            on_patch(done)
        wall = WALL_S[who.source] * (1 + number)
        return Outcome(
            config="toy" if who.kind == "bundle" else who.name,
            backend="openvino" if who.kind == "bundle" else "pytorch",
            device="CPU",
            precision="fp32",
            patches=patches,
            wall_s=wall,
            stages_s={"read": 0.1, "preprocess": 0.2, "model": 0.8 * wall, "write": 0.1},
            peak_rss_mib=1000.0,
        )

    monkeypatch.setattr(protocol_flair2, "_run", run)
    return taken


def test_the_table_shows_everybody_beside_the_baseline(
    segx: Run, turns: list[str], small_flair2: Path, transcript: Run, tmp_path: Path
) -> None:
    result = segx(
        *("bench", "--protocol", "flair2", "--data", small_flair2, "--threads", 2, "--rounds", 2),
        *("--models", f"u-tae,{TOY}, lf-dlm", "--json", "f.json"),
    )
    assert result.code == 0, result.err
    transcript("bench-flair2", result.out)
    assert result.complaints == []
    found = json.loads((tmp_path / "f.json").read_text())
    assert (found["protocol"], found["patches"], found["areas"]) == ("flair2", 8, 2)
    assert (found["rounds"], found["threads"], found["limit"]) == (2, 2, 2.5)
    by_name = {item["name"]: item for item in found["results"]}
    assert list(by_name) == ["u-t-and-t", "u-tae", "toy", "lf-dlm"]
    # A machine that slows down from round to round slows all, and no ratio.
    assert [item["ratio"] for item in by_name.values()] == [1.0, 0.5, 0.25, 3.0]
    assert [item["within_limit"] for item in by_name.values()] == [True, True, True, False]
    assert [item["paper_ratio"] for item in by_name.values()] == [1.0, 0.58, None, 1.5]
    assert by_name["u-tae"]["ms_per_patch"] == 1e3 * 3.0 / 8


def test_rounds_go_there_and_back(turns: list[str], small_flair2: Path) -> None:
    told: list[tuple[int, int, str]] = []
    compete(
        ("u-tae", BASELINE, "lf-dlm", "u-tae"),
        Rules(data=small_flair2, rounds=2, patches=3),
        Task(),
        lambda *step: told.append(step),
    )
    names = [BASELINE, "u-tae", "lf-dlm"]
    assert turns == [*names, *reversed(names)]
    assert told == [(3 * turn + done, 18, turns[turn]) for turn in range(6) for done in range(1, 4)]


def test_the_models_of_the_paper_run_where_none_is_named(
    segx: Run, turns: list[str], small_flair2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol_flair2, "USUAL", ("u-tae", "lf-dlm"))
    result = segx("bench", "--protocol", "flair2", "--data", small_flair2, "--patches", 1)
    assert result.code == 0, result.err
    assert result.out.startswith("models: u-tae, lf-dlm (no --models was given)\n")
    assert turns == [BASELINE, "u-tae", "lf-dlm"]


def test_presets_checkpoints_and_bundles_are_told_apart(tmp_path: Path) -> None:
    assert find_contender("lf-dlm").kind == "preset"
    assert find_contender(str(TOY)).kind == "bundle"
    assert find_contender(str(tmp_path)).kind == "checkpoint"
    (tmp_path / "own.toml").write_text("")
    own = find_contender(str(tmp_path / "own.toml"))
    assert (own.kind, own.name) == ("preset", "own")
    with pytest.raises(ConfigError, match=r"--models names lf-dml; expected a preset \(.*lf-dlm"):
        find_contender("lf-dml")


def test_a_bundle_runs_in_a_process_of_its_own(small_flair2: Path) -> None:
    done: list[int] = []
    task = Task(data=str(small_flair2), patches=2, threads=1, backend="openvino")
    outcome = protocol_flair2._run(find_contender(str(TOY)), task, done.append)
    assert (outcome.backend, outcome.device, outcome.patches) == ("openvino", "CPU", 2)
    assert set(outcome.stages_s) == {"read", "preprocess", "model", "write"}
    assert 0 < outcome.stages_s["model"] <= outcome.wall_s
    assert done == [1, 2]


def test_a_preset_runs_in_pytorch_with_random_weights(
    small_flair2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.toml").write_text(SMALL, encoding="utf-8")
    source = find_contender(str(tmp_path / "small.toml")).source
    task = Task(
        kind="preset",
        source=source,
        data=str(small_flair2),
        patches=2,
        threads=torch.get_num_threads(),
        out=str(tmp_path),
    )
    (tmp_path / "task.json").write_text(json.dumps(plain(task)))
    protocol_worker.main(str(tmp_path / "task.json"))
    found = json.loads((tmp_path / "outcome.json").read_text())
    assert (found["error"], found["config"]) == ("", "small")
    assert (found["backend"], found["precision"], found["patches"]) == ("pytorch", "fp32", 2)
    assert capsys.readouterr().out.split() == ["1", "2"]
    # Predictions are not kept.
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "outcome.json",
        "small.toml",
        "task.json",
    ]


def test_a_worker_hands_its_error_on(small_flair2: Path, tmp_path: Path) -> None:
    task = Task(kind="checkpoint", source=str(tmp_path), data=str(small_flair2), out=str(tmp_path))
    (tmp_path / "task.json").write_text(json.dumps(plain(task)))
    protocol_worker.main(str(tmp_path / "task.json"))
    found = json.loads((tmp_path / "outcome.json").read_text())
    assert found["error_kind"] == "CheckpointError"
    assert "has no checkpoint.json" in found["error"]


def test_an_error_of_a_contender_is_one_line_with_its_name(
    segx: Run, small_flair2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = Outcome(error="it broke; expected none; mend it", error_kind="CheckpointError")

    def run_child(command: list[str], *, folder: Path, **_: Any) -> Any:
        (folder / "outcome.json").write_text(json.dumps(plain(outcome)))
        return Ended()

    monkeypatch.setattr(protocol_flair2, "run_child", run_child)
    result = segx("bench", "--protocol", "flair2", "--data", small_flair2, "--patches", 1)
    assert result.code == 1
    assert result.complaints == ["segx: u-t-and-t: it broke; expected none; mend it"]
    with pytest.raises(CheckpointError):
        compete((), Rules(data=small_flair2, patches=1), Task())


def test_a_process_that_dies_is_one_line(
    segx: Run, small_flair2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Ended(reason="ended with signal 9: no message", signal=9)
    monkeypatch.setattr(protocol_flair2, "run_child", lambda *_, **__: ended)
    result = segx("bench", "--protocol", "flair2", "--data", small_flair2, "--patches", 1)
    assert result.code == 1
    assert result.complaints == [
        "segx: u-t-and-t ended with signal 9: no message; expected a prediction of every patch; "
        "run it alone with --models, or leave it out"
    ]


def test_data_of_another_layout_is_one_line(segx: Run, tiny_scene: Path) -> None:
    result = segx("bench", "--protocol", "flair2", "--data", tiny_scene)
    assert result.code == 1
    assert "holds no IMG_*.tif; expected a FLAIR #2 tree" in result.complaints[0]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--patches", 3), "--patches: says nothing without --protocol"),
        (("--protocol", "flair2"), "--data: name a FLAIR #2 tree"),
        (("--protocol", "flair2", "--data", ".", "a.segx"), "BUNDLE: says nothing to --protocol"),
        (("--protocol", "flair2", "--data", ".", "--batch", 2), "--batch: says nothing"),
        (("--protocol", "flair2", "--data", ".", "--patches", 0), "--patches"),
    ],
    ids=str,
)
def test_wrong_use_exits_2(segx: Run, arguments: tuple[Any, ...], found: str) -> None:
    result = segx("bench", *arguments)
    assert result.code == 2
    assert found in result.err
