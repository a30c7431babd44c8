"""Write the ONNX file of each part: trace, fold, simplify, check."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import onnx
from numpy.typing import NDArray

from runtime.manifest import DType, PartSpec, TensorSpec, Variant
from runtime.part_shapes import BATCH
from trainkit.models import Part, PartTensor

from .fold import fold_batch_norm
from .lint import require_clean
from .lint_precision import found_precision
from .options import ExportOptions
from .runners import torch_runner
from .samples import random_feed
from .simplify import simplify
from .to_onnx import finish, part_to_onnx


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphReport:
    """What became of one part."""

    spec: PartSpec
    """What the manifest says of it."""
    nodes: int
    size_mib: float
    found_precision: str
    """Precision of the weights in the file."""
    note: str
    """What the simplifier did."""


def write_graphs(
    parts: Sequence[Part],
    folder: Path,
    bundle: str,
    options: ExportOptions,
    *,
    on_part: Callable[[str], None] = lambda note: None,
) -> tuple[GraphReport, ...]:
    """Write every part as `NAME.onnx`.

    Args:
        parts: The parts of a model, in order.
        folder: Where the files go.
        bundle: Name of the bundle.
        options: How to export.
        on_part: Called after every part, with what was done.

    Raises:
        BundleError: If a graph breaks a rule of `lint`.
    """
    # A batch of two, so that a simplifier that fixes the batch is found out.
    known = random_feed(parts, batch=2, seed=0)
    run = torch_runner(parts)
    reports = []
    for part in parts:
        feed = {spec.name: known[spec.name] for spec in part.inputs}
        traced, spec = part_to_onnx(part), part_spec(part)
        reports.append(write_graph(traced, spec, folder, feed, options.metadata(bundle)))
        known.update(run(part.name, feed))
        on_part(f"{part.name}.onnx written")
    return tuple(reports)


def write_graph(
    model: onnx.ModelProto,
    spec: PartSpec,
    folder: Path,
    feed: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str],
    *,
    allowed: Collection[str] = (),
) -> GraphReport:
    """Fold, simplify and check the graph of one part, and write its file.

    Args:
        model: The graph as it was made; norms are folded in place.
        spec: What the manifest says of it.
        folder: Where the file goes.
        feed: Inputs of a batch of two, to prove on that simplifying changes nothing.
        metadata: Key and value of each entry written into the file.
        allowed: Rules of `lint` that it may break.

    Raises:
        BundleError: If the graph breaks another rule.
    """
    fold_batch_norm(model)
    simplified = simplify(finish(model, {}), spec, feed)
    model = finish(simplified.model, {"segx.part": spec.name, **metadata})
    require_clean(model, spec, allowed=allowed)
    path = folder / spec.file
    onnx.save(model, path)
    return GraphReport(
        spec=spec,
        nodes=len(model.graph.node),
        size_mib=path.stat().st_size / 2**20,
        found_precision=found_precision(model),
        note=simplified.note,
    )


def part_spec(part: Part) -> PartSpec:
    """Give what the manifest says of a part in FP32."""
    variant: Variant | None = None
    if part.role == "fusion":
        is_map = any(spec.name == "classes" for spec in part.outputs)
        variant = "classes" if is_map else "probabilities"
    return PartSpec(
        name=part.name,
        role=part.role,
        file=f"{part.name}.onnx",
        precision="fp32",
        inputs=tuple(map(_tensor_spec, part.inputs)),
        outputs=tuple(map(_tensor_spec, part.outputs)),
        variant=variant,
    )


def _tensor_spec(tensor: PartTensor) -> TensorSpec:
    dtype = cast(DType, str(tensor.dtype).removeprefix("torch."))
    return TensorSpec(name=tensor.name, dtype=dtype, shape=(BATCH, *tensor.shape))
