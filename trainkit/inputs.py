"""What a config's model takes, in the words of the runtime."""

from runtime.manifest import AerialSpec, Normalization
from runtime.satellite import SatelliteSpec

from .config import TrainConfig

AERIAL_STRIDE = 32
"""Aerial pixels per pixel of the coarsest map."""


def aerial_spec(config: TrainConfig) -> AerialSpec:
    """What the aerial branches take; the halo is an eighth of a tile."""
    inputs = config.input
    return AerialSpec(
        bands=inputs.aerial_bands,
        resolution_m=inputs.resolution_m,
        tile_size=inputs.tile_size,
        halo=inputs.tile_size // 8,
        stride=AERIAL_STRIDE,
        # Window attention and its mixing see the whole tile.
        halo_exact=False,
        normalization=Normalization(mean=inputs.aerial_mean, std=inputs.aerial_std),
        value_scaling=inputs.value_scaling,
    )


def satellite_spec(config: TrainConfig) -> SatelliteSpec | None:
    """What the satellite branch takes; None without one."""
    if not config.takes_satellite:
        return None
    return SatelliteSpec(
        bands=config.input.satellite_bands,
        window=config.input.satellite_window,
        cell_m=config.input.satellite_resolution_m,
        dates=config.dates,
    )
