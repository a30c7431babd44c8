import numpy as np
import onnx
import pytest

from exporter.export import Exported
from exporter.lint import RULES, Finding, found_precision, lint, require_clean
from runtime.errors import BundleError
from runtime.manifest import DType, PartSpec, TensorSpec


def spec(dtypes: tuple[DType, DType] = ("float32", "float32")) -> PartSpec:
    shape = ("N", 3, 8, 8)
    return PartSpec(
        name="aerial",
        role="aerial",
        file="aerial.onnx",
        precision="fp32",
        inputs=(TensorSpec(name="x", dtype=dtypes[0], shape=shape),),
        outputs=(TensorSpec(name="out", dtype=dtypes[1], shape=shape),),
    )


def make(
    body: str, types: str = "float[N,3,8,8] x, float[N,3,8,8] out", head: str = ""
) -> onnx.ModelProto:
    given, result = types.split(" x, ")
    head = head or 'ir_version: 10, opset_import: ["" : 20]'
    return onnx.parser.parse_model(f"<{head}> g ({given} x) => ({result}) {{{body}}}")


def rules(
    model: onnx.ModelProto, dtypes: tuple[DType, DType] = ("float32", "float32")
) -> list[str]:
    return [finding.rule for finding in lint(model, spec(dtypes))]


CLEAN = "out = Relu (x)"
LAYER_NORM = """
    axes = Constant <value_ints = [-1]> ()
    two = Constant <value_float = 2.0> ()
    mean = ReduceMean (x, axes)
    centred = Sub (x, mean)
    square = {square}
    variance = ReduceMean (square, axes)
    deviation = Sqrt (variance)
    out = Div (centred, deviation)
"""
RESIZE = """
    scales = Constant <value_floats = [1.0, 1.0, 1.0, 1.0]> ()
    out = Resize <{attributes}> (x, , scales)
"""
UINT8 = "uint8[N,3,8,8] x, uint8[N,3,8,8] out"

FAULTS: dict[str, tuple[onnx.ModelProto, str]] = {
    "an operator set that is too new": (
        make(CLEAN, head='ir_version: 10, opset_import: ["" : 21]'),
        "versions",
    ),
    "an operator set that is too old": (
        make(CLEAN, head='ir_version: 10, opset_import: ["" : 16]'),
        "versions",
    ),
    "a foreign operator set": (
        make(CLEAN, head='ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]'),
        "versions",
    ),
    "a newer format": (make(CLEAN, head='ir_version: 11, opset_import: ["" : 20]'), "versions"),
    "another name": (make("y = Relu (x)", "float[N,3,8,8] x, float[N,3,8,8] y"), "interface"),
    "another size": (make(CLEAN, "float[N,3,8,8] x, float[N,3,9,9] out"), "interface"),
    "a fixed batch": (make(CLEAN, "float[1,3,8,8] x, float[1,3,8,8] out"), "interface"),
    "a free size": (make(CLEAN, "float[N,3,H,8] x, float[N,3,H,8] out"), "interface"),
    "a size that depends on the data": (make("i = NonZero (x) out = Relu (x)"), "operators"),
    "random numbers": (make("r = RandomNormalLike (x) out = Add (x, r)"), "operators"),
    "dropout": (make("out = Dropout (x)"), "operators"),
    "an operator of somebody else": (make("out = other.Relu (x)"), "operators"),
    "batch norm": (make("out = BatchNormalization (x, x, x, x, x)"), "norms"),
    "layer norm in pieces, with Pow": (
        make(LAYER_NORM.format(square="Pow (centred, two)")),
        "norms",
    ),
    "layer norm in pieces, with Mul": (
        make(LAYER_NORM.format(square="Mul (centred, centred)")),
        "norms",
    ),
    "corners aligned": (
        make(
            RESIZE.format(
                attributes='mode = "linear", coordinate_transformation_mode = "align_corners"'
            )
        ),
        "resize",
    ),
    "a cubic resize": (make(RESIZE.format(attributes='mode = "cubic"')), "resize"),
    "a nearest resize": (make(RESIZE.format(attributes='mode = "nearest"')), "resize"),
    "a smoothed resize": (
        make(RESIZE.format(attributes='mode = "linear", antialias = 1')),
        "resize",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_breaks_its_rule_and_no_other(fault: str) -> None:
    model, rule = FAULTS[fault]
    assert set(rules(model)) == {rule}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("t = Transpose (x) f = Cast <to = 1> (t) out = Cast <to = 2> (f)", ["uint8"]),
        ("f = Cast <to = 1> (x) u = Identity (x) out = Cast <to = 2> (f)", ["uint8"]),
        ("f = Cast <to = 1> (x) i = ArgMax (f) out = Cast <to = 2> (i)", ["uint8"]),
        ("f = Cast <to = 1> (x) u = Cast <to = 2> (f) out = Identity (u)", ["uint8"]),
        ("f = Cast <to = 1> (x) r = Round (f) out = Cast <to = 2> (r)", []),
        ("f = Cast <to = 1> (x) i = ArgMax (f) g = Cast <to = 1> (i) out = Cast <to = 2> (g)", []),
    ],
)
def test_uint8_touches_nothing_but_a_cast(body: str, found: list[str]) -> None:
    assert rules(make(body, UINT8), ("uint8", "uint8")) == found


@pytest.mark.parametrize("mode", ["half_pixel", "pytorch_half_pixel"])
def test_a_linear_resize_at_half_pixels_is_clean(mode: str) -> None:
    attributes = f'mode = "linear", coordinate_transformation_mode = "{mode}"'
    assert rules(make(RESIZE.format(attributes=attributes))) == []


def test_a_layer_norm_in_one_piece_is_clean() -> None:
    assert rules(make("out = LayerNormalization (x, x)")) == []


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        (np.float32, "fp32"),
        (np.float16, "fp16"),
        (np.float64, "fp64"),
        (np.int64, "fp32"),
    ],
)
def test_the_precision_is_read_from_the_weights(kind: type, precision: str) -> None:
    model = make(CLEAN)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(3, kind), "w"))
    assert found_precision(model) == precision
    assert rules(model) == ([] if precision == "fp32" else ["precision"])


def test_quantized_nodes_are_int8() -> None:
    assert found_precision(make("q = QuantizeLinear (x, x) out = Relu (x)")) == "int8"


def test_a_graph_that_breaks_a_rule_is_refused_with_part_and_remedy() -> None:
    with pytest.raises(BundleError, match="part 'aerial' breaks the rule 'operators': NonZero"):
        require_clean(make("i = NonZero (x) out = Relu (x)"), spec())


def test_several_findings_are_counted() -> None:
    model = make("i = NonZero (x) out = Dropout (x)")
    assert lint(model, spec()) == (
        Finding("operators", "NonZero (); expected none"),
        Finding("operators", "Dropout (); expected none"),
    )
    with pytest.raises(BundleError, match=r"\(and 1 more\)"):
        require_clean(model, spec())


def test_every_rule_is_tested() -> None:
    tested = {rule for _, rule in FAULTS.values()} | {"uint8", "precision"}
    assert tested == set(RULES)


def test_the_exported_graphs_are_clean(
    exported: Exported, graphs: dict[str, onnx.ModelProto]
) -> None:
    for part in exported.bundle.manifest.parts:
        assert lint(graphs[part.name], part) == ()
