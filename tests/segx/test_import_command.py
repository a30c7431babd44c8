"""`segx import`: what a source is, what is settled on, and how the result is shown."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import exporter.importing
import trainkit.importing
from exporter.accuracy import EvalData, Verdict
from exporter.export import Exported
from exporter.graph import GraphReport
from exporter.importing import Declaration, Imported
from exporter.importing import ImportOptions as OnnxOptions
from exporter.parity import TOLERANCES, Ledger, Row, Stage, agree
from runtime.bundle import open_bundle
from runtime.errors import CheckpointError
from trainkit.importing import ImportOptions, ImportReport

Run = Callable[..., Any]

DECLARATION = """
[aerial]
bands = ["red", "green", "blue"]
resolution_m = 0.2
tile_size = 128

[output]
kind = "logits"

[[classes]]
name = "other"
color = "#000000"

[[classes]]
name = "building"
color = "#ff0000"
"""


@pytest.fixture
def unet(tmp_path: Path) -> Path:
    """A graph with its declaration beside it."""
    weights = np.random.default_rng(0).normal(0, 0.02, (1, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w"], ["out"], pads=[1, 1, 1, 1])],
        "unet",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ("N", 3, "H", "W"))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ("N", 1, "H", "W"))],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "unet.onnx")
    (tmp_path / "unet.toml").write_text(DECLARATION)
    return tmp_path / "unet.onnx"


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path) -> list[Any]:
    """Calls of the import of an ONNX file, which gives a bundle that is ready."""
    calls: list[Any] = []

    def fake(
        source: Path,
        declaration: Declaration,
        out: Path,
        options: OnnxOptions,
        *,
        data: EvalData | None,
        watch: Any,
    ) -> Imported:
        calls.append((source, declaration, out, options, data))
        watch.on_step(1, 1, "aerial.onnx written")
        return Imported(exported=exported(tiny_bundle, missed=len(calls) > 1), notes=("a note",))

    monkeypatch.setattr(exporter.importing, "import_onnx", fake)
    return calls


def exported(path: Path, *, missed: bool) -> Exported:
    bundle = open_bundle(path)
    graphs = tuple(
        GraphReport(spec=part, nodes=7, size_mib=0.5, found_precision="fp32", note="simplified")
        for part in bundle.manifest.parts
    )
    ones = {"aerial_logits": np.ones((1, 2, 3, 3))}
    row = Row(part="aerial", sample="a", agreement=agree(ones, ones), misses=())
    stage = Stage(
        reference="original ONNX",
        candidate="ONNX Runtime",
        tolerance=TOLERANCES["fp32"],
        rows=(row,),
    )
    return Exported(
        bundle=bundle,
        graphs=graphs,
        ledger=Ledger(source="random", samples=("a",), stages=(stage,)),
        verdict=Verdict(verified=not missed, missed=missed, text="the verdict"),
    )


def test_an_onnx_file_is_shown_and_the_last_line_names_the_bundle(
    segx: Run, transcript: Run, unet: Path, imported: list[Any], tmp_path: Path
) -> None:
    result = segx("import", "unet.onnx", "--json", "found.json")
    assert (result.code, result.complaints) == (0, [])
    transcript("import", result.out)
    source, declaration, out, options, data = imported[0]
    assert (source, declaration.name) == (Path("unet.onnx"), "unet")
    assert (out, data) == (Path("bundles/unet-fp32.segx"), None)
    assert options.weights_licence == OnnxOptions(segx_version="").weights_licence
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["verified"], found["notes"]) == (True, ["a note"])


def test_what_is_named_is_taken_and_a_missed_budget_is_code_3(
    segx: Run, unet: Path, imported: list[Any]
) -> None:
    moved = unet.with_name("other.toml")
    unet.with_suffix(".toml").rename(moved)
    arguments = ("import", unet, "--as", moved, "--out", "x.segx", "--licence", "MIT")
    assert segx(*arguments).code == 0
    assert segx(*arguments).code == 3
    assert imported[0][2] == Path("x.segx")
    assert imported[0][3].weights_licence == "MIT"


def test_an_onnx_file_becomes_a_bundle(segx: Run, unet: Path) -> None:
    result = segx("import", unet, "--out", "unet.segx")
    assert (result.code, result.complaints) == (0, [])
    assert result.out.splitlines()[-1] == (
        "wrote unet.segx; next: segx infer INPUT --bundle unet.segx"
    )
    assert "verified: no (no data to measure on)" in result.out
    shown = segx("inspect", unet.with_suffix(".segx"))
    assert "model: unet (27 parameters, imported, training not known)" in shown.out


def test_a_damaged_file_is_one_line_and_leaves_nothing(
    segx: Run, unet: Path, tmp_path: Path
) -> None:
    unet.write_bytes(unet.read_bytes()[:100])
    result = segx("import", unet, "--json", "found.json")
    assert (result.code, len(result.complaints)) == (1, 1)
    assert "cannot be read as ONNX" in result.err
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"unet.onnx", "unet.toml"}


def test_a_missing_declaration_is_named(segx: Run, unet: Path) -> None:
    unet.with_suffix(".toml").unlink()
    result = segx("import", unet)
    assert (result.code, len(result.complaints)) == (1, 1)
    assert "unet.toml; expected a TOML file that declares the inputs" in result.err


@pytest.mark.parametrize(
    ("source", "option"),
    [
        ("unet.onnx", ("--classes", "flair13")),
        ("unet.onnx", ("--ignore-unexpected",)),
        ("unet.pth", ("--eval", "data")),
        ("unet.pth", ("--eval-patches", "3")),
        ("unet.pth", ("--licence", "MIT")),
        ("unet.pth", ("--satellite-offset", "0")),
    ],
)
def test_options_that_would_change_nothing_are_wrong_usage(
    source: str, option: tuple[str, ...], segx: Run
) -> None:
    result = segx("import", source, "--as", "x", *option)
    assert result.code == 2
    assert "leave it" in result.err


REPORT = ImportReport(
    source="unet.pth",
    target="unet-resnet34",
    factory="",
    checkpoint="runs/unet",
    layout="the model's own names",
    wrapper="state_dict",
    prefix="model.",
    matched=300,
    left_random=("head.a", "head.b", "head.c", "head.d"),
    not_read=(),
    passed_over=("loss.weight",),
    classes=("water", "other"),
    chosen={"classes": "2, given"},
    parameters=1000,
)


def test_weights_become_a_checkpoint(
    segx: Run, transcript: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[Path, str, Path, ImportOptions]] = []

    def fake(source: Path, target: str, out: Path, options: ImportOptions) -> ImportReport:
        calls.append((source, target, out, options))
        return replace(REPORT, factory=target if ":" in target else "")

    monkeypatch.setattr(trainkit.importing, "import_weights", fake)
    arguments = ("--as", "unet-resnet34", "--out", "runs/unet", "--json", "found.json")
    result = segx("import", "unet.pth", *arguments, "--classes", "mine.toml")
    assert (result.code, result.complaints) == (0, [])
    transcript("import-weights", result.out)
    source, target, out, options = calls[0]
    assert (source, target, out) == (Path("unet.pth"), "unet-resnet34", Path("runs/unet"))
    assert (options.classes, options.ignore_unexpected) == ("mine.toml", False)
    assert json.loads((tmp_path / "found.json").read_text())["prefix"] == "model."
    last = segx("import", "unet.pth", "--as", "mine:build").out.splitlines()[-1]
    assert last.endswith("-mine-build --factory mine:build")
    assert calls[1][2].parent == Path("runs")
    assert calls[1][2].name.endswith("-mine-build")


def test_an_error_of_the_weights_is_one_line(segx: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(*_: object) -> ImportReport:
        raise CheckpointError("unet.pth holds code")

    monkeypatch.setattr(trainkit.importing, "import_weights", fake)
    result = segx("import", "unet.pth", "--as", "unet-resnet34", "--json", "found.json")
    assert (result.code, result.complaints) == (1, ["segx: unet.pth holds code"])
    assert not Path("found.json").exists()


def test_weights_of_nothing_are_refused(segx: Run) -> None:
    result = segx("import", "unet.pth")
    assert (result.code, len(result.complaints)) == (1, 1)
    assert "give --as PRESET or --as module:factory" in result.err


def test_the_accuracy_of_an_imported_bundle_is_beside_that_of_the_original(
    segx: Run, write_bundle: Run, tmp_path: Path
) -> None:
    accuracy = {
        "dataset": "flair2",
        "split": "val",
        "patches": 16,
        "miou": 0.5,
        "accuracy": 0.75,
        "scored_classes": 1,
        "iou": {},
        "reference_miou": 0.51,
    }
    made = write_bundle(tmp_path / "b.segx", satellite=False, accuracy=accuracy)
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["model"]["imported"] = True
    (made / "manifest.json").write_text(json.dumps(manifest))
    assert "(val); original 51.00 %" in segx("inspect", made).out
