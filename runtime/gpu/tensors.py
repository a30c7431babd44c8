"""The tensors that pass through a model: what comes in, what stays on the device, what goes out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleError
from ..manifest import PartSpec, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensors:
    """The tensors of parts that run one after the other; each has one name."""

    inputs: tuple[TensorSpec, ...]
    """What the caller gives."""
    inner: tuple[TensorSpec, ...]
    """What one part gives and a later one takes."""
    results: tuple[TensorSpec, ...]
    """What no part takes."""

    @classmethod
    def of(cls, parts: Sequence[PartSpec]) -> "Tensors":
        """Sort the tensors of parts.

        Raises:
            BundleError: If two parts mean different things by one name.
        """
        taken = _by_name(spec for part in parts for spec in part.inputs)
        given = _by_name(spec for part in parts for spec in part.outputs)
        _by_name([*taken.values(), *given.values()])
        return cls(
            inputs=tuple(spec for name, spec in taken.items() if name not in given),
            inner=tuple(spec for name, spec in given.items() if name in taken),
            results=tuple(spec for name, spec in given.items() if name not in taken),
        )


def _by_name(specs: Any) -> dict[str, TensorSpec]:
    found: dict[str, TensorSpec] = {}
    for spec in specs:
        known = found.setdefault(spec.name, spec)
        if known != spec:
            raise BundleError(
                f"'{spec.name}' is {spec.dtype} {spec.shape} in one part and {known.dtype} "
                f"{known.shape} in another; expected one tensor; export the bundle again"
            )
    return found


def with_batch(specs: Sequence[TensorSpec], batch: int) -> tuple[TensorSpec, ...]:
    """Fill the batch in."""
    return tuple(replace(spec, shape=spec.with_batch(batch)) for spec in specs)


def size_of(spec: TensorSpec, batch: int) -> int:
    """Bytes that a tensor takes."""
    return prod(spec.with_batch(batch)) * np.dtype(spec.dtype).itemsize


def view(block: NDArray[np.uint8], spec: TensorSpec, batch: int) -> NDArray[Any]:
    """See the start of a block of bytes as a tensor, without a copy."""
    return block[: size_of(spec, batch)].view(spec.dtype).reshape(spec.with_batch(batch))
