"""`segx export` of a finished bundle: engines of it, or its parts merged; the builder is a fake."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from fake_engines import FakeBuild
from fake_tensorrt import install_tensorrt, make_tensorrt
from typer.testing import CliRunner, Result

import exporter.engines
import exporter.merge
import segx.commands.export
import segx.export_steps
from exporter.accuracy import Verdict
from exporter.merge import Merged
from exporter.parity import Ledger
from runtime.bundle import open_bundle
from runtime.engines.source import EngineSource
from runtime.errors import BackendError, EngineError
from segx.cli import app

Write = Callable[..., Path]

AHEAD = ("--engine", "tensorrt-rtx", "--compute-capability", "8.6, 12.0")


@pytest.fixture(autouse=True)
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBuild:
    """TensorRT-RTX alone is installed, there is no GPU, and engines are a few bytes."""
    build = FakeBuild()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    install_tensorrt(monkeypatch, make_tensorrt("1.7.1.116"))
    monkeypatch.setattr(exporter.engines, "has_nvidia_driver", lambda: False)
    monkeypatch.setattr(exporter.engines, "EngineSource", partial(EngineSource, build=build))
    monkeypatch.setenv("SEGX_CACHE", str(tmp_path / "cache"))
    return build


@pytest.fixture
def bundle(write_bundle: Write, tmp_path: Path) -> Callable[..., Path]:
    """Function that writes a bundle as an export leaves it: `bundle("name", precision=...)`."""

    def write(name: str = "tiny", **changes: object) -> Path:
        path = write_bundle(tmp_path / f"{name}.segx", **changes)
        ledger = {"source": "random", "samples": [], "stages": []}
        (path / "parity.json").write_text(json.dumps(ledger))
        return path

    return write


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_engines_of_a_finished_bundle_are_built_and_shown(
    bundle: Callable[..., Path],
    builder: FakeBuild,
    tmp_path: Path,
    transcript: Callable[[str, str], None],
) -> None:
    path = bundle(precision="fp16")
    before = open_bundle(path).sha256
    result = invoke(path, "--precision", "fp16", *AHEAD, "--json", tmp_path / "found.json")
    assert result.exit_code == 0, result.output
    transcript("export-engines", result.stdout)
    assert len(builder.requests) == 8
    assert open_bundle(path).sha256 == before
    assert not (tmp_path / "bundles").exists()
    found = json.loads((tmp_path / "found.json").read_text())
    items = found["engines"]["items"]
    assert [item["record"]["target"]["compute_capability"] for item in items] == (
        ["8.6"] * 4 + ["12.0"] * 4
    )
    assert found["engines"]["seconds"] == 8 * 2.5
    assert found["verdict"] == "made for tests"


def test_engines_that_are_there_are_found_unless_they_are_to_be_built_otherwise(
    bundle: Callable[..., Path], builder: FakeBuild
) -> None:
    path = bundle()
    invoke(path, *AHEAD)
    again = invoke(path, *AHEAD)
    assert "found" in again.stdout
    assert len(builder.requests) == 8
    for option in (("--workspace", 512), ("--optimization-level", 0)):
        invoke(path, *AHEAD, *option)
    options = [request.options for request in builder.requests[8:]]
    assert [item.workspace_mib for item in options] == [512] * 8 + [4096] * 8
    assert [item.optimization_level for item in options] == [None] * 8 + [0] * 8


def test_engines_to_carry_go_to_a_folder_which_the_next_command_names(
    bundle: Callable[..., Path], tmp_path: Path
) -> None:
    path = bundle()
    result = invoke(path, *AHEAD, "--engines", "carry")
    assert len(list((tmp_path / "carry").glob("*.engine"))) == 8
    assert result.stdout.splitlines()[-1] == (
        f"next: segx infer INPUT --bundle {path} --engines carry --trust-engines"
    )


def test_without_a_gpu_nothing_is_built_and_the_command_says_so(
    bundle: Callable[..., Path], builder: FakeBuild
) -> None:
    result = invoke(bundle(precision="int8"))
    assert result.exit_code == 0, result.output
    assert "precision: int8 (the bundle is taken as it is)" in result.stdout
    assert "engines: none (no NVIDIA driver is here; the device builds them" in result.stdout
    assert builder.requests == []


def test_a_device_without_pytorch_builds_engines(
    bundle: Callable[..., Path], builder: FakeBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(extra: str, purpose: str) -> None:
        raise BackendError(f"{extra} is missing")

    monkeypatch.setattr(segx.commands.export, "require", missing)
    monkeypatch.setattr(segx.export_steps, "require", missing)
    assert invoke(bundle(), *AHEAD).exit_code == 0
    assert len(builder.requests) == 8
    assert "export is missing" in str(invoke().exception)
    assert "export is missing" in str(invoke(bundle("other"), "--merge-parts").exception)


def test_a_converted_bundle_gets_no_other_precision(bundle: Callable[..., Path]) -> None:
    path = bundle(precision="fp16")
    assert "expected a checkpoint folder for --precision fp32" in str(
        invoke(path, "--precision", "fp32").exception
    )
    found = invoke(path, "--precision", "int8", "--calibration", "somewhere").exception
    assert "is a bundle in fp16; expected one in fp32 to convert" in str(found)


@pytest.mark.parametrize(
    "options",
    [
        ("--seed", 1),
        ("--eval", "data"),
        ("--out", "x.segx"),
        ("--licence", "mine"),
        ("--merge-parts", "--plan", "aerial=fp16"),
    ],
)
def test_what_a_bundle_that_is_taken_as_it_is_has_no_use_for_is_wrong_usage(
    bundle: Callable[..., Path], options: tuple[object, ...]
) -> None:
    result = invoke(bundle(), *options)
    assert result.exit_code == 2
    option = next(
        word for word in options if str(word).startswith("--") and word != "--merge-parts"
    )
    assert f"{option} says nothing to a bundle that is taken as it is" in result.output


def test_no_engines_leave_no_use_for_their_options_and_of_a_finished_bundle_nothing_to_do(
    bundle: Callable[..., Path],
) -> None:
    path = bundle()
    for option in (("--engines", "x"), ("--workspace", 512), ("--optimization-level", 1)):
        result = invoke(path, "--engine", "none", *option)
        assert result.exit_code == 2
        assert f"{option[0]} says nothing to --engine none" in result.output
    result = invoke(path, "--engine", "none")
    assert result.exit_code == 2
    assert "--engine none builds nothing of it" in result.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "tensorrt"), "no NVIDIA driver is here; expected one"),
        (("--engine", "tensorrt-rtx"), "no NVIDIA driver is here; expected one"),
        (("--engine", "tensorrt-rtx", "--compute-capability", "8.7"), "8.7 is none that tensorrt"),
        (("--compute-capability", "8.6"), "expected them for tensorrt-rtx"),
    ],
)
def test_engines_that_cannot_be_built_are_refused_before_any_work(
    bundle: Callable[..., Path], tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    result = invoke(bundle(), "--merge-parts", "--out", "one.segx", *options)
    assert words in str(result.exception)
    assert not (tmp_path / "one.segx").exists()


def test_a_build_that_fails_leaves_the_bundle(
    bundle: Callable[..., Path], builder: FakeBuild, tmp_path: Path
) -> None:
    builder.error = EngineError("the builder's words")
    result = invoke(bundle(), "--merge-parts", "--out", "one.segx", *AHEAD)
    assert "the builder's words" in str(result.exception)
    assert "one.segx is complete; engines are built of it now" in result.stdout
    assert open_bundle(tmp_path / "one.segx").manifest.name == "one"


def test_parts_are_merged_into_a_bundle_of_its_own(bundle: Callable[..., Path]) -> None:
    result = invoke(bundle(), "--merge-parts")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].startswith("wrote bundles/tiny-merged.segx; next:")
    assert "merged from aerial, satellite, fusion_probabilities" in result.stdout
    manifest = open_bundle(Path("bundles/tiny-merged.segx")).manifest
    assert [part.name for part in manifest.parts] == ["merged", "merged_probabilities"]


def test_a_model_of_one_input_is_also_written_for_deepness(
    bundle: Callable[..., Path], tmp_path: Path
) -> None:
    result = invoke(bundle(satellite=False), "--engine", "none", "--deepness", "one.onnx")
    assert result.exit_code == 0, result.output
    assert "wrote one.onnx" in result.stdout.splitlines()
    assert result.stdout.splitlines()[-1].startswith("next: segx infer INPUT --bundle")
    assert (tmp_path / "one.onnx").is_file()


def test_a_model_of_two_inputs_is_refused_for_deepness_before_any_work(
    bundle: Callable[..., Path], builder: FakeBuild, tmp_path: Path
) -> None:
    result = invoke(bundle(), "--deepness", "two.onnx", *AHEAD)
    assert "expected a model with one input" in str(result.exception)
    assert builder.requests == []
    assert not (tmp_path / "two.onnx").exists()


def test_only_a_bundle_of_the_precision_that_was_asked_for_is_merged(
    bundle: Callable[..., Path],
) -> None:
    result = invoke(bundle(precision="fp16"), "--merge-parts", "--precision", "int8")
    assert "is a bundle in fp16; expected one in int8" in str(result.exception)


def test_the_exit_code_stays_that_of_the_gate(
    bundle: Callable[..., Path], builder: FakeBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundle()
    missed = Merged(
        bundle=open_bundle(path),
        graphs=(),
        ledger=Ledger(source="random", samples=(), stages=()),
        verdict=Verdict(verified=False, missed=True, text="out of budget"),
    )
    monkeypatch.setattr(exporter.merge, "merge", lambda *args, **kwargs: missed)
    result = invoke(path, "--merge-parts", *AHEAD)
    assert result.exit_code == 3
    assert len(builder.requests) == 8
    assert "verified: no (out of budget)" in result.stdout
