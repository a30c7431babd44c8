"""Section: every stage of an export against the one before."""

import math
from collections.abc import Sequence

from .bundle_files import BundleFiles, Parity, ParityRow, ParityStage
from .charts import Frame, dots
from .document import Column, Section, data_table, figure
from .markup import Html, tag

LEAST = 1e-12
"""Differences below this are drawn as this: 0 has no logarithm."""

_COLUMNS = (
    Column(title="stage"),
    Column(title="against"),
    Column(title="part"),
    Column(title="largest difference", number=True),
    Column(title="mean difference", number=True),
    Column(title="scale", number=True),
    Column(title="cosine", number=True),
    Column(title="same class, %", number=True),
    Column(title="within tolerance"),
)


def parity_section(files: Sequence[BundleFiles]) -> Section | None:
    """Show agreement by stage and part; None where no bundle tells it."""
    body: list[Html] = []
    for index, item in enumerate(files):
        if item.parity is not None:
            body.append(tag("h3", item.bundle.manifest.name))
            body += _of_bundle(f"parity-{index}", item.parity)
    if not body:
        return None
    return Section(
        name="parity",
        title="Parity, stage by stage",
        lead="Each stage of the export got the inputs of the stage before, and its numbers were "
        "compared. Differences are shares of the largest number of the reference.",
        body=tuple(body),
    )


def _of_bundle(name: str, parity: Parity) -> list[Html]:
    stages = [*parity.before, *parity.stages]
    kind = "samples of the data" if parity.source == "data" else "random inputs"
    missed = sum(bool(row.misses) for stage in stages for row in stage.rows)
    told = f"{missed} out of tolerance" if missed else "all within tolerance"
    frame = Frame(
        name=name,
        title="Mean difference of every part at every stage, and what is allowed",
        description=f"Logarithmic; {told}. All values are in the table that follows.",
        axis="mean difference as a share of the scale",
    )
    rows = {
        f"{stage.candidate}: {row.part}": (
            _power(_mean_share(row)),
            math.log10(max(stage.tolerance.mean_abs, LEAST)),
        )
        for stage in stages
        for row in stage.rows
    }
    table = data_table(
        "Parity of every stage with the one before",
        _COLUMNS,
        [_cells(stage, row) for stage in stages for row in stage.rows],
    )
    if not rows:
        return [table]
    caption = f"On {len(parity.samples)} {kind}: {told}."
    return [figure(dots(frame, ("found", "allowed"), rows, powers=True), caption), table]


def _mean_share(row: ParityRow) -> float | None:
    found = row.agreement
    return None if found.mean_abs is None else found.mean_abs / (found.scale or 1.0)


def _power(value: float | None) -> float | None:
    return None if value is None else math.log10(max(abs(value), LEAST))


def _cells(stage: ParityStage, row: ParityRow) -> tuple[str | Html | None, ...]:
    found = row.agreement
    verdict = "; ".join(row.misses) or "yes"
    return (
        stage.candidate,
        stage.reference,
        row.part,
        _written(found.max_abs, ".1e"),
        _written(found.mean_abs, ".1e"),
        _written(found.scale, ".3g"),
        _written(found.cosine, ".7f"),
        None if found.argmax is None else f"{100 * found.argmax:.3f}",
        tag("span", verdict, class_="no" if row.misses else "yes"),
    )


def _written(value: float | None, form: str) -> str | None:
    return None if value is None else format(value, form)
