import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from export_case import converted, exported
from typer.testing import CliRunner, Result

import exporter.convert
import exporter.engines
import exporter.export
import exporter.merge
from exporter.accuracy import EvalData
from exporter.calibrate import CalibrationData
from exporter.convert import Converted
from exporter.export import Exported
from exporter.options import ConvertOptions, ExportOptions
from exporter.trial import GateData
from runtime.bundle import Bundle, open_bundle
from runtime.datasets.flair import CLASSES
from segx.cli import app
from trainkit.aerial_config import UNetFormerConfig
from trainkit.checkpoint import WEIGHTS_NAME, Checkpoint, Origin, save_checkpoint
from trainkit.config import TrainConfig
from trainkit.models import build

CONFIG = TrainConfig(
    name="mini",
    aerial=(
        UNetFormerConfig(
            encoder="resnet18",
            encoder_widths=(16, 24, 32, 48),
            encoder_depths=(1, 1, 1, 1),
            decoder_width=32,
        ),
    ),
)


@dataclass
class Call:
    """What the command asked for."""

    checkpoint: Checkpoint
    out: Path
    options: ExportOptions
    data: EvalData | None


@pytest.fixture
def flair(small_flair2: Path) -> Path:
    return small_flair2


@pytest.fixture(autouse=True)
def _without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter.engines, "has_nvidia_driver", lambda: False)
    monkeypatch.setenv("SEGX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Function that writes a finished run below the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(name: str = "first", *, data: object = None, steps: int = 5) -> Path:
        torch.manual_seed(0)
        origin = Origin(
            segx_version="0.1.0",
            classes=CLASSES,
            steps={"aerial": steps},
            toy=False,
            provenance={"data": data},
            metrics={},
        )
        return save_checkpoint(tmp_path / "runs" / name, build(CONFIG).eval(), origin)

    return write


@pytest.fixture
def calls(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Let the command call this list, which gives back a ready bundle."""
    made: list[Call] = []

    def fake(
        checkpoint: Checkpoint, out: Path, options: ExportOptions, *, data: Any, watch: Any
    ) -> Exported:
        made.append(Call(checkpoint, out, options, data))
        watch.on_step(1, 1, "aerial.onnx written")
        watch.on_patch(1, 1)
        return exported(tiny_bundle)

    monkeypatch.setattr(exporter.export, "export", fake)
    return made


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_the_newest_run_is_exported_under_the_name_of_its_config(
    run: Callable[..., Path], calls: list[Call]
) -> None:
    run("first")
    newest = run("second")
    result = invoke()
    assert result.exit_code == 0, result.output
    assert calls[0].checkpoint.path == newest
    assert calls[0].out == Path("bundles/mini-fp32.segx")
    assert calls[0].data is None
    assert "the newest finished run below this folder" in result.stdout
    assert "data: none" in result.stdout


def test_without_a_run_the_command_says_how_to_make_one(
    run: Callable[..., Path], calls: list[Call]
) -> None:
    result = invoke()
    assert "made by `segx train`" in str(result.exception)
    assert calls == []


def test_the_data_of_the_training_are_measured_on_while_they_are_there(
    run: Callable[..., Path], calls: list[Call], flair: Path
) -> None:
    path = run(data={"path": str(flair), "fingerprint": "other"})
    result = invoke(path)
    assert result.exit_code == 0, result.output
    data = calls[0].data
    assert data is not None
    assert (data.dataset.root, data.split, data.limit) == (flair, "val", 200)
    assert "the data it was trained on, whose files have changed since; 4 of 4" in result.stdout


def test_named_data_and_a_limit_are_taken(
    run: Callable[..., Path], calls: list[Call], flair: Path
) -> None:
    result = invoke(run(), "--eval", flair, "--eval-patches", 3, "--out", "x.segx")
    assert result.exit_code == 0, result.output
    assert calls[0].data is not None
    assert calls[0].data.limit == 3
    assert calls[0].out == Path("x.segx")


def test_the_result_is_shown_as_tables_and_the_last_line_names_the_bundle(
    run: Callable[..., Path],
    calls: list[Call],
    tmp_path: Path,
    transcript: Callable[[str, str], None],
) -> None:
    result = invoke(run(), "--json", tmp_path / "found.json", "--out", "x.segx")
    transcript("export", result.stdout)
    lines = result.stdout.splitlines()
    assert lines[-1] == "wrote x.segx; next: segx infer INPUT --bundle x.segx"
    assert lines[-2] == "verified: yes (the verdict)"
    assert any(line.split()[:3] == ["part", "file", "nodes"] for line in lines)
    assert any("mIoU of 9 classes" in line and "+0.0000" in line for line in lines)
    assert any(line.startswith("parity") for line in lines)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["verdict"] == "made for tests"
    assert found["accuracy"]["miou"] == 0.4
    assert [part["found_precision"] for part in found["parts"]] == ["fp32"] * 4


def test_a_missed_gate_is_exit_3_with_everything_shown(
    run: Callable[..., Path],
    calls: list[Call],
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missed = exported(tiny_bundle, missed=True)
    monkeypatch.setattr(exporter.export, "export", lambda *args, **kwargs: missed)
    result = invoke(run(), "--out", "x.segx")
    assert result.exit_code == 3
    assert result.stdout.splitlines()[-1].startswith("wrote x.segx")
    assert "-1.0000  +-0.05   no" in result.stdout


def test_another_precision_is_wrong_usage(run: Callable[..., Path], calls: list[Call]) -> None:
    assert invoke(run(), "--precision", "best").exit_code == 2
    assert calls == []


@pytest.mark.matrix
def test_a_checkpoint_becomes_a_verified_bundle(run: Callable[..., Path], flair: Path) -> None:
    result = invoke(run(), "--eval", flair)
    assert result.exit_code == 0, result.output
    bundle = open_bundle(Path("bundles/mini-fp32.segx"))
    assert bundle.manifest.verified
    assert bundle.manifest.aerial.tile_size == 512
    assert bundle.manifest.accuracy is not None
    assert bundle.manifest.accuracy.patches == 4


@dataclass
class Conversion:
    """A conversion that the command asked for."""

    source: Bundle
    out: Path
    options: ConvertOptions
    calibration: CalibrationData
    gate: GateData | None


@pytest.fixture
def conversions(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Conversion]:
    """Let the command call this list instead of converting; what it gives back has missed."""
    made: list[Conversion] = []

    def fake(
        source: Bundle, out: Path, options: ConvertOptions, *, watch: Any, **data: Any
    ) -> Converted:
        made.append(Conversion(source, out, options, **data))
        watch.on_step(1, 1, "aerial.onnx in int8")
        return converted(tiny_bundle)

    monkeypatch.setattr(exporter.convert, "convert", fake)
    return made


@pytest.fixture
def exports(write_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let the command write bundles of a few kilobytes where it exports; gives their paths."""
    made: list[Path] = []

    def fake(checkpoint: Checkpoint, out: Path, options: ExportOptions, **_: Any) -> Exported:
        made.append(out)
        origin = {"checkpoint": {"sha256": checkpoint.info.files[WEIGHTS_NAME]}}
        version = options.segx_version
        return exported(write_bundle(out, tile=512, provenance=origin, segx_version=version))

    monkeypatch.setattr(exporter.export, "export", fake)
    return made


def test_int8_writes_the_fp32_bundle_first_and_takes_it_again(
    run: Callable[..., Path], flair: Path, exports: list[Path], conversions: list[Conversion]
) -> None:
    path = run(data={"path": str(flair), "fingerprint": "other"})
    first = invoke(path, "--precision", "int8")
    assert first.exit_code == 3, first.output
    assert "FP32 bundle: bundles/mini-fp32.segx (written first" in first.stdout
    assert conversions[0].source.path == Path("bundles/mini-fp32.segx")
    assert conversions[0].out == Path("bundles/mini-int8.segx")
    assert conversions[0].options.precision == "int8"
    data = conversions[0].calibration
    assert (data.dataset.root, data.split, data.samples) == (flair, "train", 64)
    second = invoke(path, "--precision", "fp16")
    assert "(it is there, and of these weights)" in second.stdout
    assert conversions[1].source.sha256 == conversions[0].source.sha256
    assert exports == [Path("bundles/mini-fp32.segx")]


@pytest.mark.usefixtures("conversions")
def test_a_conversion_is_shown_as_tables_with_the_verdict(
    tiny_bundle: Path, flair: Path, tmp_path: Path
) -> None:
    result = invoke(
        tiny_bundle,
        *("--calibration", flair, "--eval", flair, "--precision", "int8"),
        *("--out", tmp_path / "x.segx", "--json", tmp_path / "j.json"),
    )
    lines = result.stdout.splitlines()
    assert any(line.split()[:2] == ["aerial", "aerial.onnx"] and "75.0" in line for line in lines)
    assert lines[-2] == "verified: no (int8 misses its budgets)"
    assert json.loads((tmp_path / "j.json").read_text())["conversion"]["plan"] == "aerial=int8"


def test_a_bundle_is_converted_with_data_that_must_be_named(
    tiny_bundle: Path, flair: Path, conversions: list[Conversion], tmp_path: Path
) -> None:
    result = invoke(tiny_bundle, "--precision", "fp16", "--out", tmp_path / "x.segx")
    assert "expected paired samples; give --calibration DATA" in str(result.exception)
    assert conversions == []
    found = invoke(
        tiny_bundle,
        *("--precision", "fp16", "--calibration", flair, "--out", tmp_path / "x.segx"),
        *("--calibration-areas", "a, b", "--calibration-samples", 3, "--seed", 7),
        *("--plan", "aerial=fp16", "--calibration-method", "max", "--quantize-transposed"),
        "--full-range-weights",
    )
    assert found.exit_code == 3, found.output
    asked = conversions[0]
    assert (asked.calibration.areas, asked.calibration.samples) == (("a", "b"), 3)
    assert asked.calibration.seed == 7
    assert asked.options.plan == {"aerial": "fp16"}
    assert (asked.options.calibration_method, asked.options.quantize_transposed) == ("max", True)
    assert asked.options.full_range_weights


def test_a_record_names_the_samples_and_the_data_are_those_of_eval(
    tiny_bundle: Path, flair: Path, conversions: list[Conversion], tmp_path: Path
) -> None:
    record = tmp_path / "calibration.json"
    record.write_text("{}")
    asked = ("--precision", "fp16", "--eval", flair, "--calibration-record", record)
    invoke(tiny_bundle, *asked)
    assert conversions[0].calibration.record == record
    assert conversions[0].calibration.dataset.root == flair


def test_what_only_conversions_have_is_wrong_usage_in_fp32(
    run: Callable[..., Path], calls: list[Call]
) -> None:
    for option in (("--plan", "auto"), ("--calibration", "x"), ("--gate-split", "val")):
        result = invoke(run(option[0]), *option)
        assert result.exit_code == 2
        assert "is for --precision fp16 and int8" in result.output
    assert calls == []
