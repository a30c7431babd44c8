"""`segx demo`: a map, a report and a bench from the packaged toy bundle."""

from pathlib import Path

import typer


def demo(
    ctx: typer.Context,
    out: Path = typer.Option(Path("segx-demo"), help="Folder for scene, maps and figures."),
    json: Path | None = typer.Option(None, help="Also write the report to this file."),
) -> None:
    """Make a sample scene, its map, a report and a bench with the packaged toy; needs no torch.

    Example: segx demo
    """
    from ..bundles import TOY
    from ..console import chosen, done, say
    from ..sample import write_scene
    from .bench import bench
    from .evaluate import eval_
    from .infer import infer

    scene = out / "scene"
    if not (scene / "aerial.tif").is_file():
        say("1. generating a scene: aerial image with height, labels, a Sentinel-2 year")
        write_scene(scene, seed=7)
    chosen("scene", scene)
    say("2. mapping it with the packaged toy bundle")
    infer(scene, bundle=TOY, out=out / "maps", confidence=True, json=json)
    say("3. measuring the map against the scene's labels")
    eval_(
        TOY,
        scene,
        split="val",
        patches=None,
        dates=None,
        shift_satellite=None,
        drop_band=None,
        csv=None,
        json=out / "eval.json",
    )
    say("4. timing the bundle")
    bench(
        ctx,
        [TOY],
        scene=scene,
        warmup=1,
        repeats=5,
        batch=1,
        threads=None,
        json=out / "bench.json",
    )
    chosen("map", out / "maps" / "aerial_landcover.tif")
    chosen("report", out / "maps" / "report.json")
    done(out, "train a model of your own: pip install 'segx[export]', segx train DATA")
