"""Section: where the time of a run went, and which stage bounds it."""

from collections.abc import Sequence

from runtime.report import Report

from .charts import Frame, Part, stacks
from .document import Column, Section, data_table, figure
from .markup import Html, tag

KINDS = {"busy": "working", "input": "waiting for input", "room": "waiting for room"}
MEANING = {  # in the order in which a tile goes through them
    "survey": "check the input, cut it into tiles",
    "read": "read aerial pixels",
    "prepare": "make the Sentinel-2 input",
    "infer": "run the model",
    "write": "write rows of the maps",
    "finish": "finish maps as GeoTIFF",
}
_COLUMNS = (
    Column(title="stage"),
    Column(title="does"),
    Column(title="working, s", number=True),
    Column(title="waiting for input, s", number=True),
    Column(title="waiting for room, s", number=True),
    Column(title="bounds the run"),
)


def stages_section(runs: Sequence[tuple[str, Report]]) -> Section | None:
    """Show the stages of every run, by its name; None without a run."""
    if not runs:
        return None
    body: list[Html] = []
    for index, (name, report) in enumerate(runs):
        body += [tag("h3", name), *_of_run(f"stages-{index}", report)]
    return Section(
        name="stages",
        title="Stages of a run",
        lead="Stages work side by side, each waiting for the one before it or for room in the "
        "queue behind it. The stage that works longest bounds the run: only a faster one of it "
        "makes the run faster.",
        body=tuple(body),
    )


def _of_run(name: str, report: Report) -> list[Html]:
    bound = report.bound_by
    known = [stage for stage in MEANING if stage in report.stages_s]
    stages = dict.fromkeys([*known, *report.stages_s])
    parts = {stage: _parts(report, stage) for stage in stages}
    strong = "" if bound is None else f"{bound} (bounds the run)"
    rows = {strong if stage == bound else stage: found for stage, found in parts.items()}
    share = "" if report.model_share is None else f" The model was busy {report.model_share:.0%}."
    told = (
        f"{report.wall_s:.1f} s for {report.tiles} tiles, {report.km2_per_h:.1f} km\u00b2/h; first "
        f"tile after {report.cold_start_s:.1f} s; bound by {bound or 'no stage'}.{share}"
    )
    table = data_table(
        "Seconds of every stage",
        _COLUMNS,
        [
            (
                stage,
                MEANING.get(stage),
                *(f"{part.value:.2f}" for part in found),
                tag("span", "yes", class_="yes") if stage == bound else "no",
            )
            for stage, found in parts.items()
        ],
    )
    if not rows:
        return [tag("p", told)]
    frame = Frame(
        name=name,
        title="Working and waiting seconds of every stage",
        description=told,
        axis="seconds of the run; each bar adds up what a stage worked and waited",
    )
    marks = {"first tile": report.cold_start_s, "end": report.wall_s}
    return [figure(stacks(frame, KINDS, rows, marks, strong), told), table]


def _parts(report: Report, stage: str) -> list[Part]:
    waited = report.waiting_s.get(stage, {})
    return [
        Part(kind="busy", value=report.stages_s[stage]),
        Part(kind="input", value=waited.get("input", 0.0)),
        Part(kind="room", value=waited.get("room", 0.0)),
    ]
