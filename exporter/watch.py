"""Tell how far an export is."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is told during an export."""

    on_step: Callable[[int, int, str], None] = field(default=lambda done, total, note: None)
    """Called with the steps done, the steps in all, and what was done."""
    on_patch: Callable[[int, int], None] = field(default=lambda done, total: None)
    """Called with the patches measured and the patches in all."""


SILENT = Watch()
"""Tells nobody."""


@dataclass(slots=True)
class Steps:
    """Counts the steps of an export."""

    watch: Watch
    total: int
    done: int = 0

    def __call__(self, note: str) -> None:
        """Tell that one more step is done."""
        self.done += 1
        self.watch.on_step(self.done, self.total, note)

    def extra(self, note: str) -> None:
        """Tell that a step is done that was not counted before."""
        self.total += 1
        self(note)
