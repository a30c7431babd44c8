from typing import Any

import onnx
import pytest
from build_case import GRAPHS, make_part
from fake_tensorrt import make_tensorrt

from runtime.engines.network import check_network
from runtime.errors import EngineError

OTHERS = {
    "another input": (
        "uint8[N,3,8,8] tile",
        "uint8[N,3,8,8] image",
        "the inputs image; expected tile as in the manifest",
    ),
    "an input more": (
        "uint8[N,3,8,8] tile",
        "uint8[N,3,8,8] tile, float[N] days",
        "the inputs tile, days; expected tile as in the manifest",
    ),
    "another type": (
        "uint8[N,3,8,8] tile",
        "float[N,3,8,8] tile",
        "the input 'tile' as FLOAT (-1, 3, 8, 8); expected UINT8 (-1, 3, 8, 8)",
    ),
    "a fixed batch": (
        "uint8[N,3,8,8] tile",
        "uint8[1,3,8,8] tile",
        "the input 'tile' as UINT8 (1, 3, 8, 8); expected UINT8 (-1, 3, 8, 8)",
    ),
    "another size": (
        "uint8[N,3,8,8] tile",
        "uint8[N,3,9,8] tile",
        "the input 'tile' as UINT8 (-1, 3, 9, 8)",
    ),
    "an open size": (
        "uint8[N,3,8,8] tile",
        "uint8[N,3,H,8] tile",
        "the input 'tile' as UINT8 (-1, 3, -1, 8)",
    ),
    "another output": (
        "float[N,2,8,8] logits",
        "float[N,3,8,8] float_tile",
        "the outputs float_tile; expected logits as in the manifest",
    ),
    "another number of sizes": (
        "float[N,2,8,8] logits",
        "float[N,2,64] logits",
        "the output 'logits' as FLOAT (-1, 2, 64); expected FLOAT (-1, 2, 8, 8)",
    ),
}
"""What the graph has in place of what the manifest says, and the message."""


def parsed(graph: str) -> Any:
    """The network that the fake's parser makes of a graph."""
    trt = make_tensorrt("1.7.1.116")
    logger = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(logger).create_network(0)
    model = onnx.parser.parse_model(graph)
    trt.OnnxParser(network, logger).parse(model.SerializeToString())
    return network


def test_the_graph_of_the_manifest_is_taken() -> None:
    check_network(parsed(GRAPHS["fp32"]), make_part())


def test_the_size_of_an_output_may_be_open_until_it_runs() -> None:
    graph = GRAPHS["fp32"].replace("float[N,2,8,8]", "float[N,2,H,W]")
    check_network(parsed(graph), make_part())


@pytest.mark.parametrize("other", OTHERS)
def test_a_graph_with_other_inputs_or_outputs_than_the_manifest_is_refused(other: str) -> None:
    old, new, message = OTHERS[other]
    graph = GRAPHS["fp32"].replace(old, new)
    assert graph != GRAPHS["fp32"]
    with pytest.raises(EngineError, match=r"TensorRT reads part 'aerial' with") as caught:
        check_network(parsed(graph), make_part())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
