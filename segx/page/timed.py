"""What a bench measured, with the names it has on a page."""

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.bench import BenchResult
from runtime.bundle import Bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One bundle on one backend."""

    bundle: Bundle
    result: BenchResult
    label: str
    """Names it in drawings and tables; different for each."""


def name_all(timed: Sequence[tuple[Bundle, BenchResult]]) -> tuple[Timed, ...]:
    """Name every result by its bundle, and by what is needed to tell it from the others."""
    several = len({result.backend for _, result in timed}) > 1
    count: dict[str, int] = {}
    named = []
    for bundle, result in timed:
        label = f"{result.bundle} on {result.backend}" if several else result.bundle
        count[label] = count.get(label, 0) + 1
        if count[label] > 1:
            label += f" ({count[label]})"
        named.append(Timed(bundle=bundle, result=result, label=label))
    return tuple(named)
