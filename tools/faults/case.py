"""One trial of one fault: what it works on, and how it starts runs."""

import random
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from .child import Moment, Ran, Setting, run
from .commands import Command
from .shim import Shim


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A run that was not disturbed."""

    out: Path
    seconds: float
    peak_bytes: int
    """Most room that its output took while it ran."""
    reads: int
    """Calls that read its inputs."""
    writes: int
    """Calls that wrote its output."""


@dataclass(slots=True)
class Case:
    """One trial: a command, a folder of its own for its output, and chance."""

    command: Command
    reference: Reference
    out: Path
    setting: Setting
    chance: random.Random
    library: Path
    """The shim."""
    undo: ExitStack = field(default_factory=ExitStack)
    """What is left to be undone at the end of the trial."""
    told: str = ""
    """What chance chose."""
    gone: Path | None = None
    """An input that was removed: a run that looked for inputs later may do without it."""

    def start(self, moment: Moment | None = None, setting: Setting | None = None) -> Ran:
        """Run the command."""
        words = self.command.words(self.out)
        ran = run(words, setting or self.setting, moment=moment, out=self.out)
        if moment is not None and not ran.acted:
            self.told += ", which was too late"
        return ran

    def moment(self, act: Callable[[int], object]) -> Moment:
        """Choose a moment, uniform over the time of the reference."""
        at_s = self.chance.uniform(0.0, self.reference.seconds)
        self.told += f" at {at_s:.2f} s"
        return Moment(at_s=at_s, act=act)

    def victim(self) -> Path:
        """Choose a file that the command reads."""
        files: list[Path] = []
        for source in self.command.inputs:
            files += [source] if source.is_file() else sorted(source.rglob("*"))
        chosen = self.chance.choice([path for path in files if path.is_file()])
        self.told += f" {chosen.name}"
        return chosen


def shim_of(case: Case) -> Shim:
    """Lay out the shim for one run of a case."""
    case.setting.logs.mkdir(parents=True, exist_ok=True)
    below = [*case.command.inputs, case.out]
    return Shim(case.library, case.setting.logs / "faults", below)


def shimmed(setting: Setting, shim: Shim) -> Setting:
    """Start runs with the shim."""
    return replace(setting, environment={**setting.environment, **shim.environment})


def empty(folder: Path) -> None:
    """Remove all that is in a folder."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def aside(case: Case, path: Path) -> Path:
    """Where an input is kept meanwhile: on the same disk, out of every command's sight."""
    return case.reference.out.parent / f"aside-{path.name}"
