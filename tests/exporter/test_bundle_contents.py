import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast, get_args, get_type_hints

import numpy as np
import onnx
import pytest
import torch

from exporter.export import Exported
from exporter.parity import WHOLE, Ledger
from runtime.backends import choose_backend
from runtime.bundle import find_newest
from runtime.manifest import Manifest
from runtime.model import golden_feed, open_model, without_satellite
from trainkit.checkpoint import Checkpoint
from trainkit.torch_model import TorchModel

PARTS = ["aerial", "satellite", "fusion", "fusion_probabilities"]


def test_the_bundle_holds_every_part_with_the_names_of_the_model(
    exported: Exported, checkpoint: Checkpoint
) -> None:
    manifest = exported.bundle.manifest
    assert [part.name for part in manifest.parts] == PARTS
    for part, spec in zip(checkpoint.model.parts(), manifest.parts, strict=True):
        assert [t.name for t in part.inputs] == [t.name for t in spec.inputs]
        assert [t.name for t in part.outputs] == [t.name for t in spec.outputs]
        assert all(t.shape[0] == "N" for t in (*spec.inputs, *spec.outputs))
    assert manifest.parts[0].inputs[0].dtype == "uint8"
    assert [t.dtype for t in manifest.parts[2].outputs] == ["uint8", "uint8"]


def test_the_graphs_carry_versions_and_names_and_no_path(
    exported: Exported, graphs: dict[str, onnx.ModelProto]
) -> None:
    for part in exported.bundle.manifest.parts:
        model = graphs[part.name]
        assert model.ir_version == 10
        assert [(item.domain, item.version) for item in model.opset_import] == [("", 20)]
        assert {item.key: item.value for item in model.metadata_props} == {
            "segx.part": part.name,
            "segx.bundle": "duo",
            "segx.version": "0.1.0",
        }
        content = exported.bundle.file(part).read_bytes()
        for secret in (b".py", str(Path.home()).encode(), str(Path.cwd()).encode()):
            assert secret not in content


def test_the_first_and_last_nodes_are_those_that_tensorrt_takes(
    graphs: dict[str, onnx.ModelProto],
) -> None:
    aerial, fusion = graphs["aerial"].graph, graphs["fusion"].graph
    assert [node.op_type for node in aerial.node if "aerial" in node.input] == ["Cast"]
    producers = {name: node for node in fusion.node for name in node.output}
    tails = {}
    for output in ("classes", "confidence"):
        node, tail = producers[output], []
        while node.op_type in ("Cast", "Round", "ArgMax"):
            tail.append(node.op_type)
            node = producers[node.input[0]]
        tails[output] = tail
    assert tails == {"classes": ["Cast", "Cast", "ArgMax"], "confidence": ["Cast", "Round"]}


def test_the_golden_tile_is_what_a_device_computes(exported: Exported) -> None:
    feed, expected = golden_feed(exported.bundle)
    assert set(feed) == {"aerial", "satellite", "date_mask", "days"}
    assert set(expected) == {"classes", "confidence"}
    model = open_model(exported.bundle, choose_backend())
    found = model.run(feed)
    model.close()
    assert (found["classes"] == expected["classes"]).mean() >= 0.999
    steps = np.abs(found["confidence"].astype(int) - expected["confidence"].astype(int))
    assert steps.max() <= 1


def test_the_bundle_gives_the_maps_of_the_checkpoint(
    exported: Exported, checkpoint: Checkpoint
) -> None:
    feed, _ = golden_feed(exported.bundle)
    for variant, name in (("classes", "confidence"), ("probabilities", "probabilities")):
        model = open_model(exported.bundle, choose_backend("onnxruntime"), variant=variant)  # type: ignore[arg-type]
        found = model.run(feed)[name].astype(np.float64)
        expected = TorchModel(checkpoint.model, variant=variant).run(feed)[name]  # type: ignore[arg-type]
        np.testing.assert_allclose(found, expected, atol=1.0 if name == "confidence" else 1e-5)


def test_the_ledger_holds_every_stage_of_every_part(exported: Exported) -> None:
    ledger = json.loads((exported.bundle.path / "parity.json").read_text())
    assert ledger["source"] == "data"
    assert ledger["samples"] == ["patch0", "patch1"]
    found = {
        (s["reference"], s["candidate"]): [r["part"] for r in s["rows"]] for s in ledger["stages"]
    }
    assert found == {
        ("PyTorch", "ONNX Runtime"): [*PARTS, WHOLE],
        ("ONNX Runtime", "OpenVINO"): [*PARTS, WHOLE],
    }
    for stage in ledger["stages"]:
        for row in stage["rows"]:
            assert row["misses"] == []
            assert row["agreement"]["argmax"] >= 0.999


def test_a_trained_checkpoint_with_data_is_verified_and_found(exported: Exported) -> None:
    manifest = exported.bundle.manifest
    assert manifest.verified
    assert manifest.verdict.startswith("mIoU")
    accuracy = manifest.accuracy
    assert accuracy is not None
    assert (accuracy.dataset, accuracy.split, accuracy.patches) == ("fake-data", "val", 2)
    assert accuracy.executed == "openvino fp32"
    assert accuracy.miou == pytest.approx(accuracy.reference_miou, abs=5e-4)
    assert len(accuracy.iou) == accuracy.scored_classes == 12
    assert find_newest(exported.bundle.path.parent) == exported.bundle.path


def test_the_manifest_says_where_everything_comes_from(
    exported: Exported, checkpoint: Checkpoint
) -> None:
    manifest = exported.bundle.manifest
    assert manifest.provenance["checkpoint"] == {
        "name": "duo",
        "sha256": checkpoint.info.files["model.safetensors"],
        "created": checkpoint.info.created,
        "segx_version": "0.1.0",
        "steps": {"aerial": 10, "satellite": 10},
    }
    versions = manifest.provenance["versions"]
    assert isinstance(versions, dict)
    assert {"torch", "onnx", "onnxscript", "onnxsim", "onnxruntime"} <= set(versions)
    assert "Etalab" in manifest.licences["training data"]
    assert "weights" in manifest.licences
    text = (exported.bundle.path / "manifest.json").read_text()
    assert "/nowhere" not in text
    assert str(checkpoint.path.parent) not in text


def test_a_halo_is_called_exact_only_where_it_is(exported: Exported) -> None:
    aerial = exported.bundle.manifest.aerial
    assert (aerial.halo, aerial.stride) == (32, 32)
    assert (aerial.tile_size - 2 * aerial.halo) % aerial.stride == 0
    assert not aerial.halo_exact
    sight = exported.bundle.manifest.provenance["receptive_field"]
    assert isinstance(sight, dict)
    assert sight["radius_px"] is None
    assert sight["change_beyond_halo"] > 0


def fields(kind: type) -> Iterator[str]:
    """Names of all fields of a dataclass and of those inside it."""
    for name, hint in get_type_hints(kind).items():
        yield name
        for inner in (hint, *get_args(hint)):
            if dataclasses.is_dataclass(inner):
                yield from fields(cast(type, inner))


def test_the_document_names_every_field() -> None:
    document = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text()
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", document))))
    assert {*fields(Manifest), *fields(Ledger)} - named == set()


def test_the_document_names_every_key_of_the_provenance_and_every_file(exported: Exported) -> None:
    document = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text()
    manifest = exported.bundle.manifest
    for key in manifest.provenance:
        assert f"`{key}`" in document
    for file in manifest.files:
        assert file in document


def test_without_satellite_an_export_gives_the_map_of_its_aerial_branch(
    exported: Exported, checkpoint: Checkpoint
) -> None:
    bundle = exported.bundle
    assert bundle.manifest.works_without_satellite
    model = open_model(bundle, choose_backend("onnxruntime"), threads=1)
    feed, _ = golden_feed(bundle)
    alone = without_satellite(model.parts, {"aerial": feed["aerial"]}, 1)
    found = model.run(alone)["classes"]
    with torch.no_grad():
        own = checkpoint.model.own_logits({n: torch.tensor(value) for n, value in feed.items()})
    expected = own["aerial"].argmax(dim=1).numpy()
    assert (found == expected).mean() > 0.999
    assert len(np.unique(expected)) > 1
    assert not np.array_equal(model.run(feed)["classes"], found)
