import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROBE = "import json, sys; import {module}; print(json.dumps(list(sys.modules)))"
COMMANDS = sorted(
    f"segx.commands.{file.stem}"
    for file in (ROOT / "segx" / "commands").glob("*.py")
    if file.stem != "__init__"
)
HEAVY = {
    "lightning",
    "onnx",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt_rtx",
    "timm",
    "torch",
    "trainkit",
}
SLOW = HEAVY | {"calibration", "exporter", "numpy", "rasterio", "rich"}
"""What `segx --help` has no time for; the light modules of runtime are fine."""


def loaded_by(module: str) -> set[str]:
    command = [sys.executable, "-c", PROBE.format(module=module)]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    return {name.split(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize("module", ["runtime.pipeline", "calibration", "segx.page.compose"])
def test_lean_modules_load_no_training_and_no_inference_library(module: str) -> None:
    assert loaded_by(module) & HEAVY == set()


def test_the_command_line_loads_nothing_slow() -> None:
    assert loaded_by("segx.cli") & SLOW == set()


@pytest.mark.parametrize("module", COMMANDS)
def test_a_command_loads_nothing_slow(module: str) -> None:
    assert loaded_by(module) & SLOW == set()
