"""Check the network that TensorRT's parser made of a part against the manifest."""

from collections.abc import Iterator
from typing import Any

from ..errors import EngineError
from ..manifest import DType, PartSpec, TensorSpec

_TYPES: dict[DType, str] = {"uint8": "UINT8", "float32": "FLOAT"}
"""TensorRT's names of the types."""


def check_network(network: Any, part: PartSpec) -> None:
    """Refuse a network with other inputs and outputs than the part has.

    Raises:
        EngineError: If names, types or sizes differ.
    """
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    differ = (
        *_differences("input", inputs, part.inputs, open_sizes=False),
        # Sizes of outputs that only follow when it runs are checked when it runs.
        *_differences("output", outputs, part.outputs, open_sizes=True),
    )
    if differ:
        raise EngineError(
            f"TensorRT reads part '{part.name}' with {differ[0]}; export the bundle again"
        )


def _differences(
    kind: str, tensors: list[Any], specs: tuple[TensorSpec, ...], *, open_sizes: bool
) -> Iterator[str]:
    found = {tensor.name: tensor for tensor in tensors}
    names = [spec.name for spec in specs]
    if set(found) != set(names):
        yield f"the {kind}s {', '.join(found)}; expected {', '.join(names)} as in the manifest"
        return
    for spec in specs:
        tensor = found[spec.name]
        shape = tuple(tensor.shape)
        wanted = tuple(-1 if isinstance(size, str) else size for size in spec.shape)
        fits = len(shape) == len(wanted) and all(
            size == want or (open_sizes and size == -1)
            for size, want in zip(shape, wanted, strict=True)
        )
        if tensor.dtype.name != _TYPES[spec.dtype] or not fits:
            yield (
                f"the {kind} '{spec.name}' as {tensor.dtype.name} {shape}; expected "
                f"{_TYPES[spec.dtype]} {wanted} as in the manifest, where -1 is the batch"
            )
