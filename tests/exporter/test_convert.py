"""An FP32 bundle becomes one of another precision, with everything that proves it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import exporter.workshop
from calibration.record import load_record
from exporter.calibrate import CalibrationData
from exporter.convert import Converted, convert
from exporter.export import Exported
from exporter.feeds import FeedStore
from exporter.options import ConvertOptions
from exporter.quantize import to_fp16
from exporter.trial import GateData
from exporter.workshop import Workshop
from runtime.backends import choose_backend
from runtime.bundle import Bundle, open_bundle
from runtime.errors import BundleError, CalibrationError, DataError, ParityError
from runtime.model import golden_feed, open_model

pytestmark = pytest.mark.usefixtures("warm_converter")

OPTIONS = ConvertOptions(segx_version="0.1.0", precision="fp16", parity_samples=1)


@pytest.fixture
def source(exported: Exported) -> Bundle:
    return exported.bundle


@pytest.fixture(scope="module")
def calibration(patches: Any) -> CalibrationData:
    return CalibrationData(dataset=patches, samples=4)


@pytest.fixture(scope="module")
def made(
    exported: Exported,
    patches: Any,
    calibration: CalibrationData,
    tmp_path_factory: pytest.TempPathFactory,
) -> Converted:
    """An INT8 bundle; read it, do not change it."""
    out = tmp_path_factory.mktemp("converted") / "duo-int8.segx"
    options = replace(OPTIONS, precision="int8", calibration_method="max")
    gate = GateData(dataset=patches)
    return convert(exported.bundle, out, options, calibration=calibration, gate=gate)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_bundle_holds_the_graphs_and_all_that_proves_them(made: Converted) -> None:
    bundle = open_bundle(made.bundle.path)
    assert files(bundle.path) >= {
        *("aerial.onnx", "satellite.onnx", "fusion.onnx", "fusion_probabilities.onnx"),
        *("manifest.json", "calibration.json", "gate.json", "parity.json", "ranges.json"),
        "golden.npz",
    }
    assert set(bundle.manifest.files) == files(bundle.path) - {"manifest.json"}
    assert bundle.manifest.precision == "int8"
    assert [part.precision for part in bundle.manifest.parts] == ["int8", "fp16", "fp16", "fp16"]


def test_int8_is_mostly_int8_and_smaller(made: Converted, source: Bundle) -> None:
    aerial, satellite = made.parts[:2]
    assert aerial.shares.int8 > 0.9
    assert (satellite.shares.fp16, satellite.shares.int8) == (1.0, 0.0)
    assert made.bundle.size_mib < 0.7 * source.size_mib


def test_a_converted_bundle_maps_almost_as_its_source(
    made: Converted, source: Bundle, patches: Any
) -> None:
    feed, expected = golden_feed(made.bundle)
    choice = choose_backend()
    found = open_model(made.bundle, choice).run(feed)["classes"]
    full = open_model(source, choice).run(feed)["classes"]
    assert np.mean(found == expected["classes"]) > 0.85
    assert np.mean(full == expected["classes"]) > 0.85


def test_the_ledger_goes_from_torch_to_every_backend(made: Converted, source: Bundle) -> None:
    ledger = made.ledger
    assert [stage.reference for stage in ledger.before] == ["PyTorch", "ONNX Runtime"]
    assert [stage.candidate for stage in ledger.stages] == [
        "INT8 emulated (ONNX Runtime)",
        "INT8 graph (ONNX Runtime)",
        "INT8 graph (OpenVINO)",
    ]
    for stage in ledger.stages:
        assert [row.part for row in stage.rows][-1] == "whole"


def test_the_gate_looks_at_patches_that_nothing_was_chosen_on(
    made: Converted, patches: Any
) -> None:
    gate = json.loads((made.bundle.path / "gate.json").read_text())
    assert gate["split"] == "val (spatial third)"
    assert set(gate["ids"]) == {"patch4", "patch5"}
    assert {item["name"] for item in gate["candidates"]} == {"emulation", "openvino"}
    assert made.gate is not None
    assert made.verdict.verified == made.gate.passed
    assert made.bundle.manifest.verified == made.verdict.verified


def test_the_manifest_says_what_was_done_to_which_bundle(made: Converted, source: Bundle) -> None:
    manifest = made.bundle.manifest
    done = manifest.provenance["conversion"]
    assert isinstance(done, dict)
    assert done["source"] == {"name": "duo", "sha256": source.sha256}
    assert done["plan"] == "aerial=int8,satellite=fp16,fusion=fp16"
    assert done["parts"]["satellite"]["kept_in_fp32"]
    assert manifest.provenance["checkpoint"] == source.manifest.provenance["checkpoint"]
    assert manifest.input_ranges is not None
    assert manifest.input_ranges.samples == 4


def test_the_samples_are_recorded_and_can_be_taken_again(
    made: Converted, source: Bundle, calibration: CalibrationData, tmp_path: Path
) -> None:
    path = made.bundle.path / "calibration.json"
    assert load_record(path).selection.ids == ("train0", "train1", "train2", "train3")
    again = replace(calibration, record=path)
    found = convert(source, tmp_path / "a.segx", OPTIONS, calibration=again)
    assert found.record.selection == made.record.selection
    assert found.verdict.text == "no data to measure on"
    assert not found.bundle.manifest.verified
    edited = tmp_path / "calibration.json"
    edited.write_text(path.read_text().replace("train3", "train9"))
    with pytest.raises(CalibrationError, match="was edited"):
        convert(
            source, tmp_path / "b.segx", OPTIONS, calibration=replace(calibration, record=edited)
        )
    assert files(tmp_path) == {"a.segx", "calibration.json"}


def test_samples_that_the_gate_measures_are_refused(
    source: Bundle, patches: Any, calibration: CalibrationData, tmp_path: Path
) -> None:
    reserved = CalibrationData(dataset=patches, split="val")
    with pytest.raises(CalibrationError, match=r"kept for measuring.* or force it"):
        convert(source, tmp_path / "a.segx", OPTIONS, calibration=reserved)
    gate = GateData(dataset=patches, split="train")
    with pytest.raises(DataError, match="expected patches that the model was not trained on"):
        convert(source, tmp_path / "a.segx", OPTIONS, calibration=calibration, gate=gate)
    assert not files(tmp_path)


def test_only_an_fp32_bundle_is_converted_and_to_another_place(
    made: Converted, source: Bundle, calibration: CalibrationData, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="in int8; expected one in fp32"):
        convert(made.bundle, tmp_path / "a.segx", OPTIONS, calibration=calibration)
    with pytest.raises(BundleError, match="is the bundle that is converted"):
        convert(source, source.path, OPTIONS, calibration=calibration)


def test_a_fault_of_the_conversion_is_blamed_on_its_stage_and_leaves_nothing(
    source: Bundle,
    calibration: CalibrationData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = to_fp16

    def faulty(path: Path, target: Path, *, keep: Any) -> Any:
        report = real(path, target, keep=keep)
        if path.name == "satellite.onnx":
            plant_noise(target)
        return report

    monkeypatch.setattr(exporter.workshop, "to_fp16", faulty)
    message = (
        r"'satellite' in FP16 emulated .* differs from FP32 .*; take other calibration samples"
    )
    with pytest.raises(ParityError, match=message) as refused:
        convert(source, tmp_path / "a.segx", OPTIONS, calibration=calibration)
    assert "torch" not in str(refused.value)
    assert not files(tmp_path)


def test_a_graph_in_another_precision_is_refused_with_advice_for_conversions(
    source: Bundle,
    calibration: CalibrationData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = to_fp16

    def idle(path: Path, target: Path, *, keep: Any) -> Any:
        names = [node.name for node in onnx.load(path).graph.node]
        return real(path, target, keep=names)

    monkeypatch.setattr(exporter.workshop, "to_fp16", idle)
    message = r"'aerial' was asked for in fp16 and has 100 % FP32 .*; keep fewer nodes in FP32"
    with pytest.raises(BundleError, match=message):
        convert(source, tmp_path / "a.segx", OPTIONS, calibration=calibration)


def plant_noise(path: Path) -> None:
    """Add noise of three times their own size to the weights."""
    model = onnx.load(path)
    rng = np.random.default_rng(0)
    for item in model.graph.initializer:
        weights = numpy_helper.to_array(item)
        if weights.dtype.kind == "f" and weights.ndim == 4:
            noise = 3 * weights.std() * rng.standard_normal(weights.shape)
            item.CopyFrom(numpy_helper.from_array(weights + noise.astype(weights.dtype), item.name))
    onnx.save(model, path)


def test_ranges_are_measured_on_some_of_the_samples_and_say_on_how_many(
    made: Converted, source: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = json.loads((made.bundle.path / "ranges.json").read_text())
    assert {name: item["samples"] for name, item in written.items()} == dict.fromkeys(written, 4)
    store = FeedStore(source, tmp_path / "feeds")
    feed, _ = golden_feed(source)
    store.fill((name, feed) for name in ("a", "b", "c"))
    monkeypatch.setattr(exporter.workshop, "RANGE_SAMPLES", 2)
    workshop = Workshop(source=source, store=store, folder=tmp_path, options=OPTIONS)
    assert workshop.ranges(source.manifest.parts[0]).samples == 2


def test_the_store_gives_every_part_the_inputs_it_takes(source: Bundle, tmp_path: Path) -> None:
    feed, _ = golden_feed(source)
    store = FeedStore(source, tmp_path)
    first = store.fill((name, feed) for name in ("a", "b", "c"))
    assert set(first) == set(feed)
    for part in source.manifest.parts:
        wanted = {spec.name for spec in part.inputs}
        for kind, count in (("calibration", 3), ("stress", None)):
            feeds = list(store.feeds(kind, part))  # type: ignore[arg-type]
            assert len(feeds) == count or (count is None and len(feeds) >= 7)
            assert all(set(item) == wanted for item in feeds)
        assert len(list(store.feeds("calibration", part, 2))) == 2
    logits = next(store.feeds("calibration", source.manifest.parts[2]))
    assert logits["aerial_logits"].any()
