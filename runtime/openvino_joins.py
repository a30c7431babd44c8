"""Rewrite what OpenVINO computes wrongly in INT8: maps that are joined first and rounded then.

    Concat -> QuantizeLinear            a map each -> QuantizeLinear -> Concat

Both are the same number by number. Of the left one OpenVINO (2026.4) rounds the maps to whole
numbers in place of steps of the scale, where the integers are signed.
"""

from typing import Any

RANGES = range(1, 5)
"""Inputs of OpenVINO's FakeQuantize after the first: where its steps begin and end."""


def round_before_joining(model: Any) -> None:
    """Round each map by itself before they are joined.

    Args:
        model: Graph of a part as OpenVINO reads it, before it is compiled; it is changed.
    """
    from openvino import opset8

    for rounding in model.get_ordered_ops():
        takers = _takers(rounding)
        if rounding.get_type_name() != "FakeQuantize" or len(takers) != 1:
            continue
        join, convert = rounding.input_value(0).get_node(), takers[0].get_node()
        if join.get_type_name() == "Convert":  # FP16 is rounded as FP32.
            join = join.input_value(0).get_node()
        if join.get_type_name() != "Concat" or convert.get_type_name() != "Convert":
            continue
        ranges = [rounding.input_value(index) for index in RANGES]
        if any(value.get_shape() for value in ranges):
            continue
        levels, kind = rounding.get_attributes()["levels"], _type(convert)
        maps = [opset8.convert(value, _type(rounding)) for value in join.input_values()]
        rounded = [
            opset8.convert(opset8.fake_quantize(value, *ranges, levels), kind) for value in maps
        ]
        joined = opset8.concat(rounded, join.get_attributes()["axis"])
        for taker in _takers(convert):
            taker.replace_source_output(joined.output(0))


def _type(node: Any) -> str:
    name: str = node.get_output_element_type(0).to_string()
    return name


def _takers(node: Any) -> list[Any]:
    return [taker for port in node.outputs() for taker in port.get_target_inputs()]
