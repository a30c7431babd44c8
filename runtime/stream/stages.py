"""Stages that run at the same time, each in a thread of its own, with a bounded queue behind it.

A stage is a generator: it takes items from the stage before it and yields items for the next.

    with Stages(clock) as stages:
        tiles = stages.start("read", read(plan), depth=4)
        feeds = stages.start("prepare", prepare(tiles), depth=2)
        for feed in feeds:
            ...

An error in any of them stops all of them and is raised once, where the last stage is iterated.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from types import TracebackType
from typing import Generic, TypeVar

from .timing import Reason, StageTimes

Item = TypeVar("Item")

SWITCH_S = 0.0005
"""Seconds after which Python lets another thread on: the model's thread is not to wait for others.

Python's own 5 ms, each time that the model hands back a tile, are a share of it that shows.
"""

LONGEST_WAIT_S = 1.0
"""Seconds after which a waiting thread looks up: Windows lets no Ctrl-C into a wait without end."""


class _CancelledError(Exception):
    """Another stage failed, or nobody wants the items any more."""


class Stages:
    """Stages of one run; leaving the `with` block stops and joins all of them."""

    def __init__(self, clock: StageTimes) -> None:
        """Start none yet."""
        self._clock = clock
        # One for all: stages hand over a few items a second, and a stop must wake everybody.
        self._changed = threading.Condition()
        self._stopped = False
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._switch_s = sys.getswitchinterval()

    def start(self, name: str, items: Generator[Item, None, None], *, depth: int) -> Iterator[Item]:
        """Run a generator in a thread of its own.

        Args:
            name: Name of the stage, to which its time is booked.
            items: The stage; it is closed in its thread, whatever happens.
            depth: Items that may wait for the next stage, at least 1.

        Returns:
            The items, for one consumer.
        """
        channel = _Channel[Item](self, depth)
        stage = _Stage(name, self._clock)
        thread = threading.Thread(
            target=self._work, args=(stage, items, channel), name=f"segx {name}", daemon=True
        )
        self._threads.append(thread)
        thread.start()
        return channel

    def _work(
        self, stage: "_Stage", items: Generator[Item, None, None], channel: "_Channel[Item]"
    ) -> None:
        _local.stage = stage
        try:
            with closing(items):
                for item in items:
                    stage.book_busy()
                    channel.put(item)
                    stage.book_waiting("room")
            stage.book_busy()
            channel.close()
        except _CancelledError:
            pass
        except BaseException as error:  # it is raised again where the items are taken
            self.stop(error)

    def stop(self, error: BaseException | None = None) -> None:
        """Make every stage end at its next item; the first error given is the one that counts."""
        with self._changed:
            self._error = self._error or error
            self._stopped = True
            self._changed.notify_all()

    def __enter__(self) -> "Stages":
        """Return the stages."""
        sys.setswitchinterval(SWITCH_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop what still runs and wait for it."""
        self.stop()
        for thread in self._threads:
            thread.join()
        sys.setswitchinterval(self._switch_s)
        if error is None and self._error is not None:
            raise self._error


class _Stage:
    """Books the time of one stage: what passed since the last booking goes where it belongs."""

    def __init__(self, name: str, clock: StageTimes) -> None:
        self.name = name
        self._clock = clock
        self._last = time.perf_counter()

    def book_busy(self) -> None:
        self._clock.add_busy(self.name, self._passed())

    def book_waiting(self, reason: Reason) -> None:
        self._clock.add_waiting(self.name, reason, self._passed())

    def _passed(self) -> float:
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        return passed


class _Local(threading.local):
    stage: _Stage | None = None


_local = _Local()


class _Channel(Generic[Item]):
    """A bounded queue between two stages."""

    def __init__(self, stages: Stages, depth: int) -> None:
        self._stages = stages
        self._depth = depth
        self._items: deque[Item] = deque()
        self._closed = False

    def put(self, item: Item) -> None:
        stages = self._stages
        with stages._changed:
            while len(self._items) >= self._depth and not stages._stopped:
                stages._changed.wait(LONGEST_WAIT_S)
            if stages._stopped:
                raise _CancelledError
            self._items.append(item)
            stages._changed.notify_all()

    def close(self) -> None:
        with self._stages._changed:
            self._closed = True
            self._stages._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        stage = _local.stage
        if stage is not None:
            stage.book_busy()
        try:
            return self._take()
        finally:
            if stage is not None:
                stage.book_waiting("input")

    def _take(self) -> Item:
        stages = self._stages
        with stages._changed:
            while not (self._items or self._closed or stages._stopped):
                stages._changed.wait(LONGEST_WAIT_S)
            if stages._stopped:
                if stages._error is not None and _local.stage is None:
                    raise stages._error
                raise _CancelledError
            if not self._items:
                raise StopIteration
            item = self._items.popleft()
            stages._changed.notify_all()
            return item
