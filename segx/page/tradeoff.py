"""Section: accuracy against latency against size, for every precision and backend."""

from collections.abc import Sequence
from typing import get_args

from runtime.manifest import Precision

from .charts import Frame, Point, scatter
from .document import Column, Section, data_table, figure
from .markup import Html, tag
from .timed import Timed

PRECISIONS: tuple[str, ...] = get_args(Precision)
"""Each has a mark of its own."""

_COLUMNS = (
    Column(title="bundle"),
    Column(title="precision"),
    Column(title="executed"),
    Column(title="device"),
    Column(title="mIoU, %", number=True),
    Column(title="change from checkpoint, points", number=True),
    Column(title="median ms", number=True),
    Column(title="MiB", number=True),
    Column(title="Mpx/s end to end", number=True),
    Column(title="golden tile, %", number=True),
    Column(title="verified"),
)


def tradeoff_section(timed: Sequence[Timed]) -> Section:
    """Draw what is known of all three; all results are in the table."""
    known = [
        Point(
            label=item.label,
            x=item.result.latency_ms.p50,
            y=100 * item.result.accuracy.miou,
            size=item.result.size_mib,
            series=PRECISIONS.index(item.bundle.manifest.precision),
        )
        for item in timed
        if item.result.accuracy is not None and 0 <= item.result.accuracy.miou <= 1
    ]
    table = data_table("Accuracy, latency and size", _COLUMNS, [_cells(t) for t in timed])
    return Section(
        name="tradeoff",
        title="Accuracy, latency, size",
        lead="Up is more accurate, left is faster, small marks are small bundles. Accuracy was "
        "measured at export; latency is the median of one call here.",
        body=(*_drawn(known, timed), table, *_caveats(timed)),
    )


def _drawn(points: Sequence[Point], timed: Sequence[Timed]) -> list[Html]:
    if not points:
        return [tag("p", "None of these bundles has a measured accuracy, so that none is drawn.")]
    told = "; ".join(f"{p.label}: {p.y:.2f} %, {p.x:.1f} ms, {p.size:.1f} MiB" for p in points)
    frame = Frame(
        name="tradeoff-chart",
        title="mIoU against latency; the area of a mark is the size of the bundle",
        description=f"{told}.",
        axis="median latency of one call, ms",
    )
    left = len(timed) - len(points)
    caption = "Area of a mark: MiB of the ONNX files."
    if left:
        caption += f" {left} without a measured accuracy are in the table only."
    return [figure(scatter(frame, points, upward="mIoU, %", series=PRECISIONS), caption)]


def _cells(item: Timed) -> list[str | Html | None]:
    result, accuracy, run = item.result, item.result.accuracy, item.result.end_to_end
    change = None if accuracy is None else 100 * (accuracy.miou - accuracy.reference_miou)
    verified = result.verified
    return [
        item.label,
        item.bundle.manifest.precision,
        f"{result.backend} {result.precision}",
        result.device,
        None if accuracy is None else f"{100 * accuracy.miou:.2f}",
        None if change is None else f"{change:+.2f}",
        f"{result.latency_ms.p50:.2f}",
        f"{result.size_mib:.1f}",
        None if run is None else f"{run.mpx_per_s:.2f}",
        f"{100 * result.golden_agreement:.2f}",
        tag("span", "yes" if verified else "no", class_="yes" if verified else "no"),
    ]


def _caveats(timed: Sequence[Timed]) -> list[Html]:
    """Say what accuracies were measured on, which may differ."""
    found = dict.fromkeys(
        f"{a.scored_classes} classes, {a.patches} patches of {a.dataset} ({a.split})"
        for item in timed
        if (a := item.result.accuracy) is not None
    )
    if not found:
        return []
    if len(found) == 1:
        return [tag("p", f"mIoU of {next(iter(found))}.")]
    lines = [tag("li", text) for text in found]
    return [tag("p", "mIoU was not measured on the same data everywhere:"), tag("ul", *lines)]
