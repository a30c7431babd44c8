"""Inputs that no calibration sample holds, but a flight or a season does.

What they make of a network's tensors says how far FP16 is from overflowing, not what is usual.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.card import ModelCard
from runtime.manifest import PartSpec
from runtime.satellite import REFLECTANCE_SCALE

Feed = dict[str, NDArray[Any]]
"""Inputs of one part for one sample, with a batch of one."""

CLOUD_DN = 28_000.0
"""Digital number of saturated cloud and snow in Sentinel-2 Level-2A; a reflectance of 2.8."""

LARGER_LOGITS = 4.0
"""How much larger than a sample's the logits are that stress a fusion."""


def stress_feeds(part: PartSpec, card: ModelCard, like: Feed) -> dict[str, Feed]:
    """Make the extreme inputs of a part.

    Args:
        part: An aerial, satellite or fusion part.
        card: The model, for the days of its satellite input.
        like: A sample's inputs of the part, with a batch of one; it gives the shapes.

    Returns:
        Feeds by name: of an aerial part `black`, `white` and `checkered` (each pixel black or
        white); of a satellite part `cloud` (saturated on all dates), `zeros`, `one date` and
        `no date`; of a fusion `zeros` and `large logits`.
    """
    feed = {spec.name: like[spec.name] for spec in part.inputs}
    if part.role == "aerial":
        return _aerial(feed)
    if part.role == "satellite":
        return _satellite(feed, card)
    return {
        "zeros": {name: np.zeros_like(array) for name, array in feed.items()},
        "large logits": {
            name: array * array.dtype.type(LARGER_LOGITS) for name, array in feed.items()
        },
    }


def _aerial(feed: Feed) -> dict[str, Feed]:
    made: dict[str, Feed] = {"black": {}, "white": {}, "checkered": {}}
    for name, array in feed.items():
        rows, cols = np.indices(array.shape[-2:])
        made["black"][name] = np.zeros_like(array)
        made["white"][name] = np.full_like(array, 255)
        squares = np.broadcast_to((rows + cols) % 2 * 255, array.shape)
        made["checkered"][name] = squares.astype(array.dtype)
    return made


def _satellite(feed: Feed, card: ModelCard) -> dict[str, Feed]:
    series, mask = feed["satellite"], feed["date_mask"]
    if card.satellite is not None and "days" in feed:
        days = card.satellite.dates.month_days()
        feed = {**feed, "days": np.broadcast_to(days, feed["days"].shape).astype(np.float32)}
    one = np.zeros_like(mask)
    one[:, int(mask[0].argmax())] = 1
    return {
        "cloud": {
            **feed,
            "satellite": np.full_like(series, CLOUD_DN / REFLECTANCE_SCALE),
            "date_mask": np.ones_like(mask),
        },
        "zeros": {**feed, "satellite": np.zeros_like(series), "date_mask": np.ones_like(mask)},
        "one date": {**feed, "date_mask": one},
        "no date": {**feed, "date_mask": np.zeros_like(mask)},
    }
