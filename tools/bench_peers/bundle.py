"""Bundles around the very ONNX file that the other tools run.

scale      aerial uint8 -> image float32 of 0..1
network    image -> logits            the shared file, byte for byte
fusion     logits -> classes and confidence, or probabilities
"""

import datetime
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from exporter.package import hashes, publish, staging
from exporter.to_onnx import IR_VERSION, OPSET
from runtime.bundle import GOLDEN_NAME, Bundle
from runtime.classes import LandCoverClass
from runtime.manifest import (
    FORMAT_VERSION,
    AerialSpec,
    Manifest,
    ModelInfo,
    Normalization,
    PartSpec,
    TensorSpec,
)
from runtime.onnxruntime_session import OnnxRuntimeSession
from segx import __version__

STEPS = 254.0
"""Confidence is stored as round(254 x probability)."""
STRIDE = 32
"""Tiles start at multiples of this many pixels from each other."""
WHITE = 255.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """What bundles are made around."""

    network: Path
    """ONNX file from `image` (N, C, S, S) to `logits` (N, K, S, S)."""
    name: str
    bands: tuple[str, ...]
    classes: tuple[LandCoverClass, ...]
    tile: int
    resolution_m: float
    sample: NDArray[np.uint8]
    """A tile of what is to be mapped, shape (C, S, S), for the self-test."""
    steps: int = 0
    """Optimizer steps; 0: the weights are random."""


def write_bundle(wrapped: Wrapped, out: Path, *, halo: int, halo_exact: bool) -> Bundle:
    """Write a bundle.

    Args:
        wrapped: The network and what to know of it.
        out: Its folder, `NAME.segx`.
        halo: Context on each side of a tile's interior, in pixels.
        halo_exact: Whether that is the whole receptive field.
    """
    parts = _parts(wrapped)
    with staging(out) as folder:
        shutil.copyfile(wrapped.network, folder / "network.onnx")
        for name, graph in _graphs(wrapped).items():
            onnx.save(graph, folder / f"{name}.onnx")
        _write_golden(folder, parts, wrapped.sample)
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            name=out.stem,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds"),
            segx_version=__version__,
            model=ModelInfo(
                config=wrapped.name,
                parameters=_weights(wrapped.network),
                steps=wrapped.steps,
            ),
            precision="fp32",
            parts=parts,
            aerial=AerialSpec(
                bands=wrapped.bands,
                resolution_m=wrapped.resolution_m,
                tile_size=wrapped.tile,
                halo=halo,
                stride=STRIDE,
                halo_exact=halo_exact,
                normalization=Normalization(
                    mean=(0.0,) * len(wrapped.bands), std=(WHITE,) * len(wrapped.bands)
                ),
            ),
            satellite=None,
            classes=wrapped.classes,
            files=hashes(folder),
            verified=False,
            verdict="made to be timed beside other tools",
        )
        return publish(folder, manifest, out)


def _parts(wrapped: Wrapped) -> tuple[PartSpec, ...]:
    side = (wrapped.tile, wrapped.tile)
    bands, count = len(wrapped.bands), len(wrapped.classes)
    aerial = TensorSpec(name="aerial", dtype="uint8", shape=("N", bands, *side))
    image = TensorSpec(name="image", dtype="float32", shape=("N", bands, *side))
    logits = TensorSpec(name="logits", dtype="float32", shape=("N", count, *side))
    maps = tuple(
        TensorSpec(name=name, dtype="uint8", shape=("N", *side))
        for name in ("classes", "confidence")
    )
    probabilities = TensorSpec(name="probabilities", dtype="float32", shape=logits.shape)
    return (
        _part("scale", [aerial], [image]),
        _part("network", [image], [logits]),
        PartSpec(
            name="fusion",
            role="fusion",
            file="fusion.onnx",
            precision="fp32",
            inputs=(logits,),
            outputs=maps,
            variant="classes",
        ),
        PartSpec(
            name="fusion_probabilities",
            role="fusion",
            file="fusion_probabilities.onnx",
            precision="fp32",
            inputs=(logits,),
            outputs=(probabilities,),
            variant="probabilities",
        ),
    )


def _part(name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> PartSpec:
    return PartSpec(
        name=name,
        role="aerial",
        file=f"{name}.onnx",
        precision="fp32",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )


def _graphs(wrapped: Wrapped) -> dict[str, onnx.ModelProto]:
    """What goes around the network."""
    scale, fusion, fusion_probabilities = (p for p in _parts(wrapped) if p.name != "network")
    node = helper.make_node
    white = helper.make_tensor("white", TensorProto.FLOAT, [], [WHITE])
    steps = helper.make_tensor("steps", TensorProto.FLOAT, [], [STEPS])
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    read = [
        node("Cast", ["aerial"], ["stored"], to=TensorProto.FLOAT),
        node("Div", ["stored", "white"], ["image"]),
    ]
    # The winner's softmax is 1 / sum(exp(logit - largest)): ONNX Runtime's Softmax over an axis
    # that is not the last turns the whole array around, which takes several times as long.
    ends = [
        node("ArgMax", ["logits"], ["index"], axis=1, keepdims=0),
        node("Cast", ["index"], ["number"], to=TensorProto.FLOAT),
        node("Cast", ["number"], ["classes"], to=TensorProto.UINT8),
        node("ReduceMax", ["logits", "axis"], ["largest"], keepdims=1),
        node("Sub", ["logits", "largest"], ["below"]),
        node("Exp", ["below"], ["share"]),
        node("ReduceSum", ["share", "axis"], ["sum"], keepdims=0),
        node("Reciprocal", ["sum"], ["best"]),
        node("Mul", ["best", "steps"], ["scaled"]),
        node("Round", ["scaled"], ["rounded"]),
        node("Cast", ["rounded"], ["confidence"], to=TensorProto.UINT8),
    ]
    softmax = [node("Softmax", ["logits"], ["probabilities"], axis=1)]
    return {
        "scale": _graph(scale, read, [white]),
        "fusion": _graph(fusion, ends, [steps, axis]),
        "fusion_probabilities": _graph(fusion_probabilities, softmax, []),
    }


def _graph(
    part: PartSpec, nodes: Sequence[onnx.NodeProto], constants: Sequence[TensorProto]
) -> onnx.ModelProto:
    types = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
    inputs, outputs = (
        [helper.make_tensor_value_info(s.name, types[s.dtype], s.shape) for s in specs]
        for specs in (part.inputs, part.outputs)
    )
    graph = helper.make_graph(list(nodes), part.name, inputs, outputs, list(constants))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _write_golden(folder: Path, parts: Sequence[PartSpec], sample: NDArray[np.uint8]) -> None:
    known: dict[str, NDArray[Any]] = {"aerial": sample[None]}
    for part in parts:
        if part.variant == "probabilities":
            continue
        session = OnnxRuntimeSession(folder / part.file, part, batch=1, threads=None)
        known |= session.run(_taken(known, part))
    arrays = {"input.aerial": known["aerial"]}
    arrays |= {f"output.{name}": known[name] for name in ("classes", "confidence")}
    with (folder / GOLDEN_NAME).open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def _taken(known: Mapping[str, NDArray[Any]], part: PartSpec) -> dict[str, NDArray[Any]]:
    return {spec.name: known[spec.name] for spec in part.inputs}


def _weights(path: Path) -> int:
    model = onnx.load(path)
    return sum(int(np.prod(item.dims)) for item in model.graph.initializer)
