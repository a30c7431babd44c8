"""`segx sample`: write a small synthetic data set in a real data set's layout."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..console import chosen, done, progress, say, table


def sample(
    out: Annotated[Path, typer.Argument(help="Folder to make; it may exist if it is empty.")],
    layout: Annotated[
        Literal["flair2", "scene"],
        typer.Option(help="flair2: patches to train on; scene: one image to map."),
    ] = "flair2",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same data.")] = 1,
) -> None:
    """Write a small synthetic data set: invented land, an aerial image and a Sentinel-2 year.

    It lies on disk as the real data set does, so every other command takes it.

    Example: segx sample data/sample
    """
    from ..sample import summarise, write_flair2, write_scene

    chosen("layout", layout)
    chosen("seed", seed)
    if layout == "flair2":
        with progress("areas") as advance:
            write_flair2(out, seed=seed, on_area=advance)
    else:
        write_scene(out, seed=seed)
    summary = summarise(out)
    say(f"synthetic data: {summary.contents}")
    table(("class", "share %"), [(name, 100 * share) for name, share in summary.shares])
    done(out, f"segx train {out}" if layout == "flair2" else f"segx infer {out}")
