"""Which names, types and shapes the tensors of a bundle have that segx itself gives and takes."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .satellite import MONTHS, SatelliteSpec

if TYPE_CHECKING:
    from .manifest import AerialSpec, PartSpec, TensorSpec, Variant

BATCH = "N"
"""What stands for the batch in a shape."""

MOST_SIDE = 65_536
"""Rows, columns or channels of a tensor."""

MOST_VALUES = 1 << 30
"""Of one tile; 19 classes of 2048 px have a thirteenth of that."""

Kind = tuple[str, tuple[int, ...]]
"""Type and shape, without the batch."""

RESULTS: "Mapping[Variant, tuple[str, ...]]" = {
    "classes": ("classes", "confidence"),
    "probabilities": ("probabilities",),
}
"""What a fusion of each variant must give."""


def check_sizes(name: str, shape: tuple[int | str, ...]) -> None:
    """Refuse a shape that no tensor of a tile has.

    Raises:
        ValueError: If a size is not above 0, or all of them are beyond all measure.
    """
    sizes = [size for size in shape if isinstance(size, int)]
    if not all(0 < size <= MOST_SIDE for size in sizes) or math.prod(sizes) > MOST_VALUES:
        shown = " x ".join(str(size)[:20] for size in shape[:8])
        raise ValueError(
            f"'{name}' has the shape {shown}; expected sizes of 1 to {MOST_SIDE}, and "
            f"{MOST_VALUES} values at most"
        )


def known_tensors(
    aerial: "AerialSpec", satellite: SatelliteSpec | None, classes: int
) -> dict[str, Kind]:
    """Give type and shape of all tensors between segx and the parts, by name."""
    tile = (aerial.tile_size, aerial.tile_size)
    known: dict[str, Kind] = {
        "aerial": (aerial.dtype, (len(aerial.bands), *tile)),
        "classes": ("uint8", tile),
        "confidence": ("uint8", tile),
        "probabilities": ("float32", (classes, *tile)),
    }
    if satellite is not None:
        window = (satellite.window, satellite.window)
        known |= {
            "satellite": ("float32", (MONTHS, len(satellite.bands), *window)),
            "date_mask": ("float32", (MONTHS,)),
            "days": ("float32", (MONTHS,)),
        }
    return known


def check_tensors(part: "PartSpec", known: Mapping[str, Kind]) -> None:
    """Check a part's tensors against what segx gives and takes.

    Raises:
        ValueError: If one is of another type or shape, or a result is missing.
    """
    for spec in (*part.inputs, *part.outputs):
        _check_tensor(part.name, spec, known)
    wanted = () if part.variant is None else RESULTS[part.variant]
    missing = set(wanted) - {spec.name for spec in part.outputs}
    if missing:
        raise ValueError(f"part '{part.name}' ({part.variant}) does not give {sorted(missing)}")


def _check_tensor(part: str, spec: "TensorSpec", known: Mapping[str, Kind]) -> None:
    found = spec.dtype, spec.shape[1:]
    if spec.shape[:1] != (BATCH,):
        raise ValueError(
            f"'{spec.name}' of part '{part}' has the shape {list(spec.shape)[:8]}; expected the "
            f"batch, '{BATCH}', first"
        )
    if found != known.get(spec.name, found):
        dtype, shape = known[spec.name]
        raise ValueError(
            f"'{spec.name}' of part '{part}' is {spec.dtype} of {list(spec.shape[1:])[:8]}; "
            f"expected {dtype} of {list(shape)}"
        )
