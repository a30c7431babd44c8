"""A model that sees its surroundings as a network does, in a few lines, and runs of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from runtime.backends import BackendChoice
from runtime.card import ModelCard, TileRunner
from runtime.datasets.flair import CLASSES
from runtime.manifest import AerialSpec, Normalization
from runtime.pipeline import infer
from runtime.report import Report
from runtime.scene import Scene
from runtime.stream.options import InferOptions
from runtime.tally import Tally

Feed = Mapping[str, NDArray[Any]]
POOL = 4
"""Network stride: pixels of a cell of the model share what they see."""
RADIUS = 2
"""Cells around its own that a pixel sees."""
HALO = RADIUS * POOL
"""Pixels that this reaches at most, in whole cells."""
TILE = 48


class OneByOne:
    """What models of tests share."""

    batch: int = 1
    parts = ()
    precision = "fp32"

    def run(self, feed: Feed) -> dict[str, NDArray[Any]]:
        raise NotImplementedError

    def run_many(self, feeds: Iterable[Feed]) -> Iterator[dict[str, NDArray[Any]]]:
        return map(self.run, feeds)

    def run_satellite(self, feed: Feed) -> dict[str, NDArray[Any]]:
        raise NotImplementedError


@dataclass
class LocalModel(OneByOne):
    """Pools, sums the cells around with zeros beyond the tile, and repeats; batches of any size."""

    probabilities: bool = False
    batch: int = 1
    runs: list[int] = field(default_factory=list)
    """Tiles of every call."""
    fail_at: int | None = None
    """Call that fails."""

    def run(self, feed: Feed) -> dict[str, NDArray[Any]]:
        if len(self.runs) == self.fail_at:
            raise ZeroDivisionError
        tiles = feed["aerial"][:, 0]
        self.runs.append(len(tiles))
        seen = np.stack([look_around(tile) for tile in tiles])
        if not self.probabilities:
            return {
                "classes": (seen % 13).astype(np.uint8),
                "confidence": (seen % 251).astype(np.uint8),
            }
        shares = 1.0 + (seen[:, None] * np.arange(1, 14)[:, None, None] % 17)
        shares /= shares.sum(axis=1, keepdims=True)
        return {"probabilities": shares.astype(np.float32)}


def look_around(tile: NDArray[np.uint8]) -> NDArray[np.int64]:
    height, width = (side // POOL for side in tile.shape)
    cells = tile.astype(np.int64).reshape(height, POOL, width, POOL).max(axis=(1, 3))
    padded = np.pad(cells, RADIUS)
    weights = np.arange(1, (2 * RADIUS + 1) ** 2 + 1).reshape(2 * RADIUS + 1, -1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape)
    return np.kron((windows * weights).sum(axis=(2, 3)), np.ones((POOL, POOL), dtype=np.int64))


def card_of(tile: int = TILE, halo: int = HALO) -> ModelCard:
    return ModelCard(
        name="local",
        sha256="0" * 64,
        verified=True,
        toy=False,
        aerial=AerialSpec(
            bands=("grey",),
            resolution_m=0.2,
            tile_size=tile,
            halo=halo,
            stride=POOL,
            halo_exact=True,
            normalization=Normalization(mean=(0.0,), std=(1.0,)),
        ),
        satellite=None,
        classes=CLASSES[:13],
    )


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng((seed, height, width))
    return rng.integers(1, 255, (height, width), dtype=np.uint8)


def write(
    path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16], row: int = 0, col: int = 0
) -> Path:
    """Write a raster whose corner lies at a row and column of one lattice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=1,
        height=pixels.shape[0],
        width=pixels.shape[1],
        dtype=pixels.dtype,
        crs="EPSG:2154",
        transform=Affine(0.2, 0, 700_000 + 0.2 * col, 0, -0.2, 6_600_000 - 0.2 * row),
        tiled=True,
        blockxsize=64,
        blockysize=64,
    ) as dataset:
        dataset.write(pixels, 1)
    return path


def map_files(
    paths: Sequence[Path],
    out: Path,
    model: TileRunner | None = None,
    *,
    card: ModelCard | None = None,
    on_tile: Callable[[int, int], None] = lambda done, total: None,
    **options: Any,
) -> Report:
    tally = Tally(BackendChoice(name="onnxruntime", reason="a test"))
    return infer(
        [Scene(aerial=path, satellite=None) for path in paths],
        card or card_of(),
        model or LocalModel(),
        out,
        tally=tally,
        options=InferOptions(**options),
        on_tile=on_tile,
    )


def read(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as dataset:
        values: NDArray[np.uint8] = dataset.read()
    return values


def whole_map(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The class map made in one pass over the raster, mirrored around by more than the halo."""
    height, width = pixels.shape
    below, right = ((-side % POOL) + 2 * HALO for side in (height, width))
    padded = np.pad(pixels, [(2 * HALO, below), (2 * HALO, right)], "reflect")
    seen = look_around(padded)[2 * HALO : 2 * HALO + height, 2 * HALO : 2 * HALO + width]
    return (seen % 13).astype(np.uint8)
