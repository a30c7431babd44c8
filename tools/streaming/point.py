"""The cheapest bundle there is, one convolution of 1 x 1 px: a huge raster takes minutes."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rasterio.windows import Window

from exporter.to_onnx import IR_VERSION, OPSET
from runtime.grid import Grid
from tools.bench_peers.bundle import Wrapped, write_bundle
from tools.bench_peers.classes import plain_classes
from tools.bench_peers.raster import open_raster

CLASSES = 6
GREY = 0.5
"""Every class has the same logit for an image of this value."""


def make_bundle(out: Path, aerial: Path, *, tile: int, halo: int) -> Path:
    """Write a bundle that maps imagery like a given one.

    Args:
        out: Its folder, `NAME.segx`.
        aerial: The imagery, a tile or larger.
        tile: Side of a tile, in pixels.
        halo: Context on each side of a tile's interior, in pixels. The network needs none; what it
            costs to read and throw away is measured nevertheless.

    Raises:
        SystemExit: If the imagery is smaller than a tile.
    """
    with open_raster(aerial) as source:
        if min(source.shape) < tile:
            raise SystemExit(f"{aerial} has {source.shape} px, less than a tile of {tile} px")
        sample = source.read(window=Window(0, 0, tile, tile))
        resolution_m = Grid(source.shape, source.transform, source.crs).resolution_m
        bands = tuple(
            name or f"band_{index}" for index, name in enumerate(source.descriptions, start=1)
        )
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / "network.onnx"
        onnx.save(_network(len(bands), tile), network)
        wrapped = Wrapped(
            network=network,
            name="point",
            bands=bands,
            classes=plain_classes(CLASSES),
            tile=tile,
            resolution_m=resolution_m,
            sample=sample,
        )
        return write_bundle(wrapped, out, halo=halo, halo_exact=True).path


def _network(bands: int, tile: int, *, seed: int = 0) -> onnx.ModelProto:
    weights = np.random.default_rng(seed).standard_normal((CLASSES, bands, 1, 1))
    bias = -GREY * weights.sum(axis=(1, 2, 3))
    image, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", count, tile, tile])
        for name, count in (("image", bands), ("logits", CLASSES))
    )
    constants = [
        numpy_helper.from_array(array.astype(np.float32), name)
        for name, array in (("weights", weights), ("bias", bias))
    ]
    node = helper.make_node("Conv", ["image", "weights", "bias"], ["logits"])
    graph = helper.make_graph([node], "network", [image], [logits], constants)
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
