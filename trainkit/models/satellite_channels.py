"""A Sentinel-2 series to one composite, and the composite to named channels, inside the graph.

Percentiles of enhanced bands come from training patches and lie in the weights, so that what a
network sees does not depend on what else is in an image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..satellite_channels import channel_of

# Shape letters: N batch, T dates, B bands, D channels, h w cells.

LEAST_SUM = 1e-6
"""Added to the denominator of an index, so that black is 0."""

LEAST_SPAN = 1e-3
"""Reflectance between the percentiles of a band at least."""


def composite(satellite_NTBhw: Tensor, mask_NT: Tensor) -> Tensor:
    """Average the real dates, shape (N, B, h, w); what masked ones hold changes nothing."""
    mask = mask_NT[:, :, None, None, None]
    known = torch.where(mask > 0, satellite_NTBhw, 0.0)
    count = mask_NT.sum(dim=1).clamp(min=1.0)
    mean: Tensor = known.sum(dim=1) / count[:, None, None, None]
    return mean


class SatelliteChannels(nn.Module):
    """Bands of a composite to channels by name; see `trainkit.satellite_channels`.

    Args:
        names: Channels, in order.
        bands: Bands of the composite, in order.

    Raises:
        ValueError: If a channel is not known.
    """

    low: Tensor
    high: Tensor

    def __init__(self, names: Sequence[str], bands: Sequence[str]) -> None:
        super().__init__()
        self.channels = tuple(channel_of(name) for name in names)
        self.bands = tuple(bands)
        # Reflectance as it is, until percentiles are given.
        self.register_buffer("low", torch.zeros(len(self.enhanced)))
        self.register_buffer("high", torch.ones(len(self.enhanced)))

    @property
    def enhanced(self) -> tuple[str, ...]:
        """Bands that are enhanced, in the order of the channels."""
        return tuple(c.bands[0] for c in self.channels if c.kind == "enhanced")

    def set_percentiles(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Say which reflectance of each enhanced band becomes 0 and which 1.

        Args:
            low: One per band of `enhanced`.
            high: The same; no closer than `LEAST_SPAN` above.
        """
        floor = torch.tensor(list(low), dtype=torch.float32)
        self.low.copy_(floor)
        self.high.copy_(torch.maximum(torch.tensor(list(high)), floor + LEAST_SPAN))

    def forward(self, composite_NBhw: Tensor) -> Tensor:
        """Give the channels, shape (N, D, h, w)."""
        by_name = {name: composite_NBhw[:, i : i + 1] for i, name in enumerate(self.bands)}
        made, stretched = [], 0
        for channel in self.channels:
            given = [by_name[band] for band in channel.bands]
            if channel.kind == "band":
                made.append(given[0])
            elif channel.kind == "index":
                made.append(_difference(given[0], given[1]))
            else:
                low, high = self.low[stretched], self.high[stretched]
                made.append(((given[0] - low) / (high - low)).clamp(0.0, 1.0))
                stretched += 1
        return torch.cat(made, dim=1)


def _difference(one: Tensor, other: Tensor) -> Tensor:
    # Reflectance below zero is a correction gone too far, and would divide by almost nothing.
    one, other = one.clamp(min=0.0), other.clamp(min=0.0)
    return ((one - other) / (one + other + LEAST_SUM)).clamp(-1.0, 1.0)
