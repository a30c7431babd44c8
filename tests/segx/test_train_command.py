import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("torch")

from segx.cli import app
from segx.sample import write_flair2

TINY = """
name = "tiny"
[[aerial]]
encoder = "resnet18"
encoder_widths = [16, 24, 32, 48]
encoder_depths = [1, 1, 1, 1]
decoder_width = 32
[satellite]
encoder_widths = [16, 16, 32, 32]
decoder_widths = [16, 16, 32, 32]
n_head = 4
d_model = 32
temporal_norm = "masked"
[training.aerial]
batch = 2
crop_px = 256
epochs = 0
steps = 4
checks = 2
patience = 0
loss_stride = 4
[training.satellite]
batch = 2
epochs = 0
steps = 4
checks = 2
patience = 0
loss_stride = 4
"""


@pytest.fixture
def flair2(small_flair2: Path) -> Path:
    return small_flair2


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    return file


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_a_run_shows_data_losses_and_scores_and_ends_with_the_next_command(
    flair2: Path, config: Path, tmp_path: Path
) -> None:
    run, scores = tmp_path / "run", tmp_path / "scores.json"
    result = call(flair2, "--config", config, "--steps", 1, "--out", run, "--json", scores)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    shown = [
        r"config: tiny",
        rf"run: {run}",
        rf"data: {flair2} \(patches: 4 train, 4 val; 2 areas\)",
        r"set aside: 1 of the train patches, .*",
        r"Sentinel-2: \d+ dates used, 2021-\d\d-\d\d to 2021-\d\d-\d\d",
        r"classes of 3 train patches",
        r"aerial: loss \d\.\d{3} at step 1 of 1, \d+ s after start",
        r"aerial: 1 steps, weights of step 1 kept, 32-true, \d+ s after start",
        r"satellite: loss \d\.\d{3} at step 1 of 1, \d+ s after start",
        r"satellite: 1 steps, .*",
        r"fusion weights: [01]\.\d\d, [01]\.\d\d \(chosen .*; 21 tried\)",
        r"IoU % on 4 val patches",
        r"class +share % +aerial-only +satellite-only +fused",
        r"mIoU of \d+ classes .*",
        r"pixel accuracy .*",
    ]
    places = [
        next((i for i, line in enumerate(lines) if re.fullmatch(pattern, line)), pattern)
        for pattern in shown
    ]
    assert all(isinstance(place, int) for place in places), places
    assert places == sorted(places)
    assert lines[-1] == f"wrote {run}; next: segx export {run}"
    content = json.loads(scores.read_text())
    assert set(content["results"]["scores"]) == {"aerial", "satellite", "fused"}


def test_the_config_s_weights_are_shown_as_given(
    flair2: Path, config: Path, tmp_path: Path
) -> None:
    config.write_text(TINY + "[fusion]\nweights = [0.7, 0.3]\n")
    result = call(flair2, "--config", config, "--steps", 0, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "aerial: 0 steps, random weights" in result.stdout
    assert "fusion weights: 0.70, 0.30 (given)" in result.stdout


def test_without_data_a_sample_is_made_once_and_used_again(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(out: Path, *, seed: int, on_area: Any) -> Path:
        return write_flair2(out, seed=seed, areas=2, patches_per_side=2, on_area=on_area)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("segx.sample.write_flair2", small)
    first = call("--config", config, "--steps", 0)
    assert first.exit_code == 0, first.output
    assert "none given: making synthetic data" in first.stdout
    assert (tmp_path / "segx-sample" / "flair2" / "splits.json").is_file()
    second = call("--config", config, "--steps", 0, "--out", "other")
    assert second.exit_code == 0, second.output
    assert "none given: synthetic data made before" in second.stdout
    (run,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-tiny", run.name)
    assert json.loads((run / "checkpoint.json").read_text())["toy"]


def test_ctrl_c_says_how_to_go_on_and_going_on_finishes(
    flair2: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainkit import fit

    def interrupt(self: Any, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 3:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(fit._Progress, "on_train_batch_end", interrupt)
        before = signal.getsignal(signal.SIGINT)
        stopped = call(flair2, "--config", config, "--out", run)
        assert signal.getsignal(signal.SIGINT) is before
    assert stopped.exit_code != 0
    assert stopped.stdout.splitlines()[-1] == f"stopped; go on with: segx train --resume {run}"
    assert not (run / "checkpoint.json").exists()
    resumed = call("--resume", run)
    assert resumed.exit_code == 0, resumed.output
    assert "aerial: loss " in resumed.stdout
    assert "at step 3 of 4" in resumed.stdout
    steps = json.loads((run / "checkpoint.json").read_text())["steps"]
    assert steps == {"aerial": 4, "satellite": 4}


@pytest.mark.parametrize(
    "arguments",
    [
        ["data"],
        ["--steps", "3"],
        ["--seed", "1"],
        ["--out", "x"],
        ["--config", "y"],
        ["--init", "z"],
    ],
)
def test_what_a_run_was_started_with_cannot_be_changed(arguments: list[str]) -> None:
    result = call("--resume", "run", *arguments)
    assert result.exit_code == 2
    assert "cannot be changed by --resume" in result.output


def test_a_run_begins_with_another_run_s_weights(
    flair2: Path, config: Path, tmp_path: Path
) -> None:
    config.write_text(TINY.partition("[satellite]")[0] + "[training.aerial]\ncrop_px = 256\n")
    first, second = tmp_path / "first", tmp_path / "second"
    assert call(flair2, "--config", config, "--steps", 0, "--out", first).exit_code == 0
    call(flair2, "--config", config, "--steps", 1, "--init", first, "--out", second)
    result = call(flair2, "--config", config, "--init", second, "--steps", 0, "--out", "never")
    assert result.exit_code == 2
    assert "--init and --steps 0" in result.output
    begun = json.loads((second / "checkpoint.json").read_text())["provenance"]["init"]
    assert begun["checkpoint"] == str(first.resolve())


def test_a_killed_process_is_resumed_to_the_same_number_of_steps(
    flair2: Path, config: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    aerial, satellite = TINY.split("[training.satellite]")
    longer = satellite.replace("steps = 4\nchecks = 2", "steps = 16\nchecks = 8")
    config.write_text(f"{aerial}[training.satellite]{longer}")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "segx", "train"]
    start = [*command, str(flair2), "--config", str(config), "--out", str(run)]
    process = subprocess.Popen(
        start, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    state = run / "branches" / "satellite" / "last.ckpt"
    deadline = time.monotonic() + 300
    while not state.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (run / "checkpoint.json").exists()
    done = call("--resume", run)
    assert done.exit_code == 0, done.output
    steps = json.loads((run / "checkpoint.json").read_text())["steps"]
    assert steps == {"aerial": 4, "satellite": 16}
    assert "aerial: loss" not in done.stdout
    assert not re.search(r"satellite: loss \S+ at step 1 of", done.stdout)
