"""`segx sample`: write a small synthetic data set in a real data set's layout."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..console import chosen, done, progress, say, table

OnPart = Callable[[int, int], None]
"""Called with the parts written and the parts in all."""

NEXT = {
    "flair2": "segx train {out}",
    "flair-hub": "segx train {out}",
    "landcover-ai": "segx train {out} --config difd-tiny",
    "potsdam": "segx train {out} --config cse-unet-tiny",
    "folder": "segx train {out} --config CONFIG.toml",
    "scene": "segx infer {out}",
    "safe": "segx satellite --from {out} --out {out}/sentinel2",
}
"""The command after each layout; presets are for those with classes of their own."""

CONFIG_HINTS = {"folder": "takes some of red, green, blue and nir at 0.2 m and has 4 classes"}
"""What the config of a training on a layout says, where no preset is for it."""


def sample(
    out: Annotated[Path, typer.Argument(help="Folder to make; it may exist if it is empty.")],
    layout: Annotated[
        Literal["flair2", "flair-hub", "landcover-ai", "potsdam", "folder", "scene", "safe"],
        typer.Option(
            help="flair2, flair-hub: patches to train on; landcover-ai: RGB images at 0.25 m with "
            "lists of tiles, 5 classes; potsdam: tiles at 0.05 m with coloured labels, 6 classes; "
            "folder: images and labels of your own, 4 classes; scene: one image to map; safe: "
            "Sentinel-2 products as they are published, lossless JPEG 2000."
        ),
    ] = "flair2",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same data.")] = 1,
    series: Annotated[
        Path | None,
        typer.Option(help="Folder of S2_YYYYMMDD.tif that become the products of --layout safe."),
    ] = None,
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
        write_safe,
        write_scene,
    )

    if series is not None and layout != "safe":
        raise typer.BadParameter("is for --layout safe; leave it out", param_hint="--series")
    chosen("layout", layout)
    chosen("seed", seed)
    writers: dict[str, tuple[str, Callable[[OnPart], object]]] = {
        "flair2": ("areas", lambda tell: write_flair2(out, seed=seed, on_area=tell)),
        "flair-hub": ("areas", lambda tell: write_flair_hub(out, seed=seed, on_area=tell)),
        "landcover-ai": ("images", lambda tell: write_landcover_ai(out, seed=seed, on_sheet=tell)),
        "potsdam": ("tiles", lambda tell: write_potsdam(out, seed=seed, on_tile=tell)),
        "folder": ("images", lambda tell: write_folder(out, seed=seed, on_image=tell)),
        "safe": (
            "dates",
            lambda tell: write_safe(out, seed=seed, series=series, on_date=tell),
        ),
    }
    if layout == "scene":
        write_scene(out, seed=seed)
    else:
        parts, write = writers[layout]
        with progress(parts) as advance:
            write(advance)
    summary = summarise(out)
    say(f"{'from ' + str(series) if series else 'synthetic data'}: {summary.contents}")
    if summary.shares:
        table(("class", "share %"), [(name, 100 * share) for name, share in summary.shares])
    if layout in CONFIG_HINTS:
        say(f"a config for it {CONFIG_HINTS[layout]}")
    done(out, NEXT[layout].format(out=out))
