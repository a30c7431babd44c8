"""Measure how far a network sees: what lies beyond the halo must not matter, and often it does.

    +--------------------------------+
    |  changed  (random pixels)      |
    |    +----------------------+    |
    |    |   same   +------+    |    |
    |    |<- radius>| read |    |    |     the logits of the square in the middle, one network
    |    |          +------+    |    |     stride wide, are compared
    |    +----------------------+    |
    +--------------------------------+

A convolution stack has a radius beyond which nothing changes; attention over the whole tile and
pooled channel weights have none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainkit.models import Part

STRIDE = 32
"""Pixels per cell of the coarsest map of every aerial branch."""

UNCHANGED = 1e-5
"""Changes below this share of the largest logit are rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receptive:
    """How far the aerial branches see."""

    radius_px: int | None
    """Distance beyond which no pixel matters, rounded up to the stride; None: beyond the tile."""
    halo_px: int
    change_beyond_halo: float | None
    """Largest change of a logit, as a share of the largest logit, when every pixel further away
    than the halo is replaced by noise; None without an aerial branch."""

    @property
    def is_covered(self) -> bool:
        """Whether the halo reaches as far as any pixel matters."""
        return self.radius_px is not None and self.radius_px <= self.halo_px


def measure(parts: Sequence[Part], *, halo: int, seed: int = 0) -> Receptive:
    """Measure the aerial branches of a model; the one that sees furthest counts.

    Args:
        parts: Parts of a model.
        halo: Halo that the bundle will name, in pixels.
        seed: Seed of the pixels.
    """
    branches = [part for part in parts if part.role == "aerial"]
    if not branches:
        return Receptive(radius_px=None, halo_px=halo, change_beyond_halo=None)
    radii = [_radius(part, seed) for part in branches]
    return Receptive(
        radius_px=None if None in radii else max(r for r in radii if r is not None),
        halo_px=halo,
        change_beyond_halo=max(_change(part, halo, seed) for part in branches),
    )


def _radius(part: Part, seed: int) -> int | None:
    """Smallest multiple of the stride beyond which nothing matters, by bisection."""
    side = part.inputs[0].shape[-1]
    low, high = 0, (side - STRIDE) // 2 // STRIDE
    if _change(part, high * STRIDE, seed) > UNCHANGED:
        return None
    while low < high:
        middle = (low + high) // 2
        if _change(part, middle * STRIDE, seed) > UNCHANGED:
            low = middle + 1
        else:
            high = middle
    return high * STRIDE


def _change(part: Part, radius: int, seed: int) -> float:
    """Change of the middle's outputs when all pixels beyond a radius are replaced.

    A branch with several outputs sees as far as the one that sees furthest.
    """
    shape = (2, *part.inputs[0].shape)
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    first, last = _middle(shape[-1], STRIDE // 2 + radius)
    images[1, :, first:last, first:last] = images[0, :, first:last, first:last]
    part.module.eval()
    with torch.inference_mode():
        # One after the other: in one batch, both need not be summed in the same order.
        before, after = (_outputs(part, image[None]) for image in images)
    return max(_difference(shape[-1], a, b) for a, b in zip(before, after, strict=True))


def _outputs(part: Part, image: Tensor) -> tuple[Tensor, ...]:
    found: Tensor | tuple[Tensor, ...] = part.module(image)
    return found if isinstance(found, tuple) else (found,)


def _difference(side: int, one: Tensor, other: Tensor) -> float:
    """Largest difference in the middle of an output, as a share of its largest number there."""
    scale = side // one.shape[-1]
    # One cell more on each side, which the bilinear enlargement reads.
    first, last = _middle(one.shape[-1], STRIDE // 2 // scale + 1)
    one, other = (item[..., first:last, first:last] for item in (one, other))
    return float((one - other).abs().max() / one.abs().max().clamp(min=1e-12))


def _middle(side: int, reach: int) -> tuple[int, int]:
    return side // 2 - reach, side // 2 + reach
