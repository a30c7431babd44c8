"""Parts merged into one graph give what the parts give, and everything else stays as it was."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import rasterio
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

import exporter.merge
from exporter.calibrate import CalibrationData
from exporter.convert import convert
from exporter.engines import EngineRequest, build_engines, plan_engines
from exporter.export import Exported
from exporter.merge import Merged, merge
from exporter.merge_graph import is_merged, merge_graphs, merged_spec
from exporter.options import ConvertOptions
from exporter.to_onnx import IR_VERSION
from runtime.backends import Backend, BackendChoice
from runtime.bundle import Bundle, open_bundle
from runtime.errors import BundleError, ParityError
from runtime.manifest import PartSpec, TensorSpec
from runtime.model import golden_feed, open_model
from runtime.pipeline import infer
from runtime.scene import find_scenes
from runtime.selftest import self_test
from runtime.stream.options import InferOptions
from runtime.tally import Tally

Write = Callable[..., Path]

EMPTY_LEDGER = {"source": "random", "samples": ["a"], "stages": []}


@pytest.fixture(scope="module")
def merged(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Merged:
    """The dual-input bundle, merged; read it, do not change it."""
    out = tmp_path_factory.mktemp("merged") / "duo-merged.segx"
    return merge(exported.bundle, out, segx_version="0.1.0")


@pytest.fixture
def tiny(write_bundle: Write, tmp_path: Path) -> Callable[..., Bundle]:
    """Function that writes a tiny bundle as an export would leave it."""

    def write(name: str = "tiny", **changes: Any) -> Bundle:
        path = write_bundle(tmp_path / f"{name}.segx", **changes)
        (path / "parity.json").write_text(json.dumps(EMPTY_LEDGER))
        return rehash(path)

    return write


def rehash(path: Path) -> Bundle:
    """Let the manifest name the files as they are now."""
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"] = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.iterdir()
        if file.name != "manifest.json"
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    return open_bundle(path)


def pixels(path: str) -> NDArray[np.uint8]:
    with rasterio.open(path) as dataset:
        values: NDArray[np.uint8] = dataset.read()
    return values


def test_the_bundle_has_one_part_for_each_kind_of_result(merged: Merged) -> None:
    manifest = open_bundle(merged.bundle.path).manifest
    assert [(part.name, part.role, part.variant) for part in manifest.parts] == [
        ("merged", "fusion", "classes"),
        ("merged_probabilities", "fusion", "probabilities"),
    ]
    names = [tensor.name for tensor in manifest.parts[0].inputs]
    assert names == ["aerial", "satellite", "date_mask", "days"]
    assert [tensor.name for tensor in manifest.parts[0].outputs] == ["classes", "confidence"]
    assert is_merged(manifest.parts)


def test_nothing_else_is_lost_and_the_origin_is_named(merged: Merged, exported: Exported) -> None:
    old, new = exported.bundle.manifest, merged.bundle.manifest
    kept = ("precision", "aerial", "satellite", "classes", "accuracy", "licences", "verified")
    assert all(getattr(old, name) == getattr(new, name) for name in kept)
    assert new.files["golden.npz"] == old.files["golden.npz"]
    assert new.name == "duo-merged"
    assert old.verdict in new.verdict
    assert exported.bundle.sha256[:12] in new.verdict
    origin = new.provenance["merged"]
    assert isinstance(origin, dict)
    assert origin["source"] == {"name": "duo", "sha256": exported.bundle.sha256}
    assert new.provenance["checkpoint"] == old.provenance["checkpoint"]


def test_the_ledger_goes_on_from_that_of_the_source(merged: Merged, exported: Exported) -> None:
    assert merged.ledger.before == exported.ledger.stages
    first, *others = merged.ledger.stages
    assert first.candidate == "merged, as written (ONNX Runtime)"
    assert [row.agreement.max_abs for row in first.rows] == [0.0, 0.0]
    assert [stage.candidate for stage in others] == ["merged (ONNX Runtime)", "merged (OpenVINO)"]
    assert json.loads((merged.bundle.path / "parity.json").read_text())["before"]


def test_the_graph_keeps_to_the_formats_versions_and_holds_the_weights_once(
    merged: Merged, exported: Exported
) -> None:
    model = onnx.load(merged.bundle.file(merged.bundle.manifest.parts[0]))
    assert model.ir_version == IR_VERSION
    assert [item.version for item in model.opset_import] == [20]
    assert {entry.key: entry.value for entry in model.metadata_props}["segx.part"] == "merged"
    assert merged.graphs[0].size_mib < 1.1 * exported.bundle.size_mib


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_scene_is_mapped_as_by_the_parts(
    backend: Backend, tiny: Callable[..., Bundle], tiny_scene: Path, tmp_path: Path
) -> None:
    source = tiny()
    made = merge(source, tmp_path / "one.segx", segx_version="0.1.0").bundle
    choice = BackendChoice(name=backend, reason="a test")
    maps = []
    for bundle in (source, made):
        out = tmp_path / f"maps-{bundle.manifest.name}"
        scenes = find_scenes(tiny_scene, None, needs_satellite=True)
        model = open_model(bundle, choice, variant="probabilities", threads=1)
        options = InferOptions(probabilities=True)
        report = infer(scenes, bundle.card, model, out, tally=Tally(choice), options=options)
        assert report.satellite is not None
        maps.append([pixels(path) for path in sorted(report.outputs)])
    assert len(maps[0]) == 2
    for by_parts, at_once in zip(*maps, strict=True):
        np.testing.assert_array_equal(by_parts, at_once)


def test_the_golden_tile_is_that_of_the_source(tiny: Callable[..., Bundle], tmp_path: Path) -> None:
    made = merge(tiny(), tmp_path / "one.segx", segx_version="0.1.0").bundle
    feed, expected = golden_feed(made)
    model = open_model(made, BackendChoice(name="onnxruntime", reason="a test"))
    np.testing.assert_array_equal(model.run(feed)["classes"], expected["classes"])
    assert self_test(model, made, "onnxruntime").agreement == 1.0


def test_a_model_without_satellite_is_merged_too(
    tiny: Callable[..., Bundle], tmp_path: Path
) -> None:
    made = merge(tiny(satellite=False), tmp_path / "one.segx", segx_version="0.1.0").bundle
    assert [tensor.name for tensor in made.manifest.parts[0].inputs] == ["aerial"]


def test_a_graph_that_gives_other_numbers_is_not_written(
    tiny: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(parts: Any, models: Any) -> ModelProto:
        model = merge_graphs(parts, models)
        item = next(item for item in model.graph.initializer if item.name == "satellite/mix")
        weights = numpy_helper.to_array(item) * np.float32(1 + 1e-6)
        item.CopyFrom(numpy_helper.from_array(weights, item.name))
        return model

    monkeypatch.setattr(exporter.merge, "merge_graphs", damaged)
    with pytest.raises(
        ParityError, match=r"merged_probabilities.*is not the same.*leave the parts"
    ):
        merge(tiny(), tmp_path / "one.segx", segx_version="0.1.0")
    assert not (tmp_path / "one.segx").exists()


def test_the_part_has_the_lowest_precision_however_little_of_the_work_it_is(
    tiny: Callable[..., Bundle], tmp_path: Path
) -> None:
    # Graphs in FP32 that are called INT8: the rule on shares of the work is that of the parts.
    made = merge(tiny(precision="int8"), tmp_path / "one.segx", segx_version="0.1.0").bundle
    assert {part.precision for part in made.manifest.parts} == {"int8"}
    parts = made.manifest.parts
    mixed = (replace(parts[0], precision="fp32"), replace(parts[0], precision="fp16"))
    assert merged_spec(mixed, "m").precision == "fp16"


@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is not installed")
def test_tensorrt_rtx_builds_engines_of_the_merged_graphs(
    tiny: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGX_CACHE", str(tmp_path / "cache"))
    merged = merge(tiny(), tmp_path / "merged.segx", segx_version="0.1.0").bundle
    request = EngineRequest(
        builder="tensorrt-rtx", compute_capabilities=("8.6",), folder=tmp_path / "engines"
    )
    made = build_engines(merged, plan_engines(request), segx_version="0.1.0")
    assert [item.record.part for item in made] == ["merged", "merged_probabilities"]
    for item in made:
        assert item.path.stat().st_size == item.record.size_bytes > 10_000


def test_every_other_rule_is_kept(tiny: Callable[..., Bundle], tmp_path: Path) -> None:
    source = tiny()
    for name in ("fusion", "fusion_probabilities"):
        model = onnx.load(source.path / f"{name}.onnx")
        resize = next(node for node in model.graph.node if node.op_type == "Resize")
        corners = next(a for a in resize.attribute if a.name == "coordinate_transformation_mode")
        corners.s = b"asymmetric"
        onnx.save(model, source.path / f"{name}.onnx")
    with pytest.raises(BundleError, match=r"'merged' breaks the rule 'resize'.*asymmetric"):
        merge(rehash(source.path), tmp_path / "one.segx", segx_version="0.1.0")


def test_a_merged_bundle_is_neither_merged_nor_converted_again(
    merged: Merged, patches: Any, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="merged already"):
        merge(merged.bundle, tmp_path / "again.segx", segx_version="0.1.0")
    options = ConvertOptions(segx_version="0.1.0", precision="fp16")
    data = CalibrationData(dataset=patches, samples=2)
    with pytest.raises(BundleError, match=r"is merged into one graph.*it was merged from"):
        convert(merged.bundle, tmp_path / "x.segx", options, calibration=data)


def test_a_bundle_does_not_take_the_place_of_its_source(tiny: Callable[..., Bundle]) -> None:
    source = tiny()
    with pytest.raises(BundleError, match="is the bundle that is merged"):
        merge(source, source.path, segx_version="0.1.0")


def part(name: str, inputs: dict[str, str], output: str, text: str) -> tuple[PartSpec, ModelProto]:
    """A part of vectors, from the text of its nodes."""
    kinds = {"uint8": "uint8", "float": "float32"}
    head = ", ".join(f"{kind}[N,4] {tensor}" for tensor, kind in inputs.items())
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g ({head}) => (float[N,4] {output}) {{{text}}}'
    )
    tensors = tuple(
        TensorSpec(name=tensor, dtype=kinds[kind], shape=("N", 4))  # type: ignore[arg-type]
        for tensor, kind in inputs.items()
    )
    is_last = output == "classes"
    spec = PartSpec(
        name=name,
        role="fusion" if is_last else "aerial",
        file=f"{name}.onnx",
        precision="fp32",
        inputs=tensors,
        outputs=(TensorSpec(name=output, dtype="float32", shape=("N", 4)),),
        variant="classes" if is_last else None,
    )
    return spec, model


def joined(*made: tuple[PartSpec, ModelProto]) -> ModelProto:
    return merge_graphs([spec for spec, _ in made], {spec.name: model for spec, model in made})


def test_names_of_two_parts_do_not_meet_and_an_image_is_cast_once() -> None:
    model = joined(
        part("one", {"aerial": "uint8"}, "a", "f = Cast <to = 1> (aerial) a = Neg (f)"),
        part("two", {"aerial": "uint8"}, "b", "f = Cast <to = 1> (aerial) b = Abs (f)"),
        part(
            "end", {"a": "float", "b": "float"}, "classes", "f = Add (a, b) classes = Clip (f, , a)"
        ),
    )
    assert [tensor.name for tensor in model.graph.input] == ["aerial"]
    assert [node.op_type for node in model.graph.node] == ["Cast", "Neg", "Abs", "Add", "Clip"]
    cast, neg, absolute, add, clip = model.graph.node
    assert neg.input[0] == absolute.input[0] == cast.output[0] == "one/f"
    assert list(add.output) == ["end/f"]
    assert list(clip.input) == ["end/f", "", "a"]
    onnx.checker.check_model(model, full_check=True)


def test_casts_to_other_types_stay() -> None:
    model = joined(
        part("one", {"aerial": "uint8"}, "a", "f = Cast <to = 1> (aerial) a = Neg (f)"),
        part(
            "two",
            {"aerial": "uint8"},
            "b",
            "h = Cast <to = 10> (aerial) b = Cast <to = 1> (h)",
        ),
        part("end", {"a": "float", "b": "float"}, "classes", "classes = Add (a, b)"),
    )
    kinds = [n.attribute[0].i for n in model.graph.node if n.input[0] == "aerial"]
    assert kinds == [TensorProto.FLOAT, TensorProto.FLOAT16]


def test_parts_of_different_operator_sets_are_refused() -> None:
    first = part("one", {"aerial": "uint8"}, "a", "a = Cast <to = 1> (aerial)")
    second = part("end", {"a": "float"}, "classes", "classes = Neg (a)")
    second[1].opset_import[0].version = 19
    with pytest.raises(BundleError, match=r"part 'end' has the operator sets .*19.*part 'one'"):
        joined(first, second)
    second[1].opset_import[0].version = 20
    second[1].functions.add().name = "own"
    with pytest.raises(BundleError, match="part 'end' has functions of its own"):
        joined(first, second)
