"""Make the sizes inside a graph follow from nothing but the batch.

Graphs that were traced for any height and width compute sizes while they run. On tiles of one size
these are constants, which is found out by running the graph with a batch of 1 and of 2: what is the
same in both becomes a constant, and what follows the batch stays, in a form that needs no numbers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from runtime.errors import BundleError, brief

from ..lint import RANDOM
from .graph_edit import constants, known_values, needed
from .wrap import SCORES

LARGEST_VALUE = 1 << 30
"""Numbers in one value for a batch of 2, at most."""

LARGEST_CONSTANT = 1 << 24
"""Numbers in a constant that is computed here, at most."""

Feed = Mapping[str, NDArray[Any]]

SHAPES = frozenset({"Shape", "Size"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A graph whose sizes follow from its batch."""

    model: ModelProto
    scores: tuple[int, ...]
    """Shape (1, K, h, w) of the scores for a batch of 1."""
    notes: tuple[str, ...]
    """What was changed for it."""


def settle(model: ModelProto, pair: Feed) -> Settled:
    """Make sizes constant, and the batch free.

    Args:
        model: Graph from `wrap`; it is not changed.
        pair: Inputs of a batch of 2; it may hold more than the graph takes.

    Raises:
        BundleError: If the graph does not run on the declared sizes, works for a batch of 1 only,
            or holds values beyond all measure.
    """
    _require_sane(model)
    notes: list[str] = []
    asked = _frontier(model)
    feed = {value.name: pair[value.name] for value in model.graph.input}
    single = _run(model, asked, {name: array[:1] for name, array in feed.items()})
    if isinstance(single, str):
        raise BundleError(
            f"the graph does not run on the declared inputs ({single}); expected sizes that fit; "
            "correct tile_size, bands or layout"
        )
    double = _run(model, asked, feed)
    if isinstance(double, str):
        model = _with_free_batch(model, single)
        double = _run(model, asked, feed)
        notes.append("made for a batch of 1; reshapes follow the batch now")
    if isinstance(double, str) or len(double[SCORES]) != 2:
        why = f" ({double})" if isinstance(double, str) else ""
        raise BundleError(
            f"the graph works for a batch of 1 only{why}; expected any batch; export the model "
            "again with a batch that varies"
        )
    if single[SCORES].ndim != 4:
        raise BundleError(
            f"the scores have shape {single[SCORES].shape}; expected four axes, batch, classes, "
            "rows and columns; correct output.output"
        )
    settled = _with_constants(model, single, double)
    return Settled(model=settled, scores=single[SCORES].shape, notes=tuple(notes))


def _require_sane(model: ModelProto) -> None:
    for name, known in known_values(model, 2).items():
        if known.shape is not None and prod(known.shape) > LARGEST_VALUE:
            raise BundleError(
                f"the value '{name[:80]}' has sizes {list(known.shape)}; expected at most "
                f"{LARGEST_VALUE} numbers in a value; correct tile_size, or export a smaller model"
            )


def _run(model: ModelProto, asked: Iterable[str], feed: Feed) -> dict[str, NDArray[Any]] | str:
    """Give the values that are asked for, or why the graph does not run."""
    exposed = ModelProto()
    exposed.CopyFrom(model)
    known = {value.name for value in exposed.graph.output}
    names = [*known, *(name for name in asked if name not in known)]
    for value in exposed.graph.output:
        value.type.tensor_type.ClearField("shape")
    exposed.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            exposed.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return dict(zip(names, session.run(names, dict(feed)), strict=True))
    except Exception as error:  # its exception classes are private and share no base
        return brief(error)


def _frontier(model: ModelProto) -> list[str]:
    """Values that follow from sizes and constants alone, and that something else takes."""
    fixed = set(constants(model))
    sizes: dict[str, NodeProto] = {}
    for node in model.graph.node:
        given = [name for name in node.input if name]
        alone = node.op_type not in RANDOM and all(n in fixed or n in sizes for n in given)
        if node.op_type in SHAPES or alone:
            sizes.update({name: node for name in node.output if name})
    inside = {node.output[0] for node in sizes.values()}
    taken = {n for node in model.graph.node if node.output[0] not in inside for n in node.input}
    return [name for name in sizes if name in taken]


def _with_free_batch(model: ModelProto, single: Feed) -> ModelProto:
    """Let the first size of every reshape follow from the others, and resize by factors.

    The batch is the outermost axis, whatever it is joined with.
    """
    freed = ModelProto()
    freed.CopyFrom(model)
    sizes_only = (t for t in freed.graph.initializer if t.data_type == TensorProto.INT64)
    values = {item.name: numpy_helper.to_array(item) for item in sizes_only} | dict(single)
    # With the sizes of one tile as constants, the shapes of all values follow.
    shapes = known_values(_with_constants(freed, single, single), 1)
    for node in freed.graph.node:
        place = {"Reshape": 1, "Resize": 3}.get(node.op_type, len(node.input))
        if place >= len(node.input):
            continue
        target = values.get(node.input[place])
        of = node.output[0] if node.op_type == "Reshape" else node.input[0]
        known = shapes.get(of)
        if target is None or known is None or not known.shape:
            continue
        if node.op_type == "Reshape":
            sizes = np.array([-1, *known.shape[1:]], dtype=np.int64)
            freed.graph.initializer.append(numpy_helper.from_array(sizes, f"{of}.sizes"))
            node.input[1] = f"{of}.sizes"
        else:
            _scale(freed, node, known.shape, target, target)
    return freed


def _with_constants(model: ModelProto, single: Feed, double: Feed) -> ModelProto:
    """Put constants in place of sizes; those that follow the batch become scales or copies."""
    fixed = ModelProto()
    fixed.CopyFrom(model)
    same = {
        name: array
        for name, array in single.items()
        if name != SCORES and array.size <= LARGEST_CONSTANT and np.array_equal(array, double[name])
    }
    taken = {name for node in fixed.graph.node for name in node.input}
    for node in fixed.graph.node:
        for place, name in enumerate(node.input):
            if name in same:
                node.input[place] = f"{name}.fixed"
    for name, array in same.items():
        if name in taken:
            # ONNX Runtime gives its arrays as they lie; a tensor is stored by rows.
            tensor = numpy_helper.from_array(np.ascontiguousarray(array), f"{name}.fixed")
            tensor.dims[:] = array.shape
            fixed.graph.initializer.append(tensor)
    shapes = known_values(fixed, 1)
    for node in fixed.graph.node:
        if node.op_type == "Reshape" and node.input[1] in single:
            _copy_batch(fixed, node, single[node.input[1]], double[node.input[1]])
        elif node.op_type == "Resize" and len(node.input) > 3 and node.input[3] in single:
            known = shapes.get(node.input[0])
            if known is not None and known.shape is not None:
                _scale(fixed, node, known.shape, single[node.input[3]], double[node.input[3]])
    return needed(fixed, [SCORES])


def _copy_batch(
    model: ModelProto, node: NodeProto, single: NDArray[Any], double: NDArray[Any]
) -> None:
    """Let a reshape work out the one size that follows the batch."""
    moving = np.flatnonzero(single != double)
    if moving.size == 1 and (single > 0).all():
        sizes = single.astype(np.int64)
        sizes[moving[0]] = -1
        name = f"{node.output[0]}.sizes"
        model.graph.initializer.append(numpy_helper.from_array(sizes, name))
        node.input[1] = name


def _scale(
    model: ModelProto,
    node: NodeProto,
    shape: tuple[int, ...],
    single: NDArray[Any],
    double: NDArray[Any],
) -> None:
    """Say a resize by its factors, which hold for every batch, where they are exact."""
    axes = next((list(a.ints) for a in node.attribute if a.name == "axes"), range(len(shape)))
    before = [shape[axis] for axis in axes]
    factors = [new / old for new, old in zip(single, before, strict=True)]
    exact = [int(np.floor(np.float32(f) * o)) for f, o in zip(factors, before, strict=True)]
    unmoved = np.array_equal(single[1:], double[1:]) and 0 in axes
    policy = any(a.name == "keep_aspect_ratio_policy" for a in node.attribute)
    if policy or not unmoved or exact != [int(size) for size in single]:
        return
    name = f"{node.output[0]}.factors"
    scales = numpy_helper.from_array(np.array(factors, dtype=np.float32), name)
    model.graph.initializer.append(scales)
    node.input[:] = [node.input[0], node.input[1], name]
