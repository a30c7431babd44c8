"""Write a model with one input as one ONNX file for Deepness, the plug-in for QGIS.

image ──► x 255 ──► Round ──► Cast uint8 ──► aerial ──► the parts, merged ──► probabilities

Deepness divides pixels by 255, and gives the graph float32 (N, C, H, W). Round takes back exactly
what was stored, so that everything behind it is the bundle's own graph. Of the probabilities
Deepness takes the largest, and settings that change the map (threshold, filter) are off in the
metadata.

Reference: https://qgis-plugin-deepness.readthedocs.io, "Adding metadata to ONNX model" and "Model
classes and requirements"; the plugin reads `tile_size` where its documentation says `tiles_size`,
and `standardization_mean` and `standardization_std`, of which that says nothing.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, TensorProto, helper, numpy_helper

from runtime.bundle import Bundle
from runtime.card import ModelCard
from runtime.errors import BundleError, ParityError
from runtime.files import write_bytes
from runtime.manifest import Manifest
from runtime.model import golden_feed

from .merge_graph import merge_graphs
from .runners import run_as_written
from .to_onnx import finish

IMAGE = "deepness/image"
"""Name of the input: pixels from 0 to 1. No part has such a name."""

IR_VERSION = 9
"""Format of the file: the plugin asks for ONNX Runtime 1.17 at most, which reads no newer one."""


def check_deepness(card: ModelCard) -> None:
    """Refuse a model that Deepness cannot run.

    Raises:
        BundleError: If it takes Sentinel-2 too.
    """
    if card.satellite is not None:
        raise BundleError(
            f"{card.name} takes an aerial image and Sentinel-2; expected a model with one input, "
            "which is all that Deepness gives; map with `segx infer` and open the map in QGIS"
        )


def write_deepness(bundle: Bundle, path: Path, *, segx_version: str) -> None:
    """Write the file, once it gives for the golden tile what the bundle gives.

    Args:
        bundle: A bundle of any precision, with one input.
        path: The ONNX file. One that is there is replaced at the very end.
        segx_version: For the metadata.

    Raises:
        BundleError: If the model takes Sentinel-2, ends in no probabilities, or cannot be merged.
        ParityError: If the file gives other numbers than the bundle.
        DataError: If the disk does not take it.
    """
    check_deepness(bundle.card)
    parts = bundle.manifest.parts_for("probabilities")
    if parts[-1].variant is None:
        raise BundleError(
            f"{bundle.path} has no part that ends in probabilities; expected one, which Deepness "
            "takes the largest of; export the bundle again"
        )
    metadata = deepness_metadata(bundle.manifest) | {
        "segx.bundle": bundle.manifest.name,
        "segx.bundle_sha256": bundle.sha256,
        "segx.verdict": bundle.manifest.verdict,
        "segx.version": segx_version,
    }
    merged = merge_graphs(parts, {part.name: onnx.load(bundle.file(part)) for part in parts})
    _take_floats(merged.graph)
    finished = finish(merged, metadata)
    finished.ir_version = IR_VERSION
    onnx.checker.check_model(finished, full_check=True)
    content = finished.SerializeToString()
    _check(bundle, content)
    write_bytes(path, content)


def deepness_metadata(manifest: Manifest) -> dict[str, str]:
    """Make the entries that Deepness sets itself up with; each value is JSON."""
    aerial, bands = manifest.aerial, len(manifest.aerial.bands)
    entries: Mapping[str, object] = {
        "model_type": "Segmentor",
        "class_names": {index: item.name for index, item in enumerate(manifest.classes)},
        # Centimetres.
        "resolution": round(100 * aerial.resolution_m, 6),
        "tiles_size": aerial.tile_size,
        "tile_size": aerial.tile_size,
        # Per cent of a tile; half of it is cut off on every side.
        "tiles_overlap": math.ceil(200 * aerial.halo / aerial.tile_size),
        "seg_thresh": 0.0,
        "seg_small_segment": 0,
        # The plugin's own default is three bands long.
        "standardization_mean": [0.0] * bands,
        "standardization_std": [1.0] * bands,
    }
    return {key: json.dumps(value) for key, value in entries.items()}


def _take_floats(graph: GraphProto) -> None:
    """Let a graph take pixels from 0 to 1 in place of those from 0 to 255."""
    (stored,) = graph.input
    nodes = [
        helper.make_node("Mul", [IMAGE, "deepness/255"], ["deepness/scaled"]),
        helper.make_node("Round", ["deepness/scaled"], ["deepness/rounded"]),
        helper.make_node("Cast", ["deepness/rounded"], [stored.name], to=TensorProto.UINT8),
        *graph.node,
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(np.array(255, np.float32), "deepness/255"))
    stored.name = IMAGE
    stored.type.tensor_type.elem_type = TensorProto.FLOAT


def _check(bundle: Bundle, content: bytes) -> None:
    """Compare the file with the bundle's parts on the golden tile: the same numbers."""
    known, _ = golden_feed(bundle)
    image = known["aerial"].astype(np.float32) / np.float32(255)
    (found,) = run_as_written(content, {IMAGE: image}).values()
    for part in bundle.manifest.parts_for("probabilities"):
        feed = {spec.name: known[spec.name] for spec in part.inputs}
        known.update(run_as_written(bundle.file(part), feed))
    if not np.array_equal(known["probabilities"], found):
        raise ParityError(
            f"the file for Deepness gives other numbers than {bundle.path} for the golden tile; "
            "expected the same; export the bundle again, and with another version of onnx or "
            "onnxruntime if it stays"
        )
