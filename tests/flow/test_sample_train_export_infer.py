"""The whole story on the CPU: imagery, training, bundle, map; each stage by its command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from typer.testing import CliRunner

from runtime.backends import BackendChoice
from runtime.pipeline import infer
from runtime.scene import find_scenes
from runtime.stream.options import InferOptions
from runtime.tally import Tally
from segx.cli import app
from segx.sample import write_scene
from trainkit.checkpoint import load_checkpoint
from trainkit.torch_model import TorchModel

NO_SOCKETS = Path(__file__).parents[1] / "fakes" / "no_sockets"
REFUSED = "no socket is to be opened here"
CONFIG = Path(__file__).parents[2] / "tools" / "toy.toml"


def alone(folder: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    """Run Python in a process of its own, which may open no socket, nor may its children."""
    command = [sys.executable, *map(str, words)]
    env = {**os.environ, "PYTHONPATH": str(NO_SOCKETS)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def segx(folder: Path, *arguments: object) -> str:
    """Run the command as a user does."""
    run = alone(folder, "-m", "segx", *arguments)
    assert run.returncode == 0, run.stderr
    assert REFUSED not in run.stderr, "by a child of its"
    return run.stdout


def here(*arguments: object) -> None:
    """Run the command in this process, in the working directory."""
    done = CliRunner().invoke(app, [str(word) for word in arguments])
    assert done.exit_code == 0, done.output


def classes(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as dataset:
        values: NDArray[np.uint8] = dataset.read(1)
    return values


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, small_flair2: Path) -> Path:
    """Folder with a checkpoint, its bundle and a scene of several tiles."""
    folder = tmp_path_factory.mktemp("flow")
    (folder / "flair2").symlink_to(small_flair2)
    write_scene(folder / "scene", seed=2, shape=(900, 1100))
    segx(folder, "train", "flair2", "--config", CONFIG, "--steps", 2, "--out", "runs/first")
    segx(folder, "export")
    return folder


def test_no_socket_can_be_opened_where_the_story_runs(tmp_path: Path) -> None:
    code = "import contextlib, socket\nwith contextlib.suppress(Exception): {}"
    for attempt in ("socket.create_connection(('127.0.0.1', 9))", "socket.gethostbyname('a.b')"):
        run = alone(tmp_path, "-c", code.format(attempt))
        assert run.returncode != 0
        assert REFUSED in run.stderr


LIBRARIES = """
import openvino_telemetry
from runtime.backends import BackendChoice
from runtime.bundle import open_bundle
from runtime.model import golden_feed, open_model
from segx.bundles import TOY
from trainkit.aerial_changes import _library

bundle = open_bundle(TOY)
for name in ("openvino", "onnxruntime"):
    open_model(bundle, BackendChoice(name=name, reason="")).run(golden_feed(bundle)[0])
_library()
import lightning.pytorch, timm, torch.hub, torch.utils.tensorboard
import modelopt.onnx.quantization, onnxscript, onnxsim
made = [name for name in vars(openvino_telemetry.Telemetry) if name.endswith("single_instance")]
assert made and all(getattr(openvino_telemetry.Telemetry, name) is None for name in made), made
"""


def test_no_library_tells_anybody_that_it_is_used(tmp_path: Path) -> None:
    run = alone(tmp_path, "-c", LIBRARIES)
    assert run.returncode == 0, run.stderr
    assert REFUSED not in run.stderr


def test_the_defaults_lead_from_a_run_to_a_verified_bundle(work: Path) -> None:
    manifest = json.loads((work / "bundles" / "toy-fp32.segx" / "manifest.json").read_text())
    assert manifest["verified"], manifest["verdict"]
    assert manifest["model"]["steps"] == 4
    assert abs(manifest["accuracy"]["miou"] - manifest["accuracy"]["reference_miou"]) <= 5e-4


def test_the_map_is_on_the_aerial_grid_and_the_same_from_every_backend_and_from_torch(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segx(work, "infer", "scene", "--backend", "openvino", "--out", "openvino")
    segx(work, "bench", "--repeats", 1, "--json", "bench.json")
    monkeypatch.chdir(work)
    here("infer", "scene", "--backend", "onnxruntime", "--out", "onnxruntime")
    checkpoint = load_checkpoint(work / "runs" / "first")
    report = infer(
        find_scenes(work / "scene", None, needs_satellite=True),
        checkpoint.card,
        TorchModel(checkpoint.model),
        work / "torch",
        tally=Tally(BackendChoice(name="openvino", reason="")),
        options=InferOptions(),
    )
    assert report.tiles == 9
    maps = [
        classes(work / f / "aerial_landcover.tif") for f in ("openvino", "onnxruntime", "torch")
    ]
    assert np.mean(maps[0] == maps[1]) >= 0.999
    assert np.mean(maps[0] == maps[2]) >= 0.999
    with (
        rasterio.open(work / "scene" / "aerial.tif") as aerial,
        rasterio.open(work / "openvino" / "aerial_landcover.tif") as written,
    ):
        assert (written.shape, written.transform) == (aerial.shape, aerial.transform)
        assert written.crs == aerial.crs
        assert written.colormap(1)[0] == (0xDB, 0x0E, 0x9A, 255)


def test_a_bundle_and_its_checkpoint_score_the_same(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)
    scores = []
    for model in ("runs/first", "bundles/toy-fp32.segx"):
        here("eval", model, "flair2", "--json", "eval.json")
        found = json.loads(Path("eval.json").read_text())["results"]["val"]["scores"]
        scores.append(found["miou"])
    assert abs(scores[0] - scores[1]) <= 5e-4
