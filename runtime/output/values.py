"""Turn a model's outputs into the values of maps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE_SCALE = 254
"""Confidence and probabilities are stored as 0..254 of 1; 255 is nodata."""


def tile_maps(result: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.uint8]]:
    """Make the class map, confidence and probabilities of one tile from a model's outputs.

    Where a model ends in probabilities, classes and confidence follow from them.

    Args:
        result: Outputs of a batch of one.

    Returns:
        uint8 arrays of shape (bands, H, W): `classes`, `confidence` and, if given, `probabilities`.
    """
    if "probabilities" in result:
        return maps_of(result["probabilities"][0])
    return {"classes": result["classes"], "confidence": result["confidence"]}


def maps_of(
    probabilities: NDArray[np.float32], *, every: bool = True
) -> dict[str, NDArray[np.uint8]]:
    """Make the class map, confidence and probabilities from probabilities.

    Args:
        probabilities: Shape (K, h, w); at most 254 classes.
        every: Whether to make `probabilities` too, which costs as much as the other two.

    Returns:
        uint8 arrays of shape (bands, h, w): `classes` (of several largest ones, the first),
        `confidence` and `probabilities` (0..254).
    """
    largest = probabilities.max(axis=0)
    classes = np.zeros(largest.shape, dtype=np.uint8)
    smaller = np.ones(largest.shape, dtype=np.bool_)
    for plane in probabilities[:-1]:
        smaller &= plane != largest
        classes += smaller
    maps = {"classes": classes[None], "confidence": _scaled(largest)[None]}
    if every:
        maps["probabilities"] = np.stack([_scaled(plane) for plane in probabilities])
    return maps


def _scaled(shares: NDArray[np.float32]) -> NDArray[np.uint8]:
    scaled: NDArray[np.uint8] = np.rint(shares * CONFIDENCE_SCALE).astype(np.uint8)
    return scaled
