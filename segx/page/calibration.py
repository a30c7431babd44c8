"""Section: how well the samples that ranges were measured on stand for the data."""

from collections.abc import Sequence

from .bundle_files import BundleFiles, Calibration
from .charts import Frame, dots
from .document import Column, Section, data_table, figure
from .markup import Html, tag


def calibration_section(files: Sequence[BundleFiles]) -> Section | None:
    """Show class shares, areas and cloudiness of the samples; None where nothing was calibrated."""
    body: list[Html] = []
    for index, item in enumerate(files):
        if item.calibration is not None:
            body.append(tag("h3", item.bundle.manifest.name))
            body += _of_bundle(f"calibration-{index}", item.calibration)
    if not body:
        return None
    return Section(
        name="calibration",
        title="Calibration coverage",
        lead="Ranges of FP16 and INT8 were measured on a choice of samples. It stands for the data "
        "where every class, area and kind of sky has its share.",
        body=tuple(body),
    )


def _of_bundle(name: str, calibration: Calibration) -> list[Html]:
    chosen, coverage = calibration.selection, calibration.selection.coverage
    where = f"{len(chosen.ids)} samples of {chosen.dataset} ({chosen.split})"
    if coverage is None:
        return [tag("p", where)]
    method = f", ranges by {calibration.method}" if calibration.method else ""
    made = [tag("p", f"{where}, out of {coverage.pool}{method}.")]
    if coverage.classes:
        shares = {key: (100 * s.pool, 100 * s.pick) for key, s in coverage.classes.items()}
        gone = [key for key, share in coverage.classes.items() if share.pool > 0 == share.pick]
        told = f"without {', '.join(gone)}" if gone else "each class of the data is among them"
        frame = Frame(
            name=name,
            title="Share of each class among the samples and in the data",
            description=f"Per cent of labelled pixels by class; {told}. All values are in the "
            "table that follows.",
            axis="share of labelled pixels, %",
        )
        made.append(figure(dots(frame, ("all data", "samples taken"), shares), f"Samples: {told}."))
        columns = [
            Column(title="class"),
            Column(title="all data, %", number=True),
            Column(title="samples, %", number=True),
        ]
        rows = [(key, f"{pool:.2f}", f"{pick:.2f}") for key, (pool, pick) in shares.items()]
        made.append(data_table("Classes of the samples", columns, rows))
    counts = [("area", *item) for item in coverage.areas.items()]
    counts += [("sky", *item) for item in coverage.cloudiness.items()]
    if counts:
        columns = [Column(title="kind"), Column(title="name"), Column(title="samples", number=True)]
        made.append(data_table("Areas and cloudiness of the samples", columns, counts))
    return made
