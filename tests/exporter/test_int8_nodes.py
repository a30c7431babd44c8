"""The layers at both ends of a part, and products of activations, are left out of INT8."""

import onnx
import pytest

from exporter.int8_nodes import keep_from_int8

FIRST = "it takes raw inputs, whose bands share one scale"
LAST = "it gives the result of the part"
PRODUCT = "it multiplies activations"


def kept(signature: str, body: str, **work: float) -> dict[str, str]:
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g {signature} {{{body}}}'
    )
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    model.graph.initializer.append(weights)
    shares = dict.fromkeys((node.name for node in model.graph.node), 0.0) | work
    return keep_from_int8(model, shares)


def test_the_first_and_the_last_layers_are_left_out_and_those_between_are_not() -> None:
    found = kept(
        "(uint8[N,5,8,8] aerial) => (float[N,4,8,8] logits)",
        """
        [cast] pixels = Cast <to = 1> (aerial)
        [stem] a = Conv (pixels, w)
        [relu] b = Relu (a)
        [middle] c = Conv (b, w)
        [head] d = Conv (c, w)
        [end] logits = Relu (d)
        """,
    )
    assert found == {"stem": FIRST, "head": LAST}


def test_every_layer_that_sees_the_image_before_another_is_a_first_one() -> None:
    found = kept(
        "(float[N,5,8,8] x) => (float[N,4,8,8] y)",
        """
        [left] a = Conv (x, w)
        [pool] p = AveragePool <kernel_shape = [1, 1]> (x)
        [right] b = Conv (p, w)
        [join] c = Concat <axis = 1> (a, b)
        [middle] d = ConvTranspose (c, w)
        [up] y = Conv (d, w)
        """,
    )
    assert found == {"left": FIRST, "right": FIRST, "up": LAST}


def test_every_layer_that_gives_a_result_without_another_is_a_last_one() -> None:
    found = kept(
        "(float[N,5,8,8] x) => (float[N,4,8,8] y, float[N,4,8,8] z)",
        """
        [stem] a = Conv (x, w)
        [body] b = Conv (a, w)
        [one] c = Conv (b, w)
        [other] d = MatMul (b, w)
        [sum] y = Add (c, d)
        [aside] z = Conv (a, w)
        """,
    )
    assert found == {"stem": FIRST, "one": LAST, "other": LAST, "aside": LAST}


def test_a_map_that_further_layers_read_is_no_end() -> None:
    # Maps at several strides, with shortcuts round each pair of layers, as of a ResNet.
    found = kept(
        "(float[N,5,8,8] x) => (float[N,4,8,8] fine, float[N,4,8,8] coarse)",
        """
        [stem] a = Conv (x, w)
        [one] b = Conv (a, w)
        [two] c = Conv (b, w)
        [sum] d = Add (c, a)
        [relu] fine = Relu (d)
        [three] e = Conv (fine, w)
        [four] f = Conv (e, w)
        [last_sum] g = Add (f, fine)
        [last_relu] coarse = Relu (g)
        """,
    )
    assert found == {"stem": FIRST, "four": LAST}


def test_dates_and_masks_are_no_image() -> None:
    found = kept(
        "(float[N,12,10,4,4] satellite, float[N,12] days) => (float[N,4,4,4] y)",
        """
        [angles] s = Sin (days)
        [encode] e = Gemm (s, w)
        [flat] f = Reshape (satellite, shape)
        [stem] a = Conv (f, w)
        [add] b = Add (a, e)
        [middle] c = Conv (b, w)
        [head] y = Conv (c, w)
        """,
    )
    assert found == {"stem": FIRST, "head": LAST}


@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
def test_a_layer_between_image_and_result_is_left_out(operator: str) -> None:
    body = f"[only] y = {operator} (x, w)"
    assert set(kept("(float[N,5,8,8] x) => (float[N,4,8,8] y)", body)) == {"only"}


def test_products_of_activations_are_left_out_however_much_work_they_are() -> None:
    signature = "(float[N,5,8,8] x) => (float[N,5,8,8] y)"
    body = """
        [stem] a = Conv (x, w)
        [query] q = MatMul (a, w)
        [scores] s = MatMul (q, a)
        [enlarged] e = MatMul (w, s)
        [head] y = Conv (e, w)
        """
    assert kept(signature, body, scores=0.9, enlarged=0.9) == {
        "stem": FIRST,
        "scores": PRODUCT,
        "enlarged": PRODUCT,
        "head": LAST,
    }


def test_a_part_without_weights_has_none() -> None:
    assert kept("(float[N,5,8,8] x) => (float[N,5,8,8] y)", "[relu] y = Relu (x)") == {}


def test_a_layer_with_much_of_the_work_is_quantised_wherever_it_is() -> None:
    signature = "(float[N,5,8,8] x) => (float[N,4,8,8] y)"
    body = "[stem] a = Conv (x, w) [body] b = Conv (a, w) [head] y = Conv (b, w)"
    assert kept(signature, body, stem=0.1, head=0.1) == {"stem": FIRST, "head": LAST}
    assert kept(signature, body, stem=0.11, head=0.1) == {"head": LAST}
