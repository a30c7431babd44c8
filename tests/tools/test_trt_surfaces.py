"""The surfaces that the fake TensorRT is made from are those of the published bindings."""

import hashlib
import importlib.util
import json
import re
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "trt_surfaces.py"
FILES = {
    "tensorrt": ("10.3.0", "10.16.1.11", "11.4.0.106"),
    "tensorrt_rtx": ("1.7.1.116",),
}
OLD = ("10.3.0", "10.16.1.11")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trt_surfaces", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def surface(library: str, version: str) -> dict[str, Any]:
    path = ROOT / "tests" / "fakes" / "surfaces" / f"{library}-{version}.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


ALL = [(library, version) for library, versions in FILES.items() for version in versions]


def test_there_is_a_surface_of_each_wheel_and_no_other(tool: ModuleType) -> None:
    names = {f"{w.library}-{w.version}.json" for w in tool.WHEELS}
    assert {path.name for path in tool.TARGET.iterdir()} == names
    for wheel in tool.WHEELS:
        found = surface(wheel.library, wheel.version)
        assert found["sha256"] == wheel.sha256
        assert re.fullmatch(wheel.pattern.replace("*", r"[\w.-]+"), found["wheel"])


@pytest.mark.parametrize(("library", "version"), ALL)
def test_a_surface_says_what_it_is_and_holds_the_core_classes(library: str, version: str) -> None:
    found = surface(library, version)
    assert (found["module"], found["version"]) == (library, version)
    assert {"Builder", "Runtime", "ICudaEngine", "IExecutionContext"} <= set(found["classes"])
    assert "execute_async_v3" in found["classes"]["IExecutionContext"]
    assert found["enums"]["DataType"]["FLOAT"] == 0
    assert found["constants"]["float32"] == "DataType.FLOAT"
    assert found["bases"]["Logger"] == "ILogger"
    assert "STRONGLY_TYPED" in found["enums"]["NetworkDefinitionCreationFlag"]


@pytest.mark.parametrize("version", FILES["tensorrt"])
def test_what_tensorrt_11_removed_is_in_the_older_surfaces_only(version: str) -> None:
    found, old = surface("tensorrt", version), version in OLD
    assert ("IInt8EntropyCalibrator2" in found["classes"]) is old
    assert ("FP16" in found["enums"]["BuilderFlag"]) is old
    assert ("EXPLICIT_BATCH" in found["enums"]["NetworkDefinitionCreationFlag"]) is old
    assert ("device_memory_size" in found["classes"]["ICudaEngine"]) is old


def test_only_tensorrt_rtx_builds_for_devices_that_are_not_there() -> None:
    assert [v for lib, v in ALL if "ComputeCapability" in surface(lib, v)["enums"]] == ["1.7.1.116"]
    capabilities = surface("tensorrt_rtx", "1.7.1.116")["enums"]["ComputeCapability"]
    assert {"SM86", "SM89", "SM120"} <= set(capabilities)


def test_the_installed_tensorrt_rtx_has_exactly_the_names_of_its_surface(tool: ModuleType) -> None:
    installed = pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    if installed.__version__ not in FILES["tensorrt_rtx"]:
        pytest.skip(f"tensorrt_rtx {installed.__version__} is installed; no surface of that")
    found = surface("tensorrt_rtx", installed.__version__)
    described = json.loads(json.dumps(tool.describe("tensorrt_rtx")))
    assert described == {key: found[key] for key in described}


def test_the_text_of_a_surface_is_read_back_as_it_was(tool: ModuleType) -> None:
    content = {"module": "m", "classes": {"B": ["b"], "A": []}, "enums": {}, "functions": ["f"]}
    text = tool.to_text(content)
    assert json.loads(text) == content
    assert text.index('"A"') < text.index('"B"')
    files = [path.read_text(encoding="utf-8") for path in tool.TARGET.iterdir()]
    assert all(tool.to_text(json.loads(file)) == file for file in files)


def test_a_wheel_with_another_hash_is_refused(tool: ModuleType, tmp_path: Path) -> None:
    wheel = tool.WHEELS[0]
    file = tmp_path / wheel.pattern.replace("*", "cp311-none-any")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x", "y")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(SystemExit, match=f"has sha256 {found}; expected {wheel.sha256}; fetch"):
        tool.read_wheel(wheel, tmp_path, tmp_path / "scratch")
