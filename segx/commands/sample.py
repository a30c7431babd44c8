"""`segx sample`: write a small synthetic data set in a real data set's layout."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..console import chosen, done, progress, say, table

CONFIG_HINTS = {
    "landcover-ai": "takes red, green and blue at 0.25 m and has 5 classes",
    "folder": "takes some of red, green, blue and nir at 0.2 m and has 4 classes",
}
"""What the config of a training on a layout says, where no preset is for it."""


def sample(
    out: Annotated[Path, typer.Argument(help="Folder to make; it may exist if it is empty.")],
    layout: Annotated[
        Literal["flair2", "flair-hub", "landcover-ai", "potsdam", "folder", "scene"],
        typer.Option(
            help="flair2, flair-hub: patches to train on; landcover-ai: RGB images at 0.25 m with "
            "lists of tiles, 5 classes; potsdam: tiles at 0.05 m with coloured labels, 6 classes; "
            "folder: images and labels of your own, 4 classes; scene: one image to map."
        ),
    ] = "flair2",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same data.")] = 1,
) -> None:
    """Write a small synthetic data set: invented land, an aerial image and a Sentinel-2 year.

    It lies on disk as the real data set does, so every other command takes it.

    Example: segx sample data/sample
    """
    from ..sample import (
        summarise,
        write_flair2,
        write_flair_hub,
        write_folder,
        write_landcover_ai,
        write_potsdam,
        write_scene,
    )

    chosen("layout", layout)
    chosen("seed", seed)
    if layout == "flair2":
        with progress("areas") as advance:
            write_flair2(out, seed=seed, on_area=advance)
        then = f"segx train {out}"
    elif layout == "flair-hub":
        with progress("areas") as advance:
            write_flair_hub(out, seed=seed, on_area=advance)
        then = f"segx train {out}"
    elif layout == "landcover-ai":
        with progress("images") as advance:
            write_landcover_ai(out, seed=seed, on_sheet=advance)
        then = f"segx train {out} --config CONFIG.toml"
    elif layout == "potsdam":
        with progress("tiles") as advance:
            write_potsdam(out, seed=seed, on_tile=advance)
        then = f"segx train {out} --config cse-unet-tiny"
    elif layout == "folder":
        with progress("images") as advance:
            write_folder(out, seed=seed, on_image=advance)
        then = f"segx train {out} --config CONFIG.toml"
    else:
        write_scene(out, seed=seed)
        then = f"segx infer {out}"
    summary = summarise(out)
    say(f"synthetic data: {summary.contents}")
    table(("class", "share %"), [(name, 100 * share) for name, share in summary.shares])
    if layout in CONFIG_HINTS:
        say(f"a config for it {CONFIG_HINTS[layout]}")
    done(out, then)
