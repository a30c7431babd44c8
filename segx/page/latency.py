"""Section: how long a call takes, every call that was counted, and which part takes it."""

from collections.abc import Sequence

from .charts import Frame, strips
from .document import Column, Section, data_table, figure
from .markup import Html
from .timed import Timed

_QUANTILES = ("p50", "p90", "p95", "p99")
_COLUMNS = (
    Column(title="bundle"),
    *(Column(title=f"ms, {name}", number=True) for name in ("mean", *_QUANTILES)),
    Column(title="tiles/s in a row", number=True),
    Column(title="least and most tiles/s (rounds)", number=True),
)


def latency_section(timed: Sequence[Timed]) -> Section:
    """Show single calls, their quantiles and the means of the parts."""
    rows = {item.label: item.result.calls_ms for item in timed}
    fastest = min(timed, key=lambda item: item.result.latency_ms.p50)
    told = f"{fastest.label} is the fastest: {fastest.result.latency_ms.p50:.1f} ms (median)."
    frame = Frame(
        name="latency-calls",
        title="Milliseconds of every counted call",
        description=f"{told} Quantiles of all are in the table that follows.",
        axis="ms per call, all parts",
    )
    one = timed[0].result
    per_call = "one tile" if one.batch == 1 else f"{one.batch} tiles"
    caption = (
        f"Ticks: {one.repeats} calls of {per_call}, after {one.warmup} that do not count. Bar: the "
        f"middle half. Diamond: the median. {told}"
    )
    return Section(
        name="latency",
        title="Latency",
        lead="Arrays lie in memory; reading, preparing and writing are not in these figures.",
        body=(
            figure(strips(frame, rows), caption),
            data_table("Quantiles of the latency", _COLUMNS, [_cells(t) for t in timed]),
            _parts(timed),
        ),
    )


def _cells(item: Timed) -> list[str]:
    found = item.result.latency_ms
    rates = [measured.tiles_per_s for measured in item.result.rounds]
    values = (found.mean, *(getattr(found, name) for name in _QUANTILES), item.result.tiles_per_s)
    spread = f"{min(rates):.2f} to {max(rates):.2f} ({len(rates)})"
    return [item.label, *(f"{value:.2f}" for value in values), spread]


def _parts(timed: Sequence[Timed]) -> Html:
    names = list(dict.fromkeys(name for item in timed for name in item.result.part_ms))
    columns = [Column(title="bundle"), *(Column(title=name, number=True) for name in names)]
    rows = [
        [
            item.label,
            *(
                f"{item.result.part_ms[name]:.2f}" if name in item.result.part_ms else None
                for name in names
            ),
        ]
        for item in timed
    ]
    return data_table("Mean milliseconds of every part", columns, rows)
