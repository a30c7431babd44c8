"""Put the inputs that all bundles take before a stranger's graph, and its scores behind.

aerial uint8 (N,C,H,W) ------- Cast, scale, order of axes ------+
satellite (N,12,B,h,w) ------- scale, order of axes or mean ----+-- graph -- scores (N,K,h,w)
date_mask, days (N,12) ------- Cast ----------------------------+
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import ModelProto, TensorProto, helper, numpy_helper

from runtime.errors import BundleError, ConfigError
from runtime.manifest import TensorSpec
from runtime.part_shapes import BATCH
from runtime.satellite import MONTHS

from ..to_onnx import IR_VERSION
from .declaration import Declaration, SatelliteInput, scale_of
from .ending import Ending
from .graph_edit import INSIDE, needed, renamed

SCORES = "scores"

NUMBERS = (TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)
"""Types that a mask and days may have in the graph."""


def wrap(model: ModelProto, declaration: Declaration, ending: Ending) -> ModelProto:
    """Make one graph on the bundle's own inputs.

    Args:
        model: Graph from `read_model`; it is not changed.
        declaration: What it takes.
        ending: Where its scores are.

    Returns:
        A graph that takes `aerial`, and those of `satellite`, `date_mask` and `days` that it has a
        use for, and gives `scores`, shape (N, K, h, w); sizes inside are not inferred yet.

    Raises:
        ConfigError: If declared and found inputs differ.
        BundleError: If an input has a type that no bundle feeds.
    """
    taken = {value.name: value for value in model.graph.input}
    roles = _roles(taken, declaration)
    inner = needed(model, [ending.scores])
    used = {value.name for value in inner.graph.input}
    for role in {"aerial", "satellite"} & roles.keys():
        if roles[role] not in used:
            raise BundleError(
                f"'{roles[role]}' does not lead to the output; expected a graph that makes its "
                f"map of it; correct {role}.input or output.output"
            )
    for role, name in roles.items():
        _require_fit(role, taken[name], declaration)
    del inner.graph.input[:]
    renamed(inner, {}, INSIDE)
    out = _Building(inner)
    _aerial(out, f"{INSIDE}{roles['aerial']}", taken[roles["aerial"]], declaration)
    if declaration.satellite is not None:
        _satellite(out, {r: n for r, n in roles.items() if n in used}, taken, declaration.satellite)
    return out.finish(_inputs(declaration), f"{INSIDE}{ending.scores}", declaration)


def _inputs(declaration: Declaration) -> tuple[TensorSpec, ...]:
    """What a bundle of these inputs may take."""
    aerial, satellite = declaration.aerial, declaration.satellite
    side = aerial.tile_size
    found = [TensorSpec(name="aerial", dtype="uint8", shape=(BATCH, len(aerial.bands), side, side))]
    if satellite is not None:
        window = (satellite.window, satellite.window)
        shape = (BATCH, MONTHS, len(satellite.bands), *window)
        found += [
            TensorSpec(name="satellite", dtype="float32", shape=shape),
            TensorSpec(name="date_mask", dtype="float32", shape=(BATCH, MONTHS)),
            TensorSpec(name="days", dtype="float32", shape=(BATCH, MONTHS)),
        ]
    return tuple(found)


def _roles(taken: Mapping[str, onnx.ValueInfoProto], declaration: Declaration) -> dict[str, str]:
    """Name in the graph of each declared input."""
    satellite = declaration.satellite
    others = {} if satellite is None else {"satellite": satellite.input}
    if satellite is not None and satellite.mask:
        others["date_mask"] = satellite.mask
    if satellite is not None and satellite.days:
        others["days"] = satellite.days
    left = [name for name in taken if name not in others.values()]
    aerial = declaration.aerial.input or (left[0] if len(left) == 1 else "")
    roles = {"aerial": aerial, **others}
    shown = ", ".join(taken) or "nothing"
    for role, name in roles.items():
        if name not in taken:
            what = f"'{name}' is declared as {role}" if name else "aerial.input is not given"
            raise ConfigError(f"{what}, and the graph takes {shown}; correct the declaration")
    spare = [name for name in taken if name not in roles.values()]
    if spare or len(set(roles.values())) < len(roles):
        what = f"'{spare[0]}' is declared as nothing" if spare else "an input is declared twice"
        raise ConfigError(
            f"{what}; expected each of {shown} once, as aerial.input, or satellite.input, mask or "
            "days; correct the declaration, or export the model without it"
        )
    return roles


def _require_fit(role: str, value: onnx.ValueInfoProto, declaration: Declaration) -> None:
    """Refuse an input of other sizes or of another type than declared."""
    tensor = value.type.tensor_type
    allowed: tuple[int, ...] = {
        "aerial": (TensorProto.FLOAT, TensorProto.UINT8),
        "satellite": (TensorProto.FLOAT,),
    }.get(role, NUMBERS)
    if tensor.elem_type not in allowed:
        kinds = " or ".join(TensorProto.DataType.Name(kind).lower() for kind in allowed)
        found = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise BundleError(
            f"the input '{value.name}' takes {found}; expected {kinds}; export the model again"
        )
    sizes = [dim.dim_value or None for dim in tensor.shape.dim]
    layout, wanted = _sizes(role, declaration)
    fits = len(sizes) == len(wanted) and all(
        size is None or size == right for size, right in zip(sizes, wanted, strict=True)
    )
    if not fits:
        found = " x ".join("?" if size is None else str(size) for size in sizes) or "one number"
        raise ConfigError(
            f"the input '{value.name}' has sizes {found}; expected "
            f"{' x '.join(map(str, wanted))} ({layout}) as declared, with a batch of 1 or any; "
            "correct the declaration, or export the model again"
        )


def _sizes(role: str, declaration: Declaration) -> tuple[str, tuple[int, ...]]:
    """Order of the axes of an input, and its sizes for a batch of 1."""
    aerial, satellite = declaration.aerial, declaration.satellite
    if role == "aerial" or satellite is None:
        layout: str = aerial.layout
        sides = {"C": len(aerial.bands), "H": aerial.tile_size, "W": aerial.tile_size}
    else:
        layout = satellite.layout if role == "satellite" else "NT"
        window = satellite.window
        sides = {"T": MONTHS, "B": len(satellite.bands), "h": window, "w": window}
    return layout, tuple({"N": 1, **sides}[axis] for axis in layout)


@dataclass
class _Building:
    """A graph that nodes are put before."""

    model: ModelProto
    before: list[onnx.NodeProto] = field(default_factory=list)

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.before.append(_node(kind, inputs, output, attributes))
        return output

    def number(self, name: str, values: ArrayLike, dtype: type = np.float32) -> str:
        tensor = numpy_helper.from_array(np.asarray(values, dtype=dtype), name)
        self.model.graph.initializer.append(tensor)
        return name

    def finish(
        self, inputs: Sequence[TensorSpec], scores: str, declaration: Declaration
    ) -> ModelProto:
        """Give the whole graph, with its inputs and output."""
        graph = self.model.graph
        last = _node("Identity", [scores], SCORES, {})
        if declaration.output.layout == "NHWC":
            last = _node("Transpose", [scores], SCORES, {"perm": (0, 3, 1, 2)})
        nodes = [*self.before, *graph.node, last]
        whole = ModelProto(ir_version=IR_VERSION)
        whole.opset_import.extend(self.model.opset_import)
        whole.graph.name = "model"
        whole.graph.node.extend(nodes)
        whole.graph.initializer.extend(graph.initializer)
        kinds = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
        whole.graph.input.extend(
            helper.make_tensor_value_info(spec.name, kinds[spec.dtype], spec.shape)
            for spec in inputs
        )
        sizes = (BATCH, None, None, None)
        whole.graph.output.append(helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, sizes))
        return needed(whole, [SCORES])


def _node(
    kind: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Any]
) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), [output], name=f"{kind}.{output}", **attributes)


def _aerial(
    out: _Building, target: str, value: onnx.ValueInfoProto, declaration: Declaration
) -> None:
    mean, std = scale_of(declaration.aerial)
    name = out.node("Cast", ["aerial"], "aerial/pixels", to=TensorProto.FLOAT)
    name = _scaled(out, name, mean, std, (1, -1, 1, 1))
    if declaration.aerial.layout == "NHWC":
        name = out.node("Transpose", [name], "aerial/ordered", perm=(0, 2, 3, 1))
    if value.type.tensor_type.elem_type == TensorProto.FLOAT:
        out.node("Identity", [name], target)
    else:
        _skip_casts(out, name, target, scaled=bool(mean.any() or (std != 1).any()))


def _skip_casts(out: _Building, name: str, target: str, *, scaled: bool) -> None:
    """Let pixels in floating point stand for the casts of a graph that takes uint8."""
    takers = [node for node in out.model.graph.node if target in node.input]
    casts = [n for n in takers if n.op_type == "Cast" and n.attribute[0].i == TensorProto.FLOAT]
    if scaled or len(casts) < len(takers):
        kinds = "a scale is declared" if scaled else ", ".join(n.op_type for n in takers)
        raise BundleError(
            f"the input '{target.removeprefix(INSIDE)}' takes uint8, and {kinds} follows; expected "
            "a Cast to float32 and no declared scale; export the model with a float32 input"
        )
    for cast in casts:
        out.node("Identity", [name], cast.output[0])
        out.model.graph.node.remove(cast)


def _satellite(
    out: _Building,
    roles: Mapping[str, str],
    taken: Mapping[str, onnx.ValueInfoProto],
    given: SatelliteInput,
) -> None:
    count = len(given.bands)
    mean = np.array(given.mean or (0.0,) * count) / given.scale
    std = np.array(given.std or (1.0,) * count) / given.scale
    name = "satellite"
    if given.layout == "NBhw":
        name = _mean_of_months(out, name)
    shape = (1, -1, 1, 1) if given.layout == "NBhw" else (1, 1, -1, 1, 1)
    name = _scaled(out, name, mean, std, shape)
    if given.layout == "NBThw":
        name = out.node("Transpose", [name], "satellite/ordered", perm=(0, 2, 1, 3, 4))
    out.node("Identity", [name], f"{INSIDE}{roles['satellite']}")
    for role in ("date_mask", "days"):
        if role not in roles:
            continue
        name, kind = role, taken[roles[role]].type.tensor_type.elem_type
        if role == "date_mask" and given.mask_means == "absent":
            one = out.number("date_mask/one", 1.0)
            name = out.node("Sub", [one, name], "date_mask/absent")
        if kind != TensorProto.FLOAT:
            name = out.node("Cast", [name], f"{role}/cast", to=kind)
        out.node("Identity", [name], f"{INSIDE}{roles[role]}")


def _mean_of_months(out: _Building, name: str) -> str:
    """Average the months that hold a date; the others are 0."""
    axis = out.number("satellite/months", [1], np.int64)
    sides = out.number("satellite/sides", [2, 3], np.int64)
    least = out.number("satellite/least", 1.0)
    total = out.node("ReduceSum", [name, axis], "satellite/sum", keepdims=0)
    count = out.node("ReduceSum", ["date_mask", axis], "satellite/count", keepdims=1)
    count = out.node("Max", [count, least], "satellite/months_held")
    count = out.node("Unsqueeze", [count, sides], "satellite/divisor")
    return out.node("Div", [total, count], "satellite/mean")


def _scaled(
    out: _Building, name: str, mean: ArrayLike, std: ArrayLike, shape: tuple[int, ...]
) -> str:
    source = name.partition("/")[0]
    if np.any(np.asarray(mean) != 0):
        offset = out.number(f"{source}/offset", np.reshape(mean, shape))
        name = out.node("Sub", [name, offset], f"{source}/centred")
    if np.any(np.asarray(std) != 1):
        factor = out.number(f"{source}/factor", np.reshape(1.0 / np.asarray(std), shape))
        name = out.node("Mul", [name, factor], f"{source}/scaled")
    return name
