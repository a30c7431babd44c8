"""Streams and events of the fake GPU: work waits in a queue until somebody synchronises.

A real device runs ahead by itself; this one runs as late as it may. Code that forgets to wait reads
old data here every time, and on a real device now and then.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Record:
    """One recording of an event; re-recording an event makes another."""

    stream: "Stream"
    time_ms: float | None = None
    """Device time at which all earlier work of the stream was done; None until then."""


@dataclass(slots=True)
class Event:
    handle: int
    timed: bool
    record: Record | None = None


@dataclass(slots=True)
class Job:
    run: Callable[[], None]
    cost_ms: float


@dataclass(slots=True)
class Stream:
    handle: int
    blocking: bool
    """Waits for the null stream and is waited for by it."""
    jobs: deque[Job] = field(default_factory=deque)


class Scheduler:
    """All streams and events of one device, and its clock."""

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}
        self.events: dict[int, Event] = {}
        self.clock_ms = 0.0
        self._handles = iter(range(0x1000, 1 << 40, 0x10))

    def new_stream(self, *, blocking: bool) -> int:
        stream = Stream(next(self._handles), blocking)
        self.streams[stream.handle] = stream
        return stream.handle

    def new_event(self, *, timed: bool) -> int:
        event = Event(next(self._handles), timed)
        self.events[event.handle] = event
        return event.handle

    def enqueue(self, stream: Stream, run: Callable[[], None], cost_ms: float) -> None:
        stream.jobs.append(Job(run, cost_ms))

    def record(self, event: Event, stream: Stream) -> None:
        made = Record(stream)
        event.record = made

        def stamp() -> None:
            made.time_ms = self.clock_ms

        self.enqueue(stream, stamp, 0.0)

    def wait(self, stream: Stream, event: Event) -> None:
        """Hold `stream` until what `event` has recorded by now is done."""
        awaited = event.record
        if awaited is not None:
            self.enqueue(stream, lambda: self.complete(awaited), 0.0)

    def step(self, stream: Stream) -> None:
        """Run the oldest job of a stream."""
        job = stream.jobs.popleft()
        self.clock_ms += job.cost_ms
        job.run()

    def drain(self, stream: Stream) -> None:
        while stream.jobs:
            self.step(stream)

    def complete(self, record: Record) -> None:
        """Run a stream as far as a recording."""
        while record.time_ms is None:
            self.step(record.stream)

    def blocking_streams(self) -> Iterator[Stream]:
        return (stream for stream in list(self.streams.values()) if stream.blocking)
