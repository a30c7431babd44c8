import json
from dataclasses import replace
from typing import Any

import pytest

from runtime.engines.inspector import (
    EngineSummary,
    LayerSummary,
    parse_inspector,
    require_precision,
    rounding_note,
)
from runtime.errors import EngineError
from runtime.manifest import PartSpec, Precision, TensorSpec
from runtime.schema import parse, to_dict

# As TensorRT 10 describes an engine: `Bindings` by name, `Format/Datatype` in one text.
OLD: dict[str, Any] = {
    "Layers": [
        {
            "Name": "Reformatting CopyNode for Input Tensor 0 to /stem/Conv",
            "LayerType": "Reformat",
            "Inputs": [
                {
                    "Name": "aerial",
                    "Location": "Device",
                    "Dimensions": [1, 5, 512, 512],
                    "Format/Datatype": "Row major linear UInt8 format",
                }
            ],
            "Outputs": [
                {
                    "Name": "Reformatted Input Tensor 0",
                    "Location": "Device",
                    "Dimensions": [1, 5, 512, 512],
                    "Format/Datatype": "Channel major FP16 format where channel % 8 == 0",
                }
            ],
            "ParameterType": "Reformat",
            "Origin": "REFORMAT",
            "TacticValue": "0x00000000000003e8",
            "StreamId": 0,
            "Metadata": "",
        },
        {
            "Name": "/stem/Conv + /stem/Relu",
            "LayerType": "CaskConvolution",
            "Inputs": [
                {
                    "Name": "Reformatted Input Tensor 0",
                    "Location": "Device",
                    "Dimensions": [1, 5, 512, 512],
                    "Format/Datatype": "Channel major FP16 format where channel % 8 == 0",
                }
            ],
            "Outputs": [
                {
                    "Name": "/stem/Relu_output_0",
                    "Location": "Device",
                    "Dimensions": [1, 64, 256, 256],
                    "Format/Datatype": "Channel major FP16 format where channel % 8 == 0",
                }
            ],
            "ParameterType": "Convolution",
            "Kernel": [3, 3],
            "Weights": {"Type": "Half", "Count": 2880},
            "Bias": {"Type": "Half", "Count": 64},
            "Activation": "RELU",
            "TacticName": "sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize",
            "TacticValue": "0x1dcf9babce3d9b3b",
            "StreamId": 0,
            "Metadata": "[ONNX Layer: /stem/Conv]\x1e[ONNX Layer: /stem/Relu]",
        },
        {
            "Name": "/head/Softmax",
            "LayerType": "kgen",
            "Inputs": [
                {
                    "Name": "/stem/Relu_output_0",
                    "Dimensions": [1, 64, 256, 256],
                    "Format/Datatype": "Float",
                }
            ],
            "Outputs": [
                {
                    "Name": "logits",
                    "Dimensions": [1, 13, 128, 128],
                    "Format/Datatype": "Float",
                }
            ],
            "TacticName": "__myl_softmax_0x3ae2",
            "StreamId": 0,
            "Metadata": "",
        },
    ],
    "Bindings": ["aerial", "logits"],
}


def new(layer: dict[str, Any]) -> dict[str, Any]:
    """The same layer as TensorRT 11 describes it: `Format` and `Datatype` apart."""
    names = {
        "Row major linear UInt8 format": "UInt8",
        "Channel major FP16 format where channel % 8 == 0": "Half",
        "Float": "Float",
    }

    def tensor(old: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in old.items() if key != "Format/Datatype"}
        text = old["Format/Datatype"]
        return {**kept, "Format": text, "Datatype": names[text]}

    return {
        **layer,
        "Inputs": [tensor(item) for item in layer["Inputs"]],
        "Outputs": [tensor(item) for item in layer["Outputs"]],
    }


def io_tensor(name: str, mode: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    return {
        "Name": name,
        "IOMode": mode,
        "DataType": datatype,
        "Dimensions": shape,
        "Location": "Device",
        "IsShapeInferenceIO": False,
        "ProfileInfo": [
            {
                "MinShape": shape,
                "OptShape": shape,
                "MaxShape": shape,
                "Format": f"Row major linear {datatype} format (kLINEAR)",
            }
        ],
    }


NEW: dict[str, Any] = {
    "Layers": [new(layer) for layer in OLD["Layers"]],
    "I/O Tensors": [
        io_tensor("aerial", "Input", "UInt8", [1, 5, 512, 512]),
        io_tensor("logits", "Output", "Float", [1, 13, 128, 128]),
    ],
    "Engine Metadata": {"Multi-Device": "Disabled"},
}

SUMMARY = EngineSummary(
    layers={"fp16": 1, "fp32": 1},
    weighted={"fp16": 1},
    largest=(
        LayerSummary(
            name="/stem/Conv + /stem/Relu",
            kind="CaskConvolution",
            precision="fp16",
            elements=64 * 256 * 256,
        ),
        LayerSummary(name="/head/Softmax", kind="kgen", precision="fp32", elements=13 * 128 * 128),
    ),
    tensors={"aerial": "uint8", "logits": "fp32"},
)


@pytest.mark.parametrize("dialect", ["OLD", "NEW"])
def test_both_dialects_give_one_summary(dialect: str) -> None:
    assert parse_inspector(json.dumps(globals()[dialect])) == SUMMARY


def test_a_summary_survives_a_record() -> None:
    stored = json.loads(json.dumps(to_dict(SUMMARY)))
    assert parse(EngineSummary, stored, where="record") == SUMMARY


@pytest.mark.parametrize("tensors", ["Bindings", "I/O Tensors"])
def test_layers_that_are_names_only_are_counted_and_nothing_is_claimed_of_them(
    tensors: str,
) -> None:
    data = {"Layers": ["/stem/Conv + /stem/Relu", "/head/Softmax"], tensors: []}
    summary = parse_inspector(json.dumps(data))
    assert summary == EngineSummary(layers={"unknown": 2}, weighted={}, largest=(), tensors={})
    for precision in PRECISIONS:
        require_precision(summary, part(precision))


def test_names_of_tensors_without_layers_that_tell_their_types_are_kept() -> None:
    data = {"Layers": ["a"], "Bindings": ["aerial", "logits"]}
    assert parse_inspector(json.dumps(data)).tensors == {"aerial": "unknown", "logits": "unknown"}


def test_an_engine_without_layers_has_an_empty_summary() -> None:
    summary = parse_inspector('{"Layers": [], "Bindings": []}')
    assert (summary.layers, summary.weighted, summary.largest) == ({}, {}, ())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        '{"Layers": 3}',
        '{"Layers": [{"Inputs": []}]}',
        '{"Layers": [], "Bindings": 3}',
        '{"Layers": [{"Name": "a", "Outputs": [3]}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_description_of_an_engine_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match=r"description of an engine cannot be read .*; expected"):
        parse_inspector(text)


def test_control_characters_in_texts_are_read_and_do_not_reach_a_terminal() -> None:
    layer = '{"Name": "a\nb\u001b[31m", "LayerType": "kgen"}'
    (found,) = parse_inspector('{"Layers": [' + layer + '], "Bindings": []}').largest
    assert found.name == "a b [31m"


def test_of_very_long_names_the_beginning_is_kept() -> None:
    data = {"Layers": [{"Name": "x" * 9999, "LayerType": "kgen"}], "Bindings": []}
    (found,) = parse_inspector(json.dumps(data)).largest
    assert found.name == "x" * 200


def test_the_ten_largest_layers_are_listed_by_the_numbers_of_one_tile() -> None:
    layers = [
        {
            "Name": f"layer {size}",
            "LayerType": "kgen",
            "Outputs": [
                {"Name": "small", "Dimensions": [-1, 1]},
                {"Name": "large", "Dimensions": [-1, size, 2]},
            ],
        }
        for size in (3, 12, 5, 1, 9, 7, 2, 8, 11, 4, 6, 10)
    ]
    found = parse_inspector(json.dumps({"Layers": layers, "Bindings": []})).largest
    assert [layer.elements for layer in found] == [24, 22, 20, 18, 16, 14, 12, 10, 8, 6]


LAYERS: dict[str, tuple[dict[str, Any], str]] = {
    "weights": ({"Weights": {"Type": "Half", "Count": 9}}, "fp16"),
    "weights of an open batch": (
        {
            "Weights": {"Type": "Int8", "Count": 9},
            "Inputs": [{"Name": "x", "Format/Datatype": "N/A due to dynamic shapes"}],
        },
        "int8",
    ),
    "inputs in several types": (
        {
            "Inputs": [
                {"Name": "x", "Datatype": "Float"},
                {"Name": "w", "Datatype": "Int8"},
                {"Name": "scale", "Datatype": "Half"},
            ]
        },
        "int8",
    ),
    "an index beside numbers": (
        {"Inputs": [{"Name": "i", "Datatype": "Int64"}, {"Name": "x", "Datatype": "Half"}]},
        "fp16",
    ),
    "a format with strides": (
        {"Inputs": [{"Name": "x", "Format/Datatype": "Half(64,1:8)"}]},
        "fp16",
    ),
    "bfloat16": ({"Inputs": [{"Name": "x", "Datatype": "BFloat16"}]}, "bf16"),
    "an INT8 kernel": (
        {"TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32"},
        "int8",
    ),
    "an FP16 kernel": ({"TacticName": "sm86_xmma_fprop_implicit_gemm_f16f16_f16f32_f32"}, "fp16"),
    "an FP32 kernel": ({"TacticName": "ampere_scudnn_128x64_relu_small_nn_v1"}, "fp32"),
    "a TF32 kernel": (
        {
            "Weights": {"Type": "Float", "Count": 9},
            "TacticName": "sm80_xmma_fprop_implicit_gemm_indexed_tf32f32_tf32f32_f32_nhwckrsc",
        },
        "tf32",
    ),
    "unsigned bytes only": ({"Inputs": [{"Name": "x", "Datatype": "UInt8"}]}, "unknown"),
    "nothing": ({"TacticName": "__myl_0x3ae2"}, "unknown"),
}


@pytest.mark.parametrize("case", LAYERS)
def test_the_precision_of_a_layer_is_that_of_weights_or_inputs_or_its_kernel(case: str) -> None:
    layer, precision = LAYERS[case]
    data = {"Layers": [{"Name": "a", "LayerType": "CaskConvolution", **layer}], "Bindings": []}
    summary = parse_inspector(json.dumps(data))
    assert (summary.layers, summary.weighted) == ({precision: 1}, {precision: 1})


@pytest.mark.parametrize("kind", ["Reformat", "NoOp", "Constant", "cast", "Quantize", "Shuffle"])
def test_layers_that_compute_nothing_do_not_count(kind: str) -> None:
    layer = {"Name": "a", "LayerType": kind, "Inputs": [{"Name": "x", "Datatype": "Half"}]}
    summary = parse_inspector(json.dumps({"Layers": [layer], "Bindings": []}))
    assert (summary.layers, summary.weighted, summary.largest) == ({}, {}, ())


WEIGHTED: dict[str, tuple[dict[str, Any], bool]] = {
    "told weights": ({"LayerType": "fusion", "Weights": {"Type": "Half"}}, True),
    "a convolution": ({"LayerType": "CaskConvolution"}, True),
    "a transposed convolution": ({"LayerType": "CaskDeconvolutionV2"}, True),
    "a matrix product": ({"LayerType": "gemm"}, True),
    "a convolution by another name": ({"LayerType": "correlation"}, True),
    "a kernel of a product": ({"LayerType": "kgen", "TacticName": "sm86_xmma_gemm_f16"}, True),
    "a softmax": ({"LayerType": "kgen", "TacticName": "__myl_softmax"}, False),
}


@pytest.mark.parametrize("case", WEIGHTED)
def test_layers_with_weights_are_counted_apart(case: str) -> None:
    layer, has_weights = WEIGHTED[case]
    data = {"Layers": [{"Name": "a", "Inputs": [], **layer}], "Bindings": []}
    assert bool(parse_inspector(json.dumps(data)).weighted) == has_weights


PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


def part(precision: Precision) -> PartSpec:
    return PartSpec(
        name="aerial",
        role="aerial",
        file="aerial.onnx",
        precision=precision,
        inputs=(TensorSpec(name="aerial", dtype="uint8", shape=("N", 5, 512, 512)),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("N", 13, 128, 128)),),
    )


FITTING: list[tuple[Precision, dict[str, int]]] = [
    ("fp32", {}),
    ("fp32", {"fp32": 3}),
    ("fp32", {"fp32": 3, "tf32": 1}),
    ("fp32", {"unknown": 3}),
    ("fp16", {}),
    ("fp16", {"fp16": 1, "fp32": 9}),
    ("fp16", {"unknown": 1, "fp32": 9}),
    ("int8", {}),
    ("int8", {"int8": 1, "fp16": 9, "fp32": 2}),
    ("int8", {"unknown": 1, "fp16": 9}),
]
OTHER: list[tuple[Precision, dict[str, int]]] = [
    ("fp32", {"fp32": 3, "fp16": 1}),
    ("fp32", {"fp32": 3, "int8": 1}),
    ("fp32", {"bf16": 1}),
    ("fp32", {"fp16": 1, "unknown": 3}),
    ("fp16", {"fp32": 9}),
    ("fp16", {"tf32": 9}),
    ("fp16", {"fp16": 9, "int8": 1}),
    ("fp16", {"fp16": 9, "bf16": 1}),
    ("int8", {"fp16": 9, "fp32": 2}),
    ("int8", {"fp32": 2}),
    ("int8", {"int8": 2, "fp8": 1}),
]


@pytest.mark.parametrize(("precision", "weighted"), FITTING)
def test_an_engine_in_the_precision_of_its_part_is_taken(
    precision: Precision, weighted: dict[str, int]
) -> None:
    require_precision(replace(SUMMARY, weighted=weighted), part(precision))


@pytest.mark.parametrize(("precision", "weighted"), OTHER)
def test_an_engine_in_another_precision_than_its_part_is_refused(
    precision: Precision, weighted: dict[str, int]
) -> None:
    with pytest.raises(EngineError) as caught:
        require_precision(replace(SUMMARY, weighted=weighted), part(precision))
    message = str(caught.value)
    assert message.startswith(f"part 'aerial' is {precision} and its engine has layers")
    assert all(f"{count} in {name}" in message for name, count in weighted.items())
    assert f"; expected {precision}" in message


def test_layers_without_weights_prove_nothing() -> None:
    summary = replace(SUMMARY, layers={"fp16": 5}, weighted={"fp32": 5})
    with pytest.raises(EngineError, match="5 in fp32; expected fp16"):
        require_precision(summary, part("fp16"))


def test_layers_that_round_to_tf32_are_noted() -> None:
    assert rounding_note(SUMMARY) == ""
    summary = replace(SUMMARY, layers={"fp32": 5, "tf32": 2})
    assert rounding_note(summary) == "2 layers compute in TF32, although it is switched off"
