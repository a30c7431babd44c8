"""Turn a model's outputs into the values of maps."""

from collections.abc import Collection, Mapping
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
    probabilities: NDArray[np.float32], names: Collection[str] = ("probabilities",)
) -> dict[str, NDArray[np.uint8]]:
    """Make the class map, confidence and probabilities from probabilities.

    Args:
        probabilities: Shape (K, h, w); at most 254 classes.
        names: What else to make; `probabilities` costs as much as those two.

    Returns:
        uint8 arrays of shape (bands, h, w): `classes` (of several largest ones, the first),
        `confidence`, and if named `probabilities` and `margin`; all but the first 0..254.
    """
    largest = probabilities.max(axis=0)
    classes = np.zeros(largest.shape, dtype=np.uint8)
    smaller = np.ones(largest.shape, dtype=np.bool_)
    for plane in probabilities[:-1]:
        smaller &= plane != largest
        classes += smaller
    maps = {"classes": classes[None], "confidence": _scaled(largest)[None]}
    if "probabilities" in names:
        maps["probabilities"] = np.stack([_scaled(plane) for plane in probabilities])
    if "margin" in names:
        maps["margin"] = _scaled(largest - _second(probabilities))[None]
    return maps


def _second(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Second largest of each pixel, shape (h, w); 0 where there is one class."""
    largest, second = (np.zeros(probabilities.shape[1:], dtype=np.float32) for _ in range(2))
    for plane in probabilities:
        np.maximum(second, np.minimum(largest, plane), out=second)
        np.maximum(largest, plane, out=largest)
    return second


def _scaled(shares: NDArray[np.float32]) -> NDArray[np.uint8]:
    scaled: NDArray[np.uint8] = np.rint(shares * CONFIDENCE_SCALE).astype(np.uint8)
    return scaled
