"""Compare an engine with what the manifest says of its part."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import EngineError
from ..manifest import DType, PartSpec, TensorSpec

DTYPES: dict[DType, str] = {"uint8": "UINT8", "float32": "FLOAT"}
"""TensorRT's names of the types."""

ANY = -1
"""In place of a size: chosen at run time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTensor:
    """An input or output of an engine, as TensorRT describes it."""

    name: str
    is_input: bool
    dtype: str
    """TensorRT's name of it."""
    shape: tuple[int, ...]
    batches: tuple[int, int] | None = None
    """Smallest and largest batch of an input; None if TensorRT knows none."""


def check_fit(part: PartSpec, tensors: Sequence[EngineTensor], batch: int) -> None:
    """Refuse an engine that reads or writes anything but the part's tensors.

    A wrong size would let the GPU write past the end of a buffer.

    Args:
        part: What the manifest says.
        tensors: What the engine says.
        batch: Tiles that it must take; fewer, too.

    Raises:
        EngineError: Naming the first difference.
    """
    for is_input, specs in ((True, part.inputs), (False, part.outputs)):
        found = {item.name: item for item in tensors if item.is_input is is_input}
        if set(found) != {spec.name for spec in specs}:
            kind = "takes" if is_input else "gives"
            raise _unfit(part, f"{kind} {_names(found)}", _names(spec.name for spec in specs))
        for spec in specs:
            _check(part, spec, found[spec.name], batch)


def _check(part: PartSpec, spec: TensorSpec, item: EngineTensor, batch: int) -> None:
    if item.dtype != DTYPES[spec.dtype]:
        raise _unfit(part, f"has '{spec.name}' as {item.dtype}", DTYPES[spec.dtype])
    shape = spec.with_batch(batch)
    if item.shape not in (shape, (ANY, *shape[1:])):
        raise _unfit(part, f"has '{spec.name}' of shape {item.shape}", str((ANY, *shape[1:])))
    if item.is_input:
        least, most = item.batches or (0, 0)
        if not least <= 1 <= batch <= most:
            raise _unfit(part, f"takes {least} to {most} tiles as '{spec.name}'", f"1 to {batch}")


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _unfit(part: PartSpec, found: str, expected: str) -> EngineError:
    return EngineError(
        f"the engine of part '{part.name}' {found}; expected {expected} as the manifest says; run "
        "`segx cache --clear` so that it is built again"
    )
