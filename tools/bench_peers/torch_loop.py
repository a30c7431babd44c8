"""A plain sliding loop in PyTorch over a scene.

The same tiles on the same lattice as `segx infer`, with what segx makes of the Sentinel-2 series;
tile by tile: read, prepare, run, keep the interior's classes; then one GeoTIFF. It computes no
confidence, writes no overviews and checks nothing.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor, nn

from runtime.geoseries import GeoSeries, open_series
from runtime.grid import Grid
from runtime.model import make_feed
from runtime.raster import reflected
from runtime.scene import SATELLITE_FOLDER, SCENE_AERIAL
from runtime.tiler import Tile, TilePlan
from trainkit.checkpoint import Checkpoint, load_checkpoint
from trainkit.models import LandCoverModel

Feed = Mapping[str, Tensor]
Run = Callable[[Feed], Tensor]

WAYS = ("eager", "compile-fp32", "compile-bf16")
"""Eager FP32; torch.compile with channels_last; the same under BF16 autocast."""


class Classes(nn.Module):
    """The whole model, up to the class of each pixel.

    Args:
        model: A trained model.
    """

    def __init__(self, model: LandCoverModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, feed: dict[str, Tensor]) -> Tensor:
        """Give classes, shape (N, H, W)."""
        fused: Tensor = self.model(feed)
        return fused.argmax(dim=1)


def open_way(checkpoint: Checkpoint, way: str) -> Run:
    """Make what runs a tile, in one of `WAYS`."""
    module: Any = Classes(checkpoint.model).eval()
    half: AbstractContextManager[Any] = nullcontext()
    if way != "eager":
        module = torch.compile(module.to(memory_format=torch.channels_last))
    if way == "compile-bf16":
        half = torch.autocast("cpu", dtype=torch.bfloat16)

    def run(feed: Feed) -> Tensor:
        arrays = dict(feed)
        if way != "eager":
            arrays["aerial"] = arrays["aerial"].contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(way == "eager"), torch.no_grad(), half:
            classes: Tensor = module(arrays)
        return classes

    return run


class Loop:
    """A scene that is mapped tile by tile.

    Args:
        scene: Folder with the aerial raster and its series.
        checkpoint: What maps it.
        halo: Context on each side of a tile's interior, in pixels: that of the bundles.
    """

    def __init__(self, scene: Path, checkpoint: Checkpoint, halo: int) -> None:
        self.card = checkpoint.card
        self.source = rasterio.open(scene / SCENE_AERIAL)
        self.grid = Grid(self.source.shape, self.source.transform, self.source.crs)
        self.plan = TilePlan(shape=self.grid.shape, size=self.card.aerial.tile_size, halo=halo)
        self.series: GeoSeries | None = None
        if self.card.satellite is not None:
            self.series = open_series(scene / SATELLITE_FOLDER)

    def feed(self, tile: Tile) -> Feed:
        """Read and prepare one tile."""
        satellite = None
        if self.series is not None and self.card.satellite is not None:
            half = self.card.aerial.tile_size / 2
            centre = (tile.row + half, tile.col + half)
            satellite = [self.series.prepare(self.grid, *centre, self.card.satellite)]
        arrays = make_feed([self._aerial(tile)], satellite)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def run(self, run: Run) -> NDArray[np.uint8]:
        """Map every tile."""
        classes = np.empty(self.grid.shape, dtype=np.uint8)
        for tile in self.plan:
            found = run(self.feed(tile))[0].numpy()
            classes[tile.interior] = found[tile.source]
        return classes

    def _aerial(self, tile: Tile) -> NDArray[np.uint8]:
        size = self.card.aerial.tile_size
        rows = reflected(tile.row, size, self.grid.shape[0])
        cols = reflected(tile.col, size, self.grid.shape[1])
        top, left = int(rows.min()), int(cols.min())
        window = Window(left, top, int(cols.max()) - left + 1, int(rows.max()) - top + 1)
        pixels: NDArray[np.uint8] = self.source.read(window=window)
        return pixels[:, rows - top][:, :, cols - left]


def write_map(path: Path, classes: NDArray[np.uint8], grid: Grid) -> None:
    """Write a tiled and compressed GeoTIFF."""
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": grid.shape[0],
        "width": grid.shape[1],
        "dtype": "uint8",
        "crs": grid.crs,
        "transform": grid.transform,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
    }
    with rasterio.open(path, "w", **profile) as target:
        target.write(classes, 1)


def work(task: Mapping[str, Any]) -> dict[str, Any]:
    """Map a scene, and say how long each step took."""
    torch.set_num_threads(task["threads"])
    begin = time.perf_counter()
    checkpoint = load_checkpoint(Path(task["checkpoint"]))
    loop = Loop(Path(task["scene"]), checkpoint, task["halo"])
    run = open_way(checkpoint, task["way"])
    run(loop.feed(next(iter(loop.plan))))  # compiles, where it does, and warms up
    opened = time.perf_counter()
    write_map(Path(task["map"]), loop.run(run), loop.grid)
    done = time.perf_counter()
    return {
        "opening_s": opened - begin,
        "work_s": done - begin,
        "tiles": len(loop.plan),
        "versions": {"torch": str(torch.__version__), "numpy": np.__version__},
    }
