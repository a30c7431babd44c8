"""A bundle of a few kilobytes in which faults are planted, and a conversion that takes no time.

The conversion rounds honestly, as the real one does: every node in FP16 stands between casts, and
INT8 puts a Q/DQ pair before each convolution. Only ModelOpt is left out.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from exporter.emulate import emulate
from exporter.feeds import FeedStore
from exporter.fp32_nodes import FP32_OPERATORS
from exporter.gate_report import Budgets
from exporter.gate_split import GateSplit
from exporter.options import ConvertOptions
from exporter.plan import Recipe, make_plan
from exporter.proof import MacShares
from exporter.trial import GateData, Trial
from exporter.workshop import ConvertedPart, Workshop
from runtime.backends import BackendChoice
from runtime.bundle import Bundle, open_bundle
from runtime.classes import LandCoverClass
from runtime.datasets.flair import CLASSES
from runtime.errors import BundleError
from runtime.manifest import PartSpec
from runtime.model import TileModel, make_feed, open_model
from runtime.sample import AERIAL_BANDS, Sample
from runtime.satellite import DatePolicy, SatelliteInput, SatelliteSpec

TILE = 64
CHOICE = BackendChoice(name="onnxruntime", reason="it computes as the file says")
BUDGETS = Budgets(miou_loss=1.0, agreement=99.0)

Faults = Mapping[str, Sequence[float | NDArray[np.float32]]]
"""Factors by the node whose result is multiplied; all together make 1."""


@dataclass
class Patches:
    """Random patches of 64 px, labelled with what a model makes of them."""

    model: TileModel
    root: Path = Path("made-patches")
    classes: tuple[LandCoverClass, ...] = CLASSES
    bands: tuple[str, ...] = AERIAL_BANDS
    licence: str = "made for tests"
    splits: dict[Any, tuple[str, ...]] = field(default_factory=lambda: {"val": ("one", "two")})

    def ids(self, split: str) -> tuple[str, ...]:
        return self.splits[split]

    def groups(self) -> dict[str, str]:
        return dict.fromkeys(self.splits["val"], "area")

    def position(self, patch_id: str) -> tuple[float, float]:
        return 0.0, 0.0

    def resolution_m(self, patch_id: str) -> float:
        return 0.2

    def read(self, patch_id: str, satellite: SatelliteSpec | None) -> Sample:
        sample = self.unlabelled(patch_id)
        return replace(sample, labels=self.model.run(feed_of(sample))["classes"][0])

    def unlabelled(self, patch_id: str) -> Sample:
        rng = np.random.default_rng(list(patch_id.encode()))
        return Sample(
            id=patch_id,
            bands=self.bands,
            aerial=rng.integers(0, 256, (5, TILE, TILE), dtype=np.uint8),
            satellite=SatelliteInput(
                series=rng.random((12, 10, 8, 8), dtype=np.float32),
                date_mask=np.ones(12, dtype=np.float32),
                days=DatePolicy().month_days(),
                dates_used=(),
            ),
            labels=None,
        )

    def fingerprint(self) -> str:
        return "f" * 64


def feed_of(sample: Sample) -> dict[str, NDArray[Any]]:
    assert sample.satellite is not None
    return make_feed([sample.aerial], [sample.satellite])


@dataclass(slots=True)
class QuickWorkshop(Workshop):
    """Converts in this process."""

    refused: frozenset[tuple[str, str]] = frozenset()
    """Parts and precisions that cannot be had."""
    converted: list[tuple[str, Recipe]] = field(default_factory=list)

    def _convert(self, spec: PartSpec, recipe: Recipe, stem: str) -> ConvertedPart:
        self.converted.append((spec.name, recipe))
        if (spec.name, recipe.precision) in self.refused:
            raise BundleError(f"{spec.name} has no {recipe.precision}; expected it; leave it")
        source = self.source.file(spec)
        path = self.folder / f"{stem}.emulation.onnx"
        kept: dict[str, str] = {}
        if recipe.precision == "fp32":
            path = source
        else:
            model = onnx.load(source)
            kept = {n.name: FP32_OPERATORS.get(n.op_type, "") for n in model.graph.node}
            kept = {name: reason for name, reason in kept.items() if reason}
            kept |= dict.fromkeys(recipe.keep & {n.name for n in model.graph.node}, "asked for")
            if recipe.precision == "int8":
                ranges = self.ranges(spec).data
                _quantize(model, recipe.skip, {n: r.magnitude for n, r in ranges.items()})
            onnx.save(emulate(_halved(model, kept)), path)
        return ConvertedPart(
            spec=replace(spec, precision=recipe.precision),
            path=source,
            emulation=path,
            kept=kept,
            shares=MacShares(int8=0.0, fp16=0.0, fp32=0.0),
            ranges=None,
            worker=None,
        )


def _quantize(model: ModelProto, skip: Iterable[str], largest: dict[str, float]) -> None:
    """Put a Q/DQ pair of one scale before the data of every convolution."""
    nodes = []
    for node in list(model.graph.node):
        if node.op_type == "Conv" and node.name not in skip:
            name = node.input[0]
            scale = np.float32(largest[name] / 127)
            scales = [f"{name}/scale", f"{name}/zero"]
            for key, value in zip(scales, (scale, np.int8(0)), strict=True):
                model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), key))
            steps, values = f"{name}/steps", f"{name}/values"
            nodes.append(onnx.helper.make_node("QuantizeLinear", [name, *scales], [steps]))
            nodes.append(onnx.helper.make_node("DequantizeLinear", [steps, *scales], [values]))
            nodes[-2].name, nodes[-1].name = f"{steps}.node", f"{values}.node"
            node.input[0] = values
        nodes.append(node)
    _set_nodes(model, nodes)


def _halved(model: ModelProto, kept: Iterable[str]) -> ModelProto:
    """Put casts around every node that does not stay in FP32."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    kinds |= {item.name: item.data_type for item in model.graph.initializer}
    apart = {"Constant", "QuantizeLinear", "DequantizeLinear"}
    nodes: list[NodeProto] = []
    for source in model.graph.node:
        node = NodeProto.FromString(source.SerializeToString())
        nodes.append(node)
        if node.name in kept or node.op_type in apart:
            continue
        casts = []
        for index, name in enumerate(source.input):
            # The scales of Resize stay as they are.
            if kinds.get(name) == TensorProto.FLOAT and not (node.op_type == "Resize" and index):
                half = node.input[index] = f"{node.name}/in{index}"
                casts.append(_cast(name, half, TensorProto.FLOAT16))
        nodes[-1:-1] = casts
        for index, name in enumerate(source.output):
            if kinds.get(name) == TensorProto.FLOAT:
                half = node.output[index] = f"{name}/half result"
                nodes.append(_cast(half, name, TensorProto.FLOAT))
    _set_nodes(model, nodes)
    return model


def _cast(source: str, target: str, kind: int) -> NodeProto:
    return onnx.helper.make_node("Cast", [source], [target], name=f"{target}.inserted", to=kind)


def _set_nodes(model: ModelProto, nodes: Iterable[NodeProto]) -> None:
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(copies)


def plant(model: ModelProto, faults: Faults) -> None:
    """Multiply what nodes give by one factor after the other, in nodes planted1, planted2, ..."""
    nodes, count = [], 0
    for node in list(model.graph.node):
        nodes.append(node)
        factors = faults.get(node.name, ())
        result = node.output[0]
        for index, factor in enumerate(factors):
            count += 1
            taken, given = f"{result}/{index}", f"{result}/{index + 1}"
            if index == 0:
                node.output[0] = taken
            values = np.asarray(factor, dtype=np.float32)
            model.graph.initializer.append(numpy_helper.from_array(values, f"factor{count}"))
            given = result if index == len(factors) - 1 else given
            multiply = onnx.helper.make_node("Mul", [taken, f"factor{count}"], [given])
            multiply.name = f"planted{count}"
            nodes.append(multiply)
    _set_nodes(model, nodes)


class Bench:
    """What the tests of repair are made of."""

    options = ConvertOptions(
        segx_version="0.1.0", precision="fp16", budgets=BUDGETS, repair_s=600.0
    )

    def __init__(self, bundle: Bundle, folder: Path) -> None:
        self.bundle = bundle
        self.folder = folder
        self.split = GateSplit(name="val", ids=("two",), search_ids=("one",))
        reference = open_model(bundle, CHOICE)
        patches = Patches(reference)
        store = FeedStore(bundle, folder / "feeds")
        store.fill((name, feed_of(patches.unlabelled(name))) for name in ("four", "five"))
        self.store = store
        self.trial = Trial(
            source=bundle,
            reference=reference,
            data=GateData(dataset=patches),
            split=self.split,
            choice=CHOICE,
        )

    def workshop(self, **changes: Any) -> QuickWorkshop:
        return QuickWorkshop(
            source=self.bundle,
            store=self.store,
            folder=self.folder,
            options=self.options,
            **changes,
        )

    def plan(self, precision: Any = "fp16", **asked: Any) -> dict[str, Recipe]:
        return make_plan(self.bundle.manifest.parts, precision, asked)


MakeBench = Callable[..., Bench]


@pytest.fixture
def bench(write_bundle: Callable[..., Path], tmp_path: Path) -> MakeBench:
    """Function that makes a bench, with faults by part: `bench(aerial={"coarse": (8, 0.125)})`."""

    def make(**faults: Faults) -> Bench:
        folder = write_bundle(tmp_path / "made.segx", tile=TILE)
        manifest = json.loads((folder / "manifest.json").read_text())
        for path in folder.glob("*.onnx"):
            model = onnx.load(path)
            for node in model.graph.node:
                node.name = node.output[0]
            if path.stem in faults:
                plant(model, faults[path.stem])
            onnx.save(model, path)
            manifest["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        return Bench(open_bundle(folder), scratch)

    return make
