"""Pages of bundles that say all that a page shows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page_case import HOSTILE, IOU, calibration, gate, parity, put_files
from typer.testing import CliRunner

from segx.cli import app

SHORT = ("--warmup", "0", "--repeats", "3", "--threads", "1", "--backend", "onnxruntime")


@pytest.fixture(scope="session")
def told_bundle(write_bundle: Callable[..., Path]) -> Callable[..., Path]:
    """Function that writes a bundle with accuracy, gate, parity and calibration."""

    def write(folder: Path, **changes: Any) -> Path:
        accuracy = {
            "dataset": "flair2",
            "split": "val",
            "patches": 12,
            "miou": 0.55,
            "accuracy": 0.7,
            "scored_classes": 3,
            "iou": IOU,
            "reference_miou": 0.56,
        }
        write_bundle(folder, accuracy=accuracy, **changes)
        told = {"gate.json": gate(), "parity.json": parity(), "calibration.json": calibration()}
        return put_files(folder, told)

    return write


@pytest.fixture(scope="session")
def pages(
    tmp_path_factory: pytest.TempPathFactory, told_bundle: Callable[..., Path], tiny_scene: Path
) -> dict[str, Path]:
    """Pages by command: of a bench of two bundles, of an export, of a run."""
    folder = tmp_path_factory.mktemp("pages")
    made = {name: folder / f"{name}.html" for name in ("bench", "export", "infer")}
    full = told_bundle(folder / "a.segx", name=HOSTILE)
    # The same precision: the small graphs hold no quantisation.
    other = told_bundle(folder / "b.segx", name="a-second-bundle-of-a-long-name-" * 3)
    scores = {"miou": None, "classes": [{"name": HOSTILE}, {"name": "b"}], "extra": 1}
    result = {"scores": scores, "matrix": [[3, 1], [0, 2]], "patches": 4}
    (folder / "eval.json").write_text(json.dumps({"model": "m", "results": {"val": result}}))
    commands = {
        "bench": ("bench", full, other, "--scene", tiny_scene, "--eval", folder / "eval.json"),
        "export": ("export", full, "--engine", "none"),
        "infer": ("infer", tiny_scene, "--bundle", full, "--out", folder / "maps"),
    }
    for name, command in commands.items():
        options = () if name == "export" else SHORT if name == "bench" else SHORT[4:]
        done = CliRunner().invoke(
            app, [str(word) for word in (*command, *options, "--html", made[name])]
        )
        assert done.exit_code == 0, (done.output, done.exception)
    return made
