"""Where the time of a run goes: by stage, into work and into waiting."""

from dataclasses import dataclass, field
from typing import Literal

Reason = Literal["input", "room"]
"""What a stage waits for: items of the stage before it, or room in the queue behind it."""


@dataclass
class StageTimes:
    """Seconds by stage; what a stage does not wait, it works, so both make up its life.

    Stages in threads of their own may book at the same time, as long as each books its own time.
    """

    stages_s: dict[str, float] = field(default_factory=dict)
    """Busy seconds by stage."""
    waiting_s: dict[str, dict[Reason, float]] = field(default_factory=dict)
    """Seconds waited by stage and reason; a stage that never waits is left out."""

    def add_busy(self, stage: str, seconds: float) -> None:
        """Book time in which a stage worked."""
        self.stages_s[stage] = self.stages_s.get(stage, 0.0) + seconds

    def add_waiting(self, stage: str, reason: Reason, seconds: float) -> None:
        """Book time in which a stage waited."""
        waited = self.waiting_s.setdefault(stage, {"input": 0.0, "room": 0.0})
        waited[reason] += seconds

    def life_s(self, stage: str) -> float:
        """Seconds that a stage has lived: worked or waited."""
        return self.stages_s.get(stage, 0.0) + sum(self.waiting_s.get(stage, {}).values())

    @property
    def bound_by(self) -> str | None:
        """The stage that bounds the run; None before any has worked.

        It is the one that works longest. Of stages that live equally long that is the one that
        waits least; a stage that is done early has waited little too, and bounds nothing.
        """
        return max(self.stages_s, key=self.stages_s.__getitem__, default=None)
