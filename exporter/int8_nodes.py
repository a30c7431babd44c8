"""Choose the nodes of a graph that are not quantised to INT8.

The layers at both ends have little of the work and do most of the harm. The first take raw inputs,
whose bands are of different kinds and have one scale together: height above ground reaches further
than any colour, and is cut off or leaves few steps to the rest. The last give the logits, between
which the class is decided. A map of features is no end where further layers of the part read it.

Products of two activations, as in attention, use all levels of both: processors without VNNI, which
add two INT8 products in 16 bits, would saturate. A matrix on the left of pixels, such as one that
enlarges a map, counts as such a product: OpenVINO computes it as one.
"""

from collections.abc import Callable, Iterable, Mapping

from onnx import ModelProto, NodeProto

Ends = Callable[[NodeProto], tuple[Iterable[str], Iterable[str]]]
"""Gives the tensors at the near and at the far side of a node."""

MUCH_WORK = 0.1
"""Share of the work of a part from which a layer is too dear to be left in FP16."""

IMAGE_RANK = 4
"""Inputs of fewer dimensions are dates and masks, which reach layers all over a part."""

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def keep_from_int8(model: ModelProto, work: Mapping[str, float]) -> dict[str, str]:
    """Choose the first layers that an image goes into, the last, and products of activations.

    Args:
        model: FP32 graph of a part, its nodes in order.
        work: Share of each node in the work, by name; one with much of it is quantised wherever
            it is.

    Returns:
        Why a node is not quantised, by its name.
    """
    nodes = list(model.graph.node)
    given = [
        value.name
        for value in model.graph.input
        if len(value.type.tensor_type.shape.dim) >= IMAGE_RANK
    ]
    read = {name for node in nodes if node.op_type in WEIGHTED for name in node.input}
    asked = [value.name for value in model.graph.output if value.name not in read]
    first = _reached(nodes, given, lambda node: (node.input, node.output))
    last = _reached(nodes[::-1], asked, lambda node: (node.output, set(node.input) - read))
    chosen = dict.fromkeys(last, "it gives the result of the part")
    chosen |= dict.fromkeys(first, "it takes raw inputs, whose bands share one scale")
    small = {name: why for name, why in chosen.items() if work[name] <= MUCH_WORK}
    constants = {item.name for item in model.graph.initializer}
    products = [
        node.name for node in nodes if node.op_type == "MatMul" and node.input[1] not in constants
    ]
    return small | dict.fromkeys(products, "it multiplies activations")


def _reached(nodes: Iterable[NodeProto], start: Iterable[str], ends: Ends) -> list[str]:
    """Follow tensors from node to node up to those with weights, and name these."""
    tensors, found = set(start), []
    for node in nodes:
        near, far = ends(node)
        if tensors.isdisjoint(near):
            continue
        if node.op_type in WEIGHTED:
            found.append(node.name)
        else:
            tensors.update(far)
    return found
