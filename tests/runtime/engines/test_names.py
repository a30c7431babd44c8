import ast
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from fake_tensorrt import surface_versions

from runtime.engines.api import Abilities

ROOT = Path(__file__).parents[3]


def names(version: str) -> set[str]:
    """Every public name of a version, without the class that it belongs to."""
    (file,) = (ROOT / "tests/fakes/surfaces").glob(f"*-{version}.json")
    surface = json.loads(file.read_text(encoding="utf-8"))
    found = set(surface["classes"]) | set(surface["functions"])
    found |= {name.rpartition(".")[2] for name in (*surface["constants"], *surface["enums"])}
    for members in (*surface["classes"].values(), *surface["enums"].values()):
        found |= set(members)
    return found


REMOVED = names("10.3.0") - names("11.4.0.106")
OURS = {"precision"}
"""Removed names that are words of ours, too. What touches them on an object of TensorRT's shows in
the fake module's `missing`."""
EVERY = [names(version) for version in surface_versions()]
SOMEWHERE = EVERY[0].union(*EVERY) - EVERY[0].intersection(*EVERY)
WORDS = {"write"}
"""Names of some versions that are methods of Python's own types, too."""


def touched(source: str) -> Iterator[tuple[str, int]]:
    """Attributes, also as text for getattr and its like, and the names of imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in ACCESSORS:
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield from ((name, node.lineno) for name in argument.value.split("."))


ACCESSORS = {"getattr", "setattr", "delattr", "hasattr", "attrgetter", "methodcaller"}


def called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def offences(folder: str, banned: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.relative_to(ROOT) != Path("runtime/engines/api.py")
        for name, line in touched(path.read_text(encoding="utf-8"))
        if name in banned
    ]


def test_the_names_that_tensorrt_11_removed_are_known() -> None:
    assert {
        "FP16",
        "EXPLICIT_BATCH",
        "OBEY_PRECISION_CONSTRAINTS",
        "IInt8EntropyCalibrator2",
        "IAlgorithmSelector",
        "int8_calibrator",
        "set_calibration_profile",
        "device_memory_size",
        "platform_has_fast_fp16",
        "set_dynamic_range",
    } <= REMOVED


@pytest.mark.parametrize("folder", ["runtime", "exporter", "segx", "calibration", "trainkit"])
def test_no_name_that_tensorrt_11_removed_is_touched(folder: str) -> None:
    assert offences(folder, REMOVED - OURS) == []


@pytest.mark.parametrize("folder", ["runtime/engines", "runtime/gpu"])
def test_names_that_not_every_tensorrt_has_are_touched_in_one_module_only(folder: str) -> None:
    own = {field.name for field in fields(Abilities)}
    assert offences(folder, SOMEWHERE - OURS - WORDS - own) == []


@pytest.mark.parametrize(
    "source",
    [
        "config.set_flag(trt.BuilderFlag.FP16)",
        "engine.device_memory_size",
        "getattr(config, 'int8_calibrator', None)",
        "hasattr(trt, 'IInt8EntropyCalibrator2')",
        "operator.attrgetter('BuilderFlag.FP16')(trt)",
        "from tensorrt import IAlgorithmSelector",
        "class Own(trt.IInt8MinMaxCalibrator): pass",
        "config.int8_calibrator = None",
    ],
)
def test_every_way_to_touch_a_removed_name_is_seen(source: str) -> None:
    assert {name for name, _ in touched(source)} & REMOVED
