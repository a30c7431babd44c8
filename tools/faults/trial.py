"""One trial: a run under a fault, the run after it, and what is wrong about either."""

import random
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .case import Case, Reference, aside, shimmed
from .child import Ran, Setting, run
from .commands import Command
from .faults import Fault
from .shim import Shim

UNHARMED, WENT_ON, ANEW = "unharmed", "completed by the next run", "begun anew as told"
WRONG = "wrong success"
SHOWN = 400
"""Characters of a complaint that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of one."""

    command: str
    fault: str
    number: int
    told: str
    """What chance chose."""
    codes: tuple[int, ...]
    """How the runs under the fault ended."""
    said: str
    """What they complained of."""
    end: str
    """How the result came about; empty if it did not."""
    failures: tuple[str, ...]
    seconds: float
    """Of all runs."""


def make_reference(command: Command, folder: Path, setting: Setting, library: Path) -> Reference:
    """Run a command twice without a fault, the second time with the shim, which changes nothing.

    Raises:
        SystemExit: If it fails, or its result differs from run to run.
    """
    outs = [folder / name for name in ("reference", "again")]
    for out in outs:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
    first = run(command.words(outs[0]), setting, out=outs[0])
    setting.logs.mkdir(parents=True, exist_ok=True)
    shim = Shim(library, setting.logs / "faults", [*command.inputs, outs[1]])
    with closing(shim):
        second = run(command.words(outs[1]), shimmed(setting, shim), out=outs[1])
        counts = shim.counts
    for ran in (first, second):
        if ran.code or ran.is_hung:
            raise SystemExit(f"{command.name} fails without a fault: {ran.err[-SHOWN:]}")
    if difference := command.difference(*outs):
        raise SystemExit(f"{command.name} gives another result when it is run again: {difference}")
    shutil.rmtree(outs[1])
    return Reference(
        out=outs[0],
        seconds=min(first.seconds, second.seconds),
        peak_bytes=first.peak_bytes,
        reads=counts.reads,
        writes=counts.writes,
    )


def try_once(
    command: Command,
    fault: Fault,
    number: int,
    reference: Reference,
    *,
    folder: Path,
    setting: Setting,
    library: Path,
    seed: int,
) -> Trial:
    """Run a command under a fault, then run it again, and judge both.

    Args:
        command: What is run.
        fault: What is done to it.
        number: Which trial of the two this is.
        reference: The command without a fault.
        folder: For this trial alone; what failed stays in it.
        setting: How runs are started; their output goes into the folder.
        library: The shim.
        seed: Where chance begins.
    """
    chance = random.Random(f"{seed}/{command.name}/{fault.name}/{number}")
    shutil.rmtree(folder, ignore_errors=True)
    out = folder / "out"
    out.mkdir(parents=True)
    case = Case(command, reference, out, setting, chance, library)
    with case.undo:
        disturbed = fault.inflict(case)
        found = judge(command, fault, disturbed, reference.out, out)
        after: list[Ran] = []
        end = UNHARMED
        is_other = WRONG in "".join(found) and _is_of_the_rest(case)
        if is_other:
            found = []
        if not found and (is_other or not _is_done(command, disturbed, out)):
            end, found = _go_on(case, fault, after)
        if not found and (difference := command.difference(reference.out, out)):
            found = [f"{end}, but {difference}"]
    if not found:
        shutil.rmtree(folder)
    return Trial(
        command=command.name,
        fault=fault.name,
        number=number,
        told=case.told.strip(),
        codes=tuple(ran.code for ran in disturbed),
        said=" / ".join(line[:SHOWN] for ran in disturbed for line in ran.complaints[-1:]),
        end="" if found else end,
        failures=tuple(text[:SHOWN] for text in found),
        seconds=sum(ran.seconds for ran in (*disturbed, *after)),
    )


def judge(
    command: Command, fault: Fault, disturbed: Sequence[Ran], reference: Path, out: Path
) -> list[str]:
    """Say what is wrong about the runs under a fault."""
    found = [text for ran in disturbed for text in ran.faults(fault.codes)]
    if found:
        return found
    codes = [ran.code for ran in disturbed]
    if len(disturbed) > 1 and 0 not in codes:
        return [f"none of {len(codes)} runs at once succeeded"]
    if 0 in codes and (difference := command.difference(reference, out)):
        return [f"{WRONG}: {difference}"]
    if codes[0] not in (0, 3) and (half := command.half(reference, out)):
        return [f"not whole under its final name: {half}"]
    return []


def _is_of_the_rest(case: Case) -> bool:
    """Whether a result is that of the inputs without the one that was removed."""
    if case.gone is None:
        return False
    gone, rest = case.gone, case.out.with_name("rest")
    rest.mkdir()
    kept = gone.rename(aside(case, gone))
    try:
        ran = run(case.command.words(rest), case.setting, out=rest)
    finally:
        kept.replace(gone)
    return ran.code == 0 and not case.command.difference(rest, case.out)


def _is_done(command: Command, disturbed: Sequence[Ran], out: Path) -> bool:
    """Whether there is nothing to do again: a run succeeded, or was stopped on its way out."""
    codes = [ran.code for ran in disturbed]
    return 0 in codes or (codes[0] not in (1, 3) and command.is_whole(out))


def _go_on(case: Case, fault: Fault, after: list[Ran]) -> tuple[str, list[str]]:
    """Run the command again, as a user would; gives how it came about, and what is wrong."""
    command = case.command
    after.append(run(command.again(case.out), case.setting, out=case.out))
    end = WENT_ON
    if after[-1].code == 1 and fault.changes_inputs and not after[-1].faults((1,)):
        # What was read under the fault is not what is there now, and segx says so.
        after.append(run(command.anew(case.out), case.setting, out=case.out))
        end = ANEW
    said = [f"the run after it: {text}" for text in after[-1].faults((0,))]
    return end, said
