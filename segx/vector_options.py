"""Options of `segx infer` that turn maps into polygons."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runtime.stream.afterwards import AfterMap

VectorizeFlag = Annotated[
    bool,
    typer.Option("--vectorize", help="Also write the map as polygons: a GeoPackage per file."),
]
MinAreaFlag = Annotated[
    float | None,
    typer.Option(
        "--min-area",
        min=0.0,
        metavar="M2",
        help="With --vectorize: smaller areas become part of their largest neighbour.",
    ),
]
SimplifyFlag = Annotated[
    float | None,
    typer.Option(
        "--simplify",
        min=0.0,
        metavar="METRES",
        help="With --vectorize: fewer corners, neighbours alike. Default: every pixel's.",
    ),
]


def polygons_after(
    vectorize: bool, min_area: float | None, simplify: float | None
) -> "AfterMap | None":
    """Say what is made of finished maps; None where no polygons are asked for.

    Raises:
        BackendError: If the extra `gis` is missing.
        typer.BadParameter: If an option has nothing to say.
    """
    if not vectorize:
        for name, value in (("--min-area", min_area), ("--simplify", simplify)):
            if value is not None:
                raise typer.BadParameter(
                    "is for --vectorize; add that, or leave it out", param_hint=name
                )
        return None
    from runtime.stream.afterwards import AfterMap

    from .console import progress_lines
    from .extras import require

    require("gis", "segx infer --vectorize")
    from .gis import VectorOptions
    from .gis import vectorize as write_polygons

    options = VectorOptions(min_area_m2=min_area or 0.0, simplify_m=simplify or 0.0)

    def make(path: Path, folder: Path) -> Path:
        return write_polygons(path, folder, options)

    return AfterMap(make=make, settings=str(options), progress=lambda: progress_lines("polygons"))
