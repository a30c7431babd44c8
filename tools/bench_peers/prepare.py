"""Make what every single-input tool is given: a raster, one ONNX file, bundles around it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rasterio.windows import Window

from runtime.grid import Grid

from .bundle import Wrapped, write_bundle
from .network import Network, build, export, halo_of
from .raster import make_raster, open_raster
from .single import Prepared, halos, refuse_without_memory


def prepare(
    model: str, aerial: Path | None, size: int, out: Path, peers: Sequence[str]
) -> Prepared:
    """Write everything into a folder.

    Args:
        model: `cnn`, a preset or a checkpoint with one aerial branch and no other.
        aerial: Imagery that the raster is made of; generated if None.
        size: Side of the raster, in pixels.
        out: The folder.
        peers: Who is to take part beside segx.
    """
    raster = make_raster(out / "raster.tif", size, aerial)
    network = build(model, raster)
    _check_bands(network, raster)
    refuse_without_memory(size, len(network.classes), peers)
    path = out / "network.onnx"
    export(network, path)
    sight = halo_of(network)
    # Without an end of its sight, the eighth of a tile that segx takes for such models.
    card = network.tile // 8 if sight is None else sight
    wrapped = _wrapped(network, path, raster)
    bundles = {
        halo: out / "bundles" / f"{network.name}-halo-{halo}.segx"
        for halo in halos(network.tile, card)
    }
    for halo, folder in bundles.items():
        write_bundle(wrapped, folder, halo=halo, halo_exact=sight is not None and sight <= halo)
    return Prepared(
        model=path,
        raster=raster,
        bundles=bundles,
        halo=card,
        tile=network.tile,
        bands=network.bands,
        classes=len(network.classes),
    )


def _check_bands(network: Network, raster: Path) -> None:
    with open_raster(raster) as source:
        if source.count != network.bands:
            raise SystemExit(f"{raster} has {source.count} bands; {network.name} {network.bands}")


def _wrapped(network: Network, path: Path, raster: Path) -> Wrapped:
    with open_raster(raster) as source:
        grid = Grid(source.shape, source.transform, source.crs)
        sample = source.read(window=Window(0, 0, network.tile, network.tile))
        names = tuple(
            name or f"band_{index}" for index, name in enumerate(source.descriptions, start=1)
        )
    return Wrapped(
        network=path,
        name=network.name,
        bands=names,
        classes=network.classes,
        tile=network.tile,
        resolution_m=grid.resolution_m,
        sample=np.ascontiguousarray(sample),
        steps=int(network.trained),
    )
