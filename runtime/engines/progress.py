"""How far a build is, from the phases that TensorRT reports."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

TOTAL = 100
"""Progress is told in percent."""

_MOST = TOTAL - 1
"""Until the engine is written, the build is not done."""


@dataclass(slots=True)
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Progress:
    """Turns nested phases, each of so many steps, into a percentage that never falls.

    A phase within another one is part of the other's current step. TensorRT reports from several
    threads.
    """

    def __init__(self, report: Callable[[int, str], None]) -> None:
        """Report percent and phase to a function."""
        self._report = report
        self._phases: dict[str, _Phase] = {}
        self._told = -1
        self._lock = threading.Lock()

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins."""
        with self._lock:
            self._phases[phase] = _Phase(parent, max(steps, 1))
            self._tell(phase)

    def step(self, phase: str, step: int) -> None:
        """A step of a phase, counted from 0, is done."""
        with self._lock:
            if phase in self._phases:
                self._phases[phase].done = step + 1
                self._tell(phase)

    def finish(self, phase: str) -> None:
        """A phase is over; its parent's step is told by itself."""
        with self._lock:
            self._phases.pop(phase, None)

    def _tell(self, phase: str) -> None:
        percent = min(int(TOTAL * self._share(phase)), _MOST)
        if percent > self._told:
            self._told = percent
            self._report(percent, phase)

    def _share(self, name: str) -> float:
        """Share of the whole that is done, as the steps up from a phase say."""
        phase = self._phases[name]
        share = phase.done / phase.steps
        for _ in self._phases:  # at most: names may come back within themselves
            if phase.parent is None or phase.parent not in self._phases:
                break
            phase = self._phases[phase.parent]
            share = (phase.done + min(share, 1.0)) / phase.steps
        return share
