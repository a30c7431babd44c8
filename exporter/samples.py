"""Choose the samples that the stages of an export are compared on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.card import ModelCard
from runtime.evaluate import spread
from runtime.model import make_feed
from trainkit.models import Part

from .accuracy import EvalData
from .parity import Source

Feed = dict[str, NDArray[Any]]
"""Inputs of all branches of one sample, with a batch of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Feeds to compare stages on."""

    source: Source
    feeds: dict[str, Feed]
    """By the id of the sample."""


def choose_samples(
    parts: Sequence[Part], card: ModelCard, data: EvalData | None, count: int
) -> Samples:
    """Take patches of a data set, evenly spread, or random numbers where there is none.

    Raises:
        DataError: If a patch is missing or damaged.
    """
    if data is None:
        feeds = {f"random {seed}": random_feed(parts, batch=1, seed=seed) for seed in range(count)}
        return Samples(source="random", feeds=feeds)
    taken = {spec.name for part in parts if part.role != "fusion" for spec in part.inputs}
    feeds = {}
    for patch_id in spread(data.dataset.ids(data.split), count):
        sample = data.dataset.read(patch_id, card.satellite).with_bands(card.aerial.bands)
        series = None if sample.satellite is None else [sample.satellite]
        feed = make_feed([sample.aerial], series)
        feeds[patch_id] = {name: array for name, array in feed.items() if name in taken}
    return Samples(source="data", feeds=feeds)


def random_feed(parts: Sequence[Part], *, batch: int, seed: int) -> Feed:
    """Make random inputs of all the branches among the parts."""
    feed: Feed = {}
    for part in parts:
        if part.role != "fusion":
            example = part.example(batch=batch, seed=seed)
            feed.update({name: np.asarray(value) for name, value in example.items()})
    return feed
