import dataclasses

import numpy as np
import onnx
import pytest

from exporter.export import Exported
from exporter.lint import RULES, Finding, lint, require_clean
from exporter.lint_precision import found_precision
from runtime.errors import BundleError
from runtime.manifest import DType, PartSpec, Precision, TensorSpec


def spec(
    dtypes: tuple[DType, DType] = ("float32", "float32"), precision: Precision = "fp32"
) -> PartSpec:
    shape = ("N", 3, 8, 8)
    return PartSpec(
        name="aerial",
        role="aerial",
        file="aerial.onnx",
        precision=precision,
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
    "a size that depends on numbers": (
        make(
            """top = ReduceMax <keepdims = 0> (x) whole = Cast <to = 7> (top)
            shape = Unsqueeze (whole, whole) large = Expand (x, shape) out = Relu (large)"""
        ),
        "sizes",
    ),
    "an ArgMax that leaves in 64 bits": (
        make("out = ArgMax <axis = 1> (x)", "float[N,3,8,8] x, int64[N,3,8,8] out"),
        "indices",
    ),
    "a constant that is not a number": (
        make("c = Constant <value_float = nan> () out = Max (x, c)"),
        "constants",
    ),
    "batch norm": (make("out = BatchNormalization (x, x, x, x, x)"), "norms"),
    "layer norm in pieces, with Pow": (
        make(LAYER_NORM.format(square="Pow (centred, two)")),
        "norms",
    ),
    "layer norm in pieces, with Mul": (
        make(LAYER_NORM.format(square="Mul (centred, centred)")),
        "norms",
    ),
    "layer norm in pieces, with Cast": (
        make(
            """axes = Constant <value_ints = [-1]> () mean = ReduceMean (x, axes)
            half = Cast <to = 10> (mean) full = Cast <to = 1> (half) centred = Sub (x, full)
            square = Mul (centred, centred) s16 = Cast <to = 10> (square)
            s32 = Cast <to = 1> (s16) variance = ReduceMean (s32, axes)
            deviation = Sqrt (variance) out = Div (centred, deviation)"""
        ),
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
    "a nearest resize that rounds otherwise": (
        make(
            RESIZE.format(
                attributes='mode = "nearest", coordinate_transformation_mode = "asymmetric", '
                'nearest_mode = "ceil"'
            )
        ),
        "resize",
    ),
    "a smoothed resize": (
        make(RESIZE.format(attributes='mode = "linear", antialias = 1')),
        "resize",
    ),
}


def test_pixels_may_be_repeated() -> None:
    attributes = (
        'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
    )
    assert rules(make(RESIZE.format(attributes=attributes))) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_breaks_its_rule_and_no_other(fault: str) -> None:
    model, rule = FAULTS[fault]
    assert set(rules(model)) == {rule}


CONV = "Conv <kernel_shape = [1, 1]>"
UP = "ConvTranspose <kernel_shape = [1, 1]>"
HALF = "h = Cast <to = 10> (x)"

CONVERTED: dict[str, tuple[str, Precision, str | None]] = {
    "raw numbers scaled in FP16": (
        f"{HALF} s = Mul (h, c16) out = Cast <to = 1> (s)",
        "fp16",
        "raw",
    ),
    "raw numbers turned round, then scaled in FP16": (
        f"{HALF} t = Transpose <perm = [0, 1, 2, 3]> (h) s = Sub (t, c16) out = Cast <to = 1> (s)",
        "fp16",
        "raw",
    ),
    "raw numbers convolved in FP16": (
        f"{HALF} s = {CONV} (h, w16) out = Cast <to = 1> (s)",
        "fp16",
        "raw",
    ),
    "numbers scaled in FP32": (
        "f = Cast <to = 1> (x) s = Mul (f, c32) h = Cast <to = 10> (s) "
        f"y = {CONV} (h, w16) out = Cast <to = 1> (y)",
        "fp16",
        None,
    ),
    "a mask of infinity": (
        "f = Cast <to = 1> (x) c = Constant <value_float = -inf> () m = Max (f, c) "
        "s = Mul (m, c32) h = Cast <to = 10> (s) out = Cast <to = 1> (h)",
        "fp16",
        "constants",
    ),
    "a mask of -1e9 that was cut off": (
        "f = Cast <to = 1> (x) s = Mul (f, c32) h = Cast <to = 10> (s) m = Max (h, end16) "
        "out = Cast <to = 1> (m)",
        "fp16",
        "constants",
    ),
    "a mask of -1e9 on its way to FP16": (
        "f = Cast <to = 1> (x) s = Mul (f, c32) c = Constant <value_float = -1e9> () "
        "m = Max (s, c) h = Cast <to = 10> (m) out = Cast <to = 1> (h)",
        "fp16",
        "constants",
    ),
    "a mask of -1e9 that stays in FP32": (
        "f = Cast <to = 1> (x) s = Mul (f, c32) c = Constant <value_float = -1e9> () "
        "m = Max (s, c) t = Softmax (m) h = Cast <to = 10> (t) out = Cast <to = 1> (h)",
        "fp16",
        None,
    ),
    "a quantised transposed convolution": (
        "f = Cast <to = 1> (x) q = QuantizeLinear (f, c1) d = DequantizeLinear (q, c1) "
        f"v = DequantizeLinear (w8, c1) out = {UP} (d, v)",
        "int8",
        "transposed",
    ),
    "a quantised convolution": (
        "f = Cast <to = 1> (x) q = QuantizeLinear (f, c1) d = DequantizeLinear (q, c1) "
        f"v = DequantizeLinear (w8, c1) out = {CONV} (d, v)",
        "int8",
        None,
    ),
    "work in FP32 that was to be in FP16": (
        f"f = Cast <to = 1> (x) out = {CONV} (f, w32)",
        "fp16",
        "precision",
    ),
    "weights in INT8, work in FP32": (
        f"f = Cast <to = 1> (x) v = DequantizeLinear (w8, c1) out = {CONV} (f, v)",
        "int8",
        "precision",
    ),
    "work in FP16 that was to be in FP32": (
        "f = Cast <to = 1> (x) s = Mul (f, c32) h = Cast <to = 10> (s) "
        f"v = Cast <to = 10> (w32) y = {CONV} (h, v) out = Cast <to = 1> (y)",
        "fp32",
        "precision",
    ),
    "work of unknown size": (
        "f = Cast <to = 1> (x) top = ReduceMax <keepdims = 0> (f) i = Cast <to = 7> (top) "
        "s = Unsqueeze (i, i) e = Expand (f, s) m = MatMul (e, e) out = Relu (f)",
        "fp16",
        "sizes",
    ),
}


def with_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Add those constants that the nodes use."""
    values = {
        "c1": np.float32(0.5),
        "c32": np.float32(0.5),
        "c16": np.float16(0.5),
        "end16": np.float16(-65504),
        "w32": np.ones((3, 3, 1, 1), dtype=np.float32),
        "w16": np.ones((3, 3, 1, 1), dtype=np.float16),
        "w8": np.ones((3, 3, 1, 1), dtype=np.int8),
    }
    used = {name for node in model.graph.node for name in node.input}
    for name in sorted(used & values.keys()):
        array = np.asarray(values[name])
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


@pytest.mark.parametrize("case", CONVERTED)
def test_each_fault_of_a_converted_graph_breaks_its_rule_and_no_other(case: str) -> None:
    body, precision, rule = CONVERTED[case]
    model = with_constants(make(body, "uint8[N,3,8,8] x, float[N,3,8,8] out"))
    found = {finding.rule for finding in lint(model, spec(("uint8", "float32"), precision))}
    # What has no known size has no known work either.
    expected = {rule, "precision"} if case == "work of unknown size" else {rule} - {None}
    assert found == expected


def test_quantised_transposed_convolutions_are_clean_where_they_are_wanted() -> None:
    body, precision, _ = CONVERTED["a quantised transposed convolution"]
    model = with_constants(make(body, "uint8[N,3,8,8] x, float[N,3,8,8] out"))
    part = spec(("uint8", "float32"), precision)
    assert lint(model, part, transposed=True) == ()
    require_clean(model, part, transposed=True)
    with pytest.raises(BundleError, match="breaks the rule 'transposed': Q/DQ on ConvTranspose"):
        require_clean(model, part)


@pytest.mark.parametrize(("name", "found"), [("satellite", ["raw"]), ("aerial_logits", [])])
def test_only_inputs_that_mean_nothing_unscaled_are_raw(name: str, found: list[str]) -> None:
    body = f"h = Cast <to = 10> ({name}) s = Mul (h, c16) out = Cast <to = 1> (s)"
    model = with_constants(make(body.replace(name, "x")))
    model.graph.input[0].name = model.graph.node[0].input[0] = name
    inputs = (dataclasses.replace(spec().inputs[0], name=name),)
    part = dataclasses.replace(spec(precision="fp16"), inputs=inputs)
    assert [finding.rule for finding in lint(model, part)] == found


def test_an_infinity_in_fp32_is_clean() -> None:
    assert rules(make("c = Constant <value_float = -inf> () out = Max (x, c)")) == []


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


@pytest.mark.parametrize(
    ("case", "found"),
    [
        ("numbers scaled in FP32", "fp16"),
        ("a quantised convolution", "int8"),
        ("work in FP32 that was to be in FP16", "fp32"),
    ],
)
def test_the_precision_of_a_graph_with_several_types_is_that_of_its_work(
    case: str, found: str
) -> None:
    model = with_constants(make(CONVERTED[case][0], "uint8[N,3,8,8] x, float[N,3,8,8] out"))
    assert found_precision(model) == found


def test_the_precision_of_a_graph_that_is_neither_is_its_shares() -> None:
    body = (
        f"s = Mul (x, c32) h = Cast <to = 10> (s) a = {CONV} (h, w16) b = {CONV} (s, w32) "
        "f = Cast <to = 1> (a) out = Add (b, f)"
    )
    assert found_precision(with_constants(make(body))) == "50 % FP16, 50 % FP32"


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
    tested = {rule for _, rule in FAULTS.values()} | {"uint8"}
    tested |= {rule for _, _, rule in CONVERTED.values() if rule is not None}
    assert tested == set(RULES)


def test_the_exported_graphs_are_clean(
    exported: Exported, graphs: dict[str, onnx.ModelProto]
) -> None:
    for part in exported.bundle.manifest.parts:
        assert lint(graphs[part.name], part) == ()
