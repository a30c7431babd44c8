"""Section: IoU of every class, and which classes are taken for which."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bundle_files import BundleFiles, Gate, GateCandidate
from .charts import Frame, dots
from .document import Column, Section, data_table, figure
from .markup import Html, tag

Ious = dict[str, tuple[float | None, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Which classes a map takes for which."""

    label: str
    """Of what, measured where."""
    names: tuple[str, ...]
    counts: NDArray[np.int64]
    """Pixels by label (rows) and map (columns), shape (K, K)."""
    miou: float | None
    """Mean IoU of the scored classes, 0 to 1."""


def classes_section(
    files: Sequence[BundleFiles], confusions: Sequence[Confusion]
) -> Section | None:
    """Show IoU by class of every bundle, and confusion matrices; None where nothing is known."""
    body: list[Html] = []
    for index, item in enumerate(files):
        body += _of_bundle(f"classes-{index}", item)
    body += [piece for item in confusions for piece in _matrix(item)]
    if not body:
        return None
    return Section(
        name="classes",
        title="Accuracy by class",
        lead="IoU is the share of what is labelled or mapped as a class that is both.",
        body=tuple(body),
    )


def _of_bundle(name: str, item: BundleFiles) -> list[Html]:
    manifest = item.bundle.manifest
    accuracy = manifest.accuracy
    if item.gate is not None and item.gate.candidates:
        return [tag("h3", manifest.name), *_gated(name, item.gate)]
    if accuracy is None:
        return []
    rows: Ious = {key: (100 * iou,) for key, iou in accuracy.iou.items() if 0 <= iou <= 1}
    if not rows:
        return []
    where = f"{accuracy.patches} patches of {accuracy.dataset} ({accuracy.split})"
    told = f"mIoU {100 * accuracy.miou:.2f} % of {accuracy.scored_classes} classes on {where}."
    return [tag("h3", manifest.name), *_drawn(name, ("this bundle",), rows, told)]


def _gated(name: str, gate: Gate) -> list[Html]:
    """Show the candidate of the gate that lost most, beside FP32."""
    worst = min(gate.candidates, key=lambda c: 1.0 if c.miou is None else c.miou)
    rows: Ious = {
        c.name: (_percent(c.reference_iou), _percent(c.iou)) for c in worst.classes if c.scored
    }
    where = f"{gate.patches} patches of {gate.dataset} ({gate.split})"
    now, before = _percent(worst.miou), _percent(gate.reference_miou)
    told = f"mIoU {_shown(now)} %, in FP32 {_shown(before)} %, on {where}, run as {worst.executed}."
    drawn = _drawn(name, ("FP32", "this bundle"), rows, told) if rows else []
    return [*drawn, _checks(worst), tag("p", f"Verdict of the gate: {gate.text}")]


def _drawn(name: str, series: Sequence[str], rows: Ious, told: str) -> list[Html]:
    frame = Frame(
        name=name,
        title="IoU of every scored class",
        description=f"{told} All values are in the table that follows.",
        axis="IoU, %",
    )
    columns = [Column(title="class"), *(Column(title=f"{s}, %", number=True) for s in series)]
    cells = [(key, *(_shown(value) for value in values)) for key, values in rows.items()]
    if len(series) == 2:
        columns.append(Column(title="change, points", number=True))
        cells = [
            (*cell, _change(*values)) for cell, values in zip(cells, rows.values(), strict=True)
        ]
    return [figure(dots(frame, series, rows), told), data_table("IoU by class", columns, cells)]


def _checks(candidate: GateCandidate) -> Html:
    columns = [
        Column(title="check"),
        Column(title="found", number=True),
        Column(title="budget", number=True),
        Column(title="passed"),
        Column(title="note"),
    ]
    rows = [
        (
            f"{check.name}, {check.unit}",
            None if check.found is None else f"{check.found:.3f}",
            None if check.budget is None else f"{check.limit} {check.budget:g}",
            _passed(check.passed),
            check.note or None,
        )
        for check in candidate.checks
    ]
    return data_table(f"Checks of the gate: {candidate.name}", columns, rows)


def _passed(passed: bool | None) -> Html:
    if passed is None:
        return tag("span", "not judged")
    word = "yes" if passed else "no"
    return tag("span", word, class_=word)


def _matrix(item: Confusion) -> list[Html]:
    """Lay out the classes that occur, as shares of the labels."""
    there = np.flatnonzero(item.counts.sum(axis=0) + item.counts.sum(axis=1))
    if not there.size:
        return []
    names = [item.names[k] for k in there]
    counts = item.counts[np.ix_(there, there)].astype(np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    numbers = range(1, len(names) + 1)
    head = [
        tag("th", tag("span", number, aria_hidden="true"), _hidden(name), scope="col")
        for number, name in zip(numbers, names, strict=True)
    ]
    body = [
        tag(
            "tr",
            tag("th", tag("span", f"{number} ", aria_hidden="true"), name, scope="row"),
            *(_share(value, column == row) for column, value in enumerate(shares[row])),
        )
        for row, (number, name) in enumerate(zip(numbers, names, strict=True))
    ]
    miou = "" if item.miou is None else f" mIoU {100 * item.miou:.2f} %."
    caption = f"Confusion, {item.label}: per cent of the labels (rows) by class of the map."
    first = tag("th", "label", scope="col")
    table = tag(
        "table",
        tag("caption", caption + miou),
        tag("thead", tag("tr", first, *head)),
        tag("tbody", *body),
        class_="matrix",
    )
    return [
        tag("h3", f"Confusion: {item.label}"),
        tag("div", table, class_="scroll", role="group", tabindex="0", aria_label=caption),
    ]


def _hidden(name: str) -> Html:
    return tag("span", name, class_="hidden")


def _share(value: float, hit: bool) -> Html:
    words = f"{100 * value:.0f}" if value >= 0.005 else ("0" if hit else "\u00b7")
    # Up to half opaque: the text keeps its contrast.
    shade = f"--share:{0.5 * value:.3f}"
    return tag("td", words, class_="hit" if hit else None, style=shade)


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _shown(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _change(before: float | None, now: float | None) -> str | None:
    if before is None or now is None:
        return None
    return (
        f"{round(now - before, 2) + 0.0:+.2f}"  # 0 is added so that what rounds to it has no sign
    )
