"""Which tensors come in, stay on the device, and go out."""

from typing import Any

import pytest

from runtime.errors import BundleError
from runtime.gpu.tensors import Tensors
from runtime.manifest import PartSpec, TensorSpec


def spec(name: str, *shape: Any, dtype: Any = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=("N", *shape))


def part(name: str, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> PartSpec:
    return PartSpec(
        name=name,
        role="aerial",
        file=f"{name}.onnx",
        precision="fp32",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
    )


def test_tensors_are_sorted_by_who_gives_and_who_takes_them() -> None:
    a, b, c, d, e = (spec(name, 3) for name in "abcde")
    found = Tensors.of([part("p", [a], [b, c]), part("q", [a, b, d], [e])])
    assert found.inputs == (a, d)
    assert found.inner == (b,)
    assert found.results == (c, e)


@pytest.mark.parametrize(
    "other", [spec("b", 4), spec("b", 3, dtype="uint8"), spec("b", 3, 1)], ids=str
)
def test_parts_that_mean_different_things_by_a_name_are_refused(other: TensorSpec) -> None:
    with pytest.raises(BundleError, match=r"'b' is .* in one part and .* in another"):
        Tensors.of([part("p", [spec("a", 3)], [spec("b", 3)]), part("q", [other], [spec("c", 3)])])
