"""The third stage: run the model, a batch at a time, without changing the order of the tiles."""

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..card import ModelCard, TileRunner
from ..model import without_satellite
from ..tally import Tally
from .dates_used import DatesUsed
from .satellite_once import SatelliteOnce
from .tiles import PreparedTile, StripEnd

Feed = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedTile:
    """A tile and what the model made of it."""

    prepared: PreparedTile
    results: dict[str, NDArray[Any]] | None
    """`classes` and `confidence` uint8 (H, W), or `probabilities` float32 (K, H, W).

    None for a tile that was not run.
    """


Item = PreparedTile | StripEnd

MOST_HELD = 16
"""Items per tile of a batch that may be held back until the batch is full."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Items in order, of which those with a feed go into one run."""

    items: list[Item]


class ModelStage:
    """Runs prepared tiles; what is not run keeps its place among them."""

    def __init__(
        self,
        model: TileRunner,
        card: ModelCard,
        tally: Tally,
        dates: DatesUsed,
        *,
        once: SatelliteOnce | None = None,
    ) -> None:
        """Take a model.

        Args:
            model: The opened model; how many tiles a call takes is its own.
            card: What to know of it.
            tally: Told of every tile.
            dates: Told of the dates of every tile.
            once: Gives the satellite logits of tiles that come without satellite input.
        """
        self._model = model
        self._card = card
        self._tally = tally
        self._dates = dates
        self._batch = model.batch
        self._once = once
        self._order: deque[_Batch] = deque()
        self._waited_s = 0.0
        self._is_over = False

    def run(self, tiles: Iterable[Item]) -> Generator[FinishedTile | StripEnd, None, None]:
        """Run tiles, a batch at a time.

        Raises:
            SegxError: If the model cannot run one.
        """
        source = self._timed(tiles)
        while not self._is_over:
            begin, self._waited_s = time.perf_counter(), 0.0
            for results in self._model.run_many(self._feeds(source)):
                yield from self._passing()
                items = self._order.popleft().items
                self._count(items, time.perf_counter() - begin - self._waited_s)
                yield from self._finished(items, results)
                begin, self._waited_s = time.perf_counter(), 0.0
            yield from self._passing()
        if self._once is not None:
            self._once.finish()

    def _finished(
        self, items: list[Item], results: Mapping[str, NDArray[Any]]
    ) -> Iterator[FinishedTile | StripEnd]:
        for item in _finished(items, results):
            if isinstance(item, StripEnd):
                yield item
                continue
            if self._once is not None and item.results:
                self._once.compare(item.prepared, item.results)
            # What is only written needs no inputs any more.
            yield replace(item, prepared=replace(item.prepared, feed=None, satellite=None))

    def _count(self, items: list[Item], seconds: float) -> None:
        ran = [item for item in items if isinstance(item, PreparedTile) and item.feed is not None]
        for tile in ran:
            self._dates.add(tile.job, tile.tile, tile.satellite)
            self._tally.add_tile(
                tile.job.area.mosaic, tile.satellite, tile.outside, seconds=seconds / len(ran)
            )

    def _passing(self) -> Iterator[FinishedTile | StripEnd]:
        """Hand on what stands before the next run."""
        while self._order and not any(map(_runs, self._order[0].items)):
            yield from _finished(self._order.popleft().items, {})

    def _feeds(self, tiles: Iterable[Item]) -> Iterator[Feed]:
        """Gather tiles with the same inputs into batches."""
        held: list[Item] = []
        passed = 0
        for item in tiles:
            runs = _runs(item)
            full = len(held) >= MOST_HELD * self._batch
            if held and (full or (runs and not _alike(held[0], item))):
                yield self._gather(held)
                held = []
            if not held and not runs:
                self._order.append(_Batch([item]))
                passed += 1
                if passed == MOST_HELD:
                    return
                continue
            passed = 0
            held.append(item)
            if sum(map(_runs, held)) == self._batch:
                yield self._gather(held)
                held = []
        self._is_over = True
        if held:
            yield self._gather(held)

    def _timed(self, tiles: Iterable[Item]) -> Iterator[Item]:
        """Note how long tiles are waited for, which is no time of the model's."""
        source = iter(tiles)
        while True:
            begin = time.perf_counter()
            item = next(source, None)
            self._waited_s += time.perf_counter() - begin
            if item is None:
                return
            yield item

    def _gather(self, items: list[Item]) -> Feed:
        if self._once is not None:
            items = [
                self._once.complete(item) if isinstance(item, PreparedTile) else item
                for item in items
            ]
        self._order.append(_Batch(items))
        feeds = [_feed(item) for item in items if _runs(item)]
        # The last batch is filled up: most backends take no other size.
        feeds += [feeds[-1]] * (self._batch - len(feeds))
        feed = feeds[0]
        if len(feeds) > 1:
            feed = {name: np.concatenate([one[name] for one in feeds]) for name in feed}
        if self._card.satellite is not None and self._once is None and "satellite" not in feed:
            feed = without_satellite(self._model.parts, feed, self._batch)
        return feed


def _runs(item: Item) -> bool:
    return isinstance(item, PreparedTile) and item.feed is not None


def _feed(item: Item) -> Feed:
    assert isinstance(item, PreparedTile)
    assert item.feed is not None
    return item.feed


def _alike(first: Item, item: Item) -> bool:
    """Whether two tiles that are run can go into one batch."""
    return _feed(first).keys() == _feed(item).keys()


def _finished(
    items: list[Item], results: Mapping[str, NDArray[Any]]
) -> Iterator[FinishedTile | StripEnd]:
    """Copy the results of each tile, which the next run may overwrite."""
    names = [n for n in ("classes", "confidence", "probabilities") if n in results]
    index = 0
    for item in items:
        if isinstance(item, StripEnd):
            yield item
        elif item.feed is None:
            yield FinishedTile(prepared=item, results=None)
        else:
            copied = {name: results[name][index].copy() for name in names}
            yield FinishedTile(prepared=item, results=copied)
            index += 1
