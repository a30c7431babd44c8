import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.backend_findings import BackendFinding
from runtime.doctor import Findings
from runtime.nvidia import Nvidia
from runtime.traps import Trap
from segx.extras import KEY_MODULES

Run = Callable[..., Any]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with one backend, one extra and one trap."""
    findings = Findings(
        machine={"system": "Linux", "processor threads": "2"},
        backends=(
            BackendFinding(name="openvino", usable=True, version="1.2", note="the default"),
            BackendFinding(name="onnxruntime", usable=False, version=None, note="not installed"),
        ),
        writes={"segx infer": "maps/"},
        nvidia=Nvidia(gpus=(), driver=None, cuda=None, problem="no NVIDIA driver"),
        jetson=None,
        traps=(Trap(found="Orin without TensorRT", remedy="install it with JetPack"),),
    )
    monkeypatch.setattr("runtime.doctor.examine", lambda: findings)
    monkeypatch.setattr("segx.extras.is_installed", lambda extra: extra == "ort")


@pytest.mark.usefixtures("machine")
def test_the_machine_is_shown(segx: Run, transcript: Run, tmp_path: Path) -> None:
    result = segx("doctor", "--json", "d.json")
    assert (result.code, result.err) == (0, "")
    transcript("doctor", result.out)
    found = json.loads((tmp_path / "d.json").read_text())
    assert found["findings"]["backends"][1]["usable"] is False
    others = set(KEY_MODULES) - {"ort"}
    assert found["extras"] == {"ort": True, **dict.fromkeys(others, False)}


def test_this_machine_can_be_looked_at(segx: Run) -> None:
    result = segx("doctor")
    assert result.code == 0
    assert result.complaints == []
    assert result.out.splitlines()[-1] == "next: segx demo"
    for name in ("tensorrt-rtx", "openvino", "onnxruntime", "GDAL", "segx infer", "GPU"):
        assert name in result.out
