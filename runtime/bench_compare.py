"""Compare a bench with an earlier one on the same machine: slower, or less accurate?

Refused is what says nothing: another machine, other settings, another scene. A bundle that was
exported again is compared with the one of its name.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .bench import BenchResult
from .errors import DataError
from .jsonfile import read_json
from .machine import Machine
from .manifest import Accuracy
from .schema import parse, to_dict


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a bench measured, as far as figures depend on it."""

    threads: int | None
    """None: the backend's default."""
    batch: int
    scene: str
    """Hash of the scene's files, or which one was generated; empty without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What is still called the same."""

    slowdown: float
    """Per cent of time or of throughput at most."""
    loss: float
    """Points of mIoU, and of the golden tile's agreement, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OldLatency:
    """Part of an earlier result."""

    p50: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OldAccuracy:
    """Part of an earlier result."""

    dataset: str
    split: str
    patches: int
    miou: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OldRun:
    """Part of an earlier result."""

    mpx_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OldResult:
    """An earlier result of one bundle with one backend."""

    bundle: str
    backend: str
    golden_agreement: float
    latency_ms: OldLatency
    tiles_per_s: float
    end_to_end: OldRun | None
    accuracy: OldAccuracy | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OldBench:
    """What `segx bench --json` wrote before."""

    machine: Machine
    settings: Settings
    results: tuple[OldResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One figure, before and now."""

    bundle: str
    backend: str
    figure: str
    unit: str
    before: float
    now: float
    worse: float
    """How much worse it is, in per cent or points; below zero: better."""
    bound: float
    in_points: bool
    """Whether `worse` and `bound` are points of accuracy, not per cent of speed."""

    @property
    def passed(self) -> bool:
        """Whether it is within its bound."""
        return self.worse <= self.bound


def read_bench(path: Path) -> OldBench:
    """Read what `segx bench --json` wrote.

    Raises:
        DataError: If it cannot be read or is nothing of the kind.
    """
    data = read_json(path, expected="a file of `segx bench --json`; write one")
    return parse(OldBench, data, where=str(path), unknown="ignore", error=DataError)


def check_same(old: OldBench, machine: Machine, settings: Settings, where: Path) -> None:
    """Check that figures of two benches may be compared.

    Raises:
        DataError: Naming what differs first.
    """
    before = {**to_dict(old.machine), **to_dict(old.settings)}
    now = {**to_dict(machine), **to_dict(settings)}
    for name, found in now.items():
        if before[name] != found:
            raise DataError(
                f"{where} was measured with {name} {_shown(before[name])}, and this with "
                f"{_shown(found)}; expected the same machine, settings and scene; measure both on "
                "one machine in one way"
            )


def _shown(value: object) -> str:
    words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"'{words[:80]}'"


def compare(
    old: OldBench, results: Sequence[BenchResult], bounds: Bounds, where: Path
) -> tuple[Change, ...]:
    """Compare every result with the earlier one of the same bundle name and backend.

    Raises:
        DataError: If the earlier bench has no such result.
    """
    known = {(item.bundle, item.backend): item for item in old.results}
    changes: list[Change] = []
    for result in results:
        before = known.get((result.bundle, result.backend))
        if before is None:
            names = "; ".join(f"{bundle} on {backend}" for bundle, backend in known) or "nothing"
            raise DataError(
                f"{where} holds {names[:200]}; expected {result.bundle} on {result.backend}, which "
                "was timed now; name the same bundles and backends as then"
            )
        changes += _speed(before, result, bounds) + _accuracy(before, result, bounds)
    return tuple(changes)


def _speed(old: OldResult, new: BenchResult, bounds: Bounds) -> list[Change]:
    rows = [
        ("median latency", "ms", old.latency_ms.p50, new.latency_ms.p50, False),
        ("model alone", "tiles/s", old.tiles_per_s, new.tiles_per_s, True),
    ]
    if old.end_to_end is not None and new.end_to_end is not None:
        both = old.end_to_end.mpx_per_s, new.end_to_end.mpx_per_s
        rows.append(("end to end", "Mpx/s", *both, True))
    return [
        Change(
            bundle=new.bundle,
            backend=new.backend,
            figure=name,
            unit=unit,
            before=before,
            now=now,
            worse=100 * (_ratio(before, now) if more_is_better else _ratio(now, before)) - 100,
            bound=bounds.slowdown,
            in_points=False,
        )
        for name, unit, before, now, more_is_better in rows
    ]


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else math.inf


def _accuracy(old: OldResult, new: BenchResult, bounds: Bounds) -> list[Change]:
    rows = [("golden tile", old.golden_agreement, new.golden_agreement)]
    then, today = old.accuracy, new.accuracy
    # mIoU of other patches is another figure.
    if then is not None and today is not None and _measured_on(then) == _measured_on(today):
        rows.append(("mIoU", then.miou, today.miou))
    return [
        Change(
            bundle=new.bundle,
            backend=new.backend,
            figure=name,
            unit="%",
            before=100 * before,
            now=100 * now,
            worse=100 * (before - now),
            bound=bounds.loss,
            in_points=True,
        )
        for name, before, now in rows
    ]


def _measured_on(accuracy: OldAccuracy | Accuracy) -> tuple[str, str, int]:
    return accuracy.dataset, accuracy.split, accuracy.patches
