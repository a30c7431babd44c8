"""Random changes of aerial patches that come from a library: of light, of scale and direction."""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recipe import COLOURS, AugmentConfig

HEIGHTS = ("elevation",)
"""Aerial bands that hold no light, whose values are never changed."""

HALF_CIRCLE, FULL = 90.0, 255.0
"""Half the circle of hues, and full saturation, in the library's units."""

REFLECT = 4
"""OpenCV's mirror at the border that does not repeat the border's own pixels."""

SEEDS = 1 << 32

Change = Callable[..., dict[str, Any]]


def recoloured(
    aerial: NDArray[np.uint8],
    bands: tuple[str, ...],
    config: AugmentConfig,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Change the light of a patch: exponent, local contrast, hue and saturation.

    Args:
        aerial: Shape (C, H, W); it is not changed.
        bands: Names of the channels.
        config: How much may be changed.
        rng: Says how much is.
    """
    light = [i for i, name in enumerate(bands) if name not in HEIGHTS]
    colour = [bands.index(name) for name in COLOURS] if set(COLOURS) <= set(bands) else []
    rest = [i for i in light if i not in colour]
    changed = aerial.copy()
    if config.gamma and light:
        changed[light] = _applied(_gamma(config.gamma), changed[light], rng)
    if config.clahe and rng.random() < config.clahe:
        change = _clahe()
        for group in [colour, *([i] for i in rest)]:
            if group:
                changed[group] = _applied(change, changed[group], rng)
    if config.hue_saturation and colour:
        changed[colour] = _applied(_hue_saturation(config.hue_saturation), changed[colour], rng)
    return changed


def warped(
    aerial: NDArray[np.uint8],
    labels: NDArray[np.uint8] | None,
    config: AugmentConfig,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Zoom a patch and turn it about its centre; what lies beyond its border is mirrored.

    Args:
        aerial: Shape (C, H, W), sampled bilinearly; it is not changed.
        labels: Shape (H, W), sampled at the nearest pixel.
        config: How much is done at most.
        rng: Says how much is.
    """
    change = _warp(config.zoom, config.rotate)
    masks = {} if labels is None else {"mask": np.ascontiguousarray(labels)}
    _seed(change, rng)
    found = change(image=_channels_last(aerial), **masks)
    return _channels_first(found["image"]), found.get("mask")


def _applied(
    change: Change, bands: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    _seed(change, rng)
    return _channels_first(change(image=_channels_last(bands))["image"])


def _seed(change: Any, rng: np.random.Generator) -> None:
    change.set_random_seed(int(rng.integers(SEEDS)))


def _channels_last(aerial: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(aerial.transpose(1, 2, 0))


def _channels_first(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image.transpose(2, 0, 1))


@lru_cache
def _library() -> Any:
    # When imported, it asks its makers over the network for a newer version, unless told not to.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations

    return albumentations


@lru_cache
def _gamma(most: float) -> Change:
    limits = (100.0 * (1.0 - most), 100.0 * (1.0 + most))
    change: Change = _library().RandomGamma(gamma_limit=limits, p=1.0)
    return change


@lru_cache
def _clahe() -> Change:
    change: Change = _library().CLAHE(p=1.0)
    return change


@lru_cache
def _hue_saturation(most: float) -> Change:
    change: Change = _library().HueSaturationValue(
        hue_shift_limit=most * HALF_CIRCLE,
        sat_shift_limit=most * FULL,
        val_shift_limit=0.0,
        p=1.0,
    )
    return change


@lru_cache
def _warp(zoom: float, degrees: float) -> Change:
    change: Change = _library().Affine(
        scale=(1.0 - zoom, 1.0 + zoom),
        rotate=(-degrees, degrees),
        keep_ratio=True,
        border_mode=REFLECT,
        p=1.0,
    )
    return change
