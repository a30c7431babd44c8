"""`segx data`: look through a data set, and share out its patches anew."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from runtime.check.dates import DateCoverage
    from runtime.check.findings import DataCheck

NOT_WHOLE = 3
"""Exit code where something is damaged, or missing for training."""

PERCENT = 100.0

data = typer.Typer(no_args_is_help=True, help="Look through a data set; share out its patches.")


@data.command("check")
def check(
    path: Annotated[Path, typer.Argument(help="Folder of a data set of any layout.")],
    tile: Annotated[
        int, typer.Option(min=32, help="Side of the tiles, where images are cut into some.")
    ] = 512,
    json: Annotated[Path | None, typer.Option(help="Also write all of it to this file.")] = None,
) -> None:
    """Say what a data set holds and what is wrong with it: reads all headers, labels and series.

    Exit code 3 says that something is damaged, or missing for training.

    Example: segx data check flair2/
    """
    from runtime.check.check import check_dataset
    from runtime.dataset import open_dataset

    from ..console import done, progress, say, write_json

    dataset = open_dataset(path, tile=tile)
    with progress("labels") as advance:
        found = check_dataset(dataset, on_patch=advance)
    _print(found)
    if json is not None:
        write_json(json, {**_fields(found), "whole": found.whole})
    then = f"segx {'infer' if found.is_scene else 'train'} {path}"
    if not found.whole:
        then = f"segx data check {path}"
    if json is not None:
        done(json, then)
    else:
        say(f"next: {then}")
    if not found.whole:
        raise typer.Exit(NOT_WHOLE)


@data.command("split")
def split(
    path: Annotated[Path, typer.Argument(help="Folder of a data set of any layout.")],
    by: Annotated[
        Literal["sheet", "benchmark"],
        typer.Option(
            help="sheet: whole images or areas, drawn with a seed; benchmark: the 24 and 14 tiles "
            "of ISPRS Potsdam, 4_12 among them, the 14 as val."
        ),
    ] = "sheet",
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same.")] = 2022,
) -> None:
    """Write a splits.json, which decides over the splits of a data set from then on.

    Example: segx data split landcover-ai/ --by sheet
    """
    from runtime.dataset import open_dataset
    from runtime.datasets.potsdam import Potsdam
    from runtime.datasets.potsdam_published import BENCHMARK_TRAIN, TEST_TILES
    from runtime.datasets.splits import LISTED, draw_areas
    from runtime.errors import DataError

    from ..console import chosen, done, table, write_json

    target = path / LISTED
    if target.exists():
        raise DataError(
            f"{target} is there and decides already; expected none; move it away to draw anew"
        )
    dataset = open_dataset(path)
    areas = set(dataset.groups().values())
    if by == "sheet":
        splits = draw_areas(areas, seed=seed)
        chosen("by", by, f"seed {seed}")
    elif isinstance(dataset, Potsdam):
        both = {"train": BENCHMARK_TRAIN, "val": TEST_TILES}
        splits = {name: tuple(t for t in tiles if t in areas) for name, tiles in both.items()}
        chosen("by", by)
    else:
        raise typer.BadParameter("is ISPRS Potsdam's; use sheet", param_hint="--by benchmark")
    write_json(target, splits)
    table(["split", "areas"], [[name, len(names)] for name, names in splits.items()])
    done(target, f"segx data check {path}")


def _print(found: "DataCheck") -> None:
    from ..console import chosen, say, table

    chosen("data", found.root, found.layout)
    chosen("licence", found.licence)
    finest, coarsest = found.resolution_m
    size = f"{finest:.2f} m" if finest == coarsest else f"{finest:.2f} to {coarsest:.2f} m"
    crs = ", ".join(found.crs) or "CRS not looked at"
    chosen("images", f"{', '.join(found.bands)} at {size}", f"{crs}; {found.areas} areas")
    rows = [[count.split, count.patches, count.labelled] for count in found.splits]
    table(["split", "patches", "with labels"], [*rows, ["in no split", found.unused, None]])
    shares: list[list[object]] = [[name, PERCENT * share] for name, share in found.shares]
    table(["class", "share %"], [*shares, ["ignored, of all pixels", PERCENT * found.ignored]])
    if found.satellite is not None:
        _print_dates(found.satellite)
    for finding in found.findings:
        say(f"{finding.kind}: {finding.text}")
    say(_verdict(found))


def _verdict(found: "DataCheck") -> str:
    if found.whole:
        return "whole: a scene is mapped and measured" if found.is_scene else "fit for training"
    kinds = [finding.kind for finding in found.findings]
    return f"not fit: {kinds.count('damaged')} damaged, {kinds.count('missing')} missing"


def _print_dates(coverage: "DateCoverage") -> None:
    from ..console import chosen, table

    fewest, most = coverage.dates
    chosen(
        "Sentinel-2",
        f"{coverage.series} series of {fewest} to {most} dates",
        f"{coverage.first} to {coverage.last}; {coverage.offset_dates} dates hold the offset of "
        "baseline 04.00",
    )
    months = zip(coverage.per_month, coverage.clear_share, strict=True)
    table(
        ["month", "dates", "clear %"],
        [[month, dates, PERCENT * clear] for month, (dates, clear) in enumerate(months, start=1)],
    )


def _fields(found: "DataCheck") -> dict[str, object]:
    from dataclasses import fields

    return {field.name: getattr(found, field.name) for field in fields(found)}
