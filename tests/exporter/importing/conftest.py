"""Small ONNX files as strangers make them, and their declarations."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from exporter.importing import Declaration, ImportOptions
from exporter.importing.declaration import AerialInput, Output
from exporter.importing.ending import Ending, find_ending
from exporter.importing.imported import taker
from exporter.importing.original import Original
from exporter.importing.read import read_model
from exporter.importing.scores import Scores
from exporter.importing.sizes import Settled, settle
from exporter.importing.wrap import wrap
from exporter.samples import random_feed
from runtime.classes import LandCoverClass
from trainkit.models import ClassMap, ProbabilityMap

SIDE = 256
OPTIONS = ImportOptions(segx_version="0.1.0", parity_samples=1)

Node = tuple[str, Sequence[str], str, Mapping[str, Any]]


def classes(count: int) -> tuple[LandCoverClass, ...]:
    return tuple(LandCoverClass(name=f"class {i}", color=f"#0000{i:02x}") for i in range(count))


def declare(count: int = 3, side: int = SIDE, **changes: Any) -> Declaration:
    """A declaration of three bands without a scale, and of logits."""
    given: dict[str, Any] = {
        "name": "stranger",
        "aerial": AerialInput(bands=("red", "green", "blue"), resolution_m=0.2, tile_size=side),
        "output": Output(kind="logits"),
        "classes": classes(count),
    }
    return Declaration(**given | changes)


def weights(seed: int, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(0.0, 0.02, shape).astype(np.float32)


def graph(
    nodes: Sequence[Node],
    constants: Mapping[str, np.ndarray[Any, Any]],
    *,
    inputs: Mapping[str, Sequence[int | str | None]] | None = None,
    outputs: Sequence[str] = ("out",),
    opset: int = 17,
    kinds: Mapping[str, int] | None = None,
    rank: int = 4,
) -> onnx.ModelProto:
    """A graph of these nodes; inputs and outputs are float32 unless `kinds` says otherwise."""
    known = {"image": ("N", 3, SIDE, SIDE)} if inputs is None else inputs
    of = {} if kinds is None else kinds
    float32 = TensorProto.FLOAT
    values = helper.make_graph(
        [helper.make_node(kind, list(i), [o], **extra) for kind, i, o, extra in nodes],
        "stranger",
        [helper.make_tensor_value_info(n, of.get(n, float32), s) for n, s in known.items()],
        [helper.make_tensor_value_info(n, of.get(n, float32), [None] * rank) for n in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(values, opset_imports=opsets, ir_version=8)


def per_pixel(*after: Node, seed: int = 0, **options: Any) -> onnx.ModelProto:
    """A 1 x 1 convolution of three bands to three scores, and what comes after it."""
    nodes: list[Node] = [("Conv", ("image", "w", "b"), "scores" if after else "out", {})]
    constants = {"w": weights(seed, 3, 3, 1, 1), "b": weights(seed + 1, 3)}
    extra = options.pop("constants", {})
    return graph([*nodes, *after], constants | extra, **options)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A graph on the bundle's inputs, before it is split and written."""

    settled: Settled
    ending: Ending
    original: Original
    side: int
    classes: int

    def maps(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """What a bundle would give: classes, confidence and probabilities."""
        (scores,) = run_graph(self.settled.model, feed)
        head = Scores(self.ending.scores_kind, classes=self.classes, side=self.side)
        with torch.inference_mode():
            classes, confidence = ClassMap(head)(torch.tensor(scores))
            shares = ProbabilityMap(head)(torch.tensor(scores))
        return {
            "classes": classes.numpy(),
            "confidence": confidence.numpy(),
            "probabilities": shares.numpy(),
        }


def run_graph(model: onnx.ModelProto, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    taken = {port.name: feed[port.name] for port in session.get_inputs()}
    found: list[NDArray[Any]] = session.run(None, taken)
    return found


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., Prepared]:
    """Function that does all of an import but write: `prepare(graph or file, declaration)`."""

    def run(model: onnx.ModelProto | Path, declaration: Declaration) -> Prepared:
        source = model if isinstance(model, Path) else tmp_path / "stranger.onnx"
        if isinstance(model, onnx.ModelProto):
            onnx.save(model, source)
        read = read_model(source)
        ending = find_ending(read, declaration.output)
        whole = wrap(read, declaration, ending)
        pair = random_feed((taker(whole),), batch=2, seed=0)
        return Prepared(
            settled=settle(whole, pair),
            ending=ending,
            original=Original(read, declaration, ending, tmp_path),
            side=declaration.aerial.tile_size,
            classes=len(declaration.classes),
        )

    return run


def trace(
    module: nn.Module, example: tuple[Any, ...], path: Path, axes: Mapping[str, Any], **more: Any
) -> Path:
    """Export a module as documentation of libraries shows it, with the tracer of TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), example, str(path), dynamic_axes=axes, dynamo=False, **more
        )
    return path
