"""`segx infer`: map scenes with a bundle."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ..infer_steps import Reports, map_here, map_on_ray
from ..options import (
    BackendFlag,
    BackendName,
    CudaFlag,
    EnginesFlag,
    HtmlFlag,
    OffsetFlag,
    RayFlag,
    RebuildFlag,
    RunFlags,
    ShardFlag,
    ShardsFlag,
    SkipSelfTestFlag,
    TrustFlag,
    TtaFlag,
    TtaName,
)
from ..shards import share_of
from ..vector_options import MinAreaFlag, SimplifyFlag, VectorizeFlag, polygons_after


class MissingSatelliteName(str, Enum):
    """What to do where no Sentinel-2 date is clear."""

    nearest_dates = "nearest-dates"
    refuse = "refuse"
    aerial_only = "aerial-only"


def infer(
    source: Path = typer.Argument(
        ..., metavar="INPUT", help="GeoTIFF, folder of GeoTIFFs, scene folder or FLAIR #2 tree."
    ),
    bundle: Annotated[
        Path | None,
        typer.Option(help="Bundle to run. Default: the newest verified one below this folder."),
    ] = None,
    satellite: Annotated[
        Path | None,
        typer.Option(
            help="Folder of S2_YYYYMMDD.tif files. Default: sentinel2 in or beside INPUT."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for maps and report.")] = Path("maps"),
    confidence: Annotated[
        bool, typer.Option("--confidence", help="Also write the confidence.")
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write one probability band per class.")
    ] = False,
    margin: Annotated[
        bool, typer.Option("--margin", help="Also write how far the winner leads the runner-up.")
    ] = False,
    quality: Annotated[
        bool, typer.Option("--quality", help="Also write what each pixel was mapped from.")
    ] = False,
    disagreement: Annotated[
        bool, typer.Option("--disagreement", help="Also write where overlapping tiles differ.")
    ] = False,
    vectorize: VectorizeFlag = False,
    min_area: MinAreaFlag = None,
    simplify: SimplifyFlag = None,
    missing_satellite: Annotated[
        MissingSatelliteName,
        typer.Option(
            help="Where no Sentinel-2 date is clear: take the least covered, stop, or go without.",
        ),
    ] = MissingSatelliteName.nearest_dates,
    satellite_offset: OffsetFlag = "auto",
    satellite_lattice: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Run the satellite branch once per so many cells, not per tile; 0: as fits.",
        ),
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option(help="Bands of INPUT in the model's order, by number or name: 4,1,2,3."),
    ] = None,
    elevation: Annotated[
        str | None,
        typer.Option(
            help="Raster of heights above the ground, two as DSM,DTM, or zero, where INPUT has "
            "no such band."
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help="Where INPUT is of 16 bits: values that become 0 and 255, as LOW,HIGH, or "
            "percentiles, as 2%,98%."
        ),
    ] = None,
    crs: Annotated[
        str | None, typer.Option(help="CRS of INPUT where files name none: EPSG:2154.")
    ] = None,
    satellite_substitute: Annotated[
        str | None,
        typer.Option(help="Bands that stand for those that the series lacks: B8A=B08."),
    ] = None,
    resample: Annotated[
        bool,
        typer.Option("--resample", help="Bring INPUT of another resolution to that of the model."),
    ] = False,
    blend: Annotated[
        bool,
        typer.Option("--blend", help="Blend overlapping tiles (Hann) instead of cropping them."),
    ] = False,
    tta: TtaFlag = TtaName.none,
    halo: Annotated[
        int | None,
        typer.Option(min=0, help="Context around a tile's interior, px. Default: the model's."),
    ] = None,
    max_memory: Annotated[str | None, typer.Option(help="Most memory to use: 2GB, 800MB.")] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Tiles per call. Default: 1 on a processor, 8 on a GPU."),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Do not go on with a run that stopped.")
    ] = False,
    shard: ShardFlag = None,
    ray: RayFlag = None,
    shards: ShardsFlag = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and what it takes, and stop.")
    ] = False,
    backend: BackendFlag = BackendName.auto,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads. Default: the backend's.")
    ] = None,
    cuda: CudaFlag = None,
    rebuild: RebuildFlag = None,
    engines: EnginesFlag = None,
    trust_engines: TrustFlag = False,
    skip_self_test: SkipSelfTestFlag = False,
    toy_ok: Annotated[
        bool, typer.Option("--toy-ok", help="Let a toy bundle map imagery that was not generated.")
    ] = False,
    html: HtmlFlag = None,
    json: Annotated[
        Path | None, typer.Option(help="Also write the report, or the plan, here.")
    ] = None,
) -> None:
    """Map land cover over aerial imagery with its Sentinel-2 series.

    A run that was stopped goes on when the same command is given again.

    Example: segx infer tiles/ --bundle bundles/lf-dlm-tiny-fp32.segx --confidence
    """
    from runtime.mapping import MapRequest
    from runtime.stream.options import InferOptions

    from .. import __version__
    from ..bundles import bundle_or_newest
    from ..sizes import parse_size

    after = polygons_after(vectorize, min_area, simplify)
    flags = RunFlags(
        backend=backend,
        threads=threads,
        cuda=cuda,
        rebuild=rebuild,
        engines=engines,
        trust_engines=trust_engines,
        skip_self_test=skip_self_test,
    )
    options = InferOptions(
        confidence=confidence,
        probabilities=probabilities,
        margin=margin,
        quality=quality,
        disagreement=disagreement,
        blend=blend,
        halo=halo,
        bands=bands,
        elevation=elevation,
        scale=scale,
        crs=crs,
        satellite_substitute=satellite_substitute,
        resample=resample,
        missing_satellite=missing_satellite.value,
        satellite_offset=satellite_offset,
        lattice_cells=satellite_lattice,
        tta=tta.value,
        max_memory=None if max_memory is None else parse_size(max_memory),
        restart=restart,
        allow_toy=toy_ok,
        segx_version=__version__,
    )
    if satellite_lattice is not None and (batch or 1) > 1:
        raise typer.BadParameter(
            "a lattice of satellite windows takes one tile per call; leave one of them out",
            param_hint="--batch",
        )
    if dry_run and html is not None:
        raise typer.BadParameter("there is no page of a --dry-run", param_hint="--html")
    share = share_of(shard, ray, shards, dry_run=dry_run, html=html)
    request = flags.request(variant=options.variant, batch=batch or options.batch)
    wanted = MapRequest(
        source=source, satellite=satellite, out=out, options=options, shard=share, after=after
    )
    found, reports = bundle_or_newest(bundle), Reports(json, html)
    if ray is not None:
        map_on_ray(wanted, found, request, reports, address=ray, shards=shards)
    else:
        map_here(wanted, found, request, reports, dry_run=dry_run)
