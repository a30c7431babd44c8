"""Read a stranger's ONNX file, and refuse by name what no bundle can hold.

Nothing is run here, and no file is read beside the graph but the weights that lie in its folder.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import (
    ModelProto,
    TensorProto,
    external_data_helper,
    inliner,
    version_converter,
)

from runtime.errors import BundleError, brief

from ..lint import DYNAMIC, RANDOM
from ..lint_graph import DOMAINS
from ..to_onnx import OPSET

LARGEST = 2 << 30
"""Bytes of graph and weights at most: what one protobuf message can hold."""

OLDEST = 7
"""Operator sets before this one have no defined way to newer ones."""

QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul"})

HALVES: dict[int, str] = {TensorProto.FLOAT16: "FP16", TensorProto.BFLOAT16: "BF16"}


def read_model(path: Path) -> ModelProto:
    """Read an ONNX file with its weights, on the operator set of all bundles.

    Returns:
        A valid graph of ONNX's own operators, without functions; every node has a name of its own,
        and no constant is an input.

    Raises:
        BundleError: If it is missing, no ONNX, damaged, too large, names weights outside its
            folder, or holds what a bundle cannot.
    """
    model = _parsed(path)
    _load_weights(model, path)
    if model.functions:
        model = inliner.inline_local_functions(model)
    _require_known(model, path)
    _check(model, path)
    model = _on_one_opset(model, path)
    _name_nodes(model)
    return model


def _parsed(path: Path) -> ModelProto:
    if not path.is_file():
        raise BundleError(f"there is no file {path}; expected an ONNX file; correct the path")
    size = path.stat().st_size
    if size > LARGEST:
        raise BundleError(
            f"{path} has {size / 2**30:.1f} GiB; expected at most {LARGEST / 2**30:.0f}; export a "
            "smaller model, or import its weights"
        )
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # the classes of protobuf have no types
        raise BundleError(
            f"{path} cannot be read as ONNX ({brief(error)}); expected a whole ONNX file; export "
            "or copy it again"
        ) from error
    if not model.graph.node or not model.opset_import:
        raise BundleError(
            f"{path} holds no graph; expected a whole ONNX file; export or copy it again"
        )
    constants = {item.name for item in model.graph.initializer}
    for value in [value for value in model.graph.input if value.name in constants]:
        model.graph.input.remove(value)
    return model


def _load_weights(model: ModelProto, path: Path) -> None:
    """Read weights that lie in files of their own, which must be plain files beside the graph."""
    outside = [t for t in _tensors(model) if t.data_location == TensorProto.EXTERNAL]
    if not outside:
        return
    folder, total = path.parent, path.stat().st_size
    for tensor in outside:
        given = {item.key: item.value for item in tensor.external_data}
        name = given.get("location", "")
        file = folder / name
        if not name or Path(name).name != name or "\\" in name or file.is_symlink():
            raise BundleError(
                f"{path} names the weights {name[:80]!r}, which is no plain file beside it; "
                "expected one; export the model again"
            )
        if not file.is_file():
            raise BundleError(
                f"{file} is missing; expected it, since {path.name} names its weights there; copy "
                "it beside"
            )
        first, length = _extent(given, file, path)
        total += length
        if first + length > file.stat().st_size or total > LARGEST:
            raise BundleError(
                f"{path} wants bytes {first} to {first + length} of {name}, which has "
                f"{file.stat().st_size}; expected weights inside the file, and at most "
                f"{LARGEST / 2**30:.0f} GiB of them; export or copy both again"
            )
    try:
        external_data_helper.load_external_data_for_model(model, str(folder))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise BundleError(
            f"the weights of {path} cannot be read ({brief(error)}); expected them beside it; "
            "export or copy both again"
        ) from error


def _extent(given: dict[str, str], file: Path, path: Path) -> tuple[int, int]:
    try:
        first = int(given.get("offset", 0))
        length = int(given.get("length", file.stat().st_size - first))
    except ValueError:
        first = length = -1
    if first < 0 or length < 0:
        raise BundleError(
            f"{path} names a place in {file.name} that is no number; expected bytes; export the "
            "model again"
        )
    return first, length


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _require_known(model: ModelProto, path: Path) -> None:
    for node in model.graph.node:
        if node.domain not in DOMAINS:
            found = f"the operator {node.domain}.{node.op_type}"
        elif node.op_type in QUANTIZED:
            found = f"{node.op_type}, so it is quantised already"
        elif node.op_type in DYNAMIC | RANDOM or any(
            a.HasField("g") or a.graphs for a in node.attribute
        ):
            found = f"the operator {node.op_type}"
        else:
            continue
        raise BundleError(
            f"{path} has {found} ({node.name or 'without a name'}); expected ONNX's own operators "
            "in FP32, without branches, loops, random numbers and sizes that depend on the data; "
            "export the model again without it"
        )
    halves = {t.data_type for t in _tensors(model)} & HALVES.keys()
    if halves:
        raise BundleError(
            f"{path} has weights in {HALVES[min(halves)]}; expected FP32, from which every other "
            "precision is made; export the model in FP32"
        )


def _check(model: ModelProto, path: Path) -> None:
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise BundleError(
            f"{path} is not valid ONNX ({brief(error)}); expected a whole ONNX file; export or "
            "copy it again"
        ) from error


def _on_one_opset(model: ModelProto, path: Path) -> ModelProto:
    found = next((item.version for item in model.opset_import if item.domain in DOMAINS), 0)
    if found == OPSET:
        converted = model
    elif found < OLDEST:
        raise BundleError(
            f"{path} is of operator set {found}; expected {OLDEST} to {OPSET}; export the model "
            f"again with opset_version={OPSET}"
        )
    else:
        try:
            converted = version_converter.convert_version(model, OPSET)
        except (RuntimeError, ValueError) as error:
            raise BundleError(
                f"{path} is of operator set {found} and cannot be brought to {OPSET} "
                f"({brief(error)}); expected {OLDEST} to {OPSET}; export the model again with "
                f"opset_version={OPSET}"
            ) from error
    own = [item for item in converted.opset_import if item.domain in DOMAINS]
    del converted.opset_import[:]
    converted.opset_import.extend(own[:1])
    return converted


def _name_nodes(model: ModelProto) -> None:
    """Give every node a name of its own: precision is decided by these names."""
    names = Counter(node.name for node in model.graph.node)
    for index, node in enumerate(model.graph.node):
        if not node.name or names[node.name] > 1:
            node.name = f"{node.op_type}.{index}"
