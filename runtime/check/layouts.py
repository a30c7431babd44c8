"""Look at the images, labels and series of each layout."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..dataset import Dataset
from ..datasets.flair import CRS as FLAIR_CRS
from ..datasets.flair import FlairTree
from ..datasets.flair_hub import FlairHub
from ..datasets.folder_dataset import FolderDataset
from ..datasets.folder_images import open_file
from ..datasets.label_colors import Decoded
from ..datasets.landcover_ai import CRS as POLAND_CRS
from ..datasets.landcover_ai import LandCoverAi
from ..datasets.potsdam import Potsdam
from ..datasets.potsdam_files import image_files
from ..datasets.potsdam_images import open_tile_file
from ..datasets.scene_dataset import SceneDataset
from ..datasets.series_folder import SeriesFolder
from ..errors import DataError
from ..geoseries import open_series
from ..raster import RasterInfo, RasterReader
from ..satellite_cells import Pixels, PixelSource

D = TypeVar("D", bound=Dataset)
F = TypeVar("F", FlairTree, FlairHub)


class Layout(Protocol):
    """A data set as a look through it sees it."""

    @property
    def name(self) -> str:
        """What the layout is called."""

    def images(self) -> Iterator[RasterInfo | DataError]:
        """Read the header and the last pixel of every image."""

    def labels(self, patch_id: str) -> Decoded | None:
        """Read the labels of a patch; None where there are none."""

    def series(self) -> Iterator[tuple[str, PixelSource | DataError | None]]:
        """Open the series of every area, each once; None for an area without one."""


def layout_of(dataset: Dataset) -> Layout:
    """Give the way to look at a data set."""
    if isinstance(dataset, FlairTree):
        return _Flair("FLAIR #2", dataset)
    if isinstance(dataset, FlairHub):
        return _FlairHub("FLAIR-HUB", dataset)
    if isinstance(dataset, LandCoverAi):
        return _LandCover("LandCover.ai v1", dataset)
    if isinstance(dataset, Potsdam):
        return _Potsdam("ISPRS Potsdam", dataset)
    if isinstance(dataset, FolderDataset):
        return _Folder("a folder of images and labels", dataset)
    if isinstance(dataset, SceneDataset):
        return _Scene("a scene", dataset)
    return _Patches(type(dataset).__name__, dataset)


@dataclass(frozen=True, slots=True)
class _Patches(Generic[D]):
    """Patches that are read whole; their images and series are not looked at apart."""

    name: str
    dataset: D

    def images(self) -> Iterator[RasterInfo | DataError]:
        yield from ()

    def labels(self, patch_id: str) -> Decoded | None:
        return _plain(self.dataset.read(patch_id, None).labels)

    def series(self) -> Iterator[tuple[str, PixelSource | DataError | None]]:
        yield from ()


@dataclass(frozen=True, slots=True)
class _FlairPatches(_Patches[F]):
    """Patches of a file each."""

    def images(self) -> Iterator[RasterInfo | DataError]:
        for patch_id, patch in self.dataset.patches.items():
            found = _probe(partial(RasterReader, patch.image, assume_crs=FLAIR_CRS))
            try:
                self.dataset.aerial(patch_id)
            except DataError as error:
                found = error
            yield found

    def labels(self, patch_id: str) -> Decoded | None:
        return _plain(self.dataset.labels(patch_id))


@dataclass(frozen=True, slots=True)
class _Flair(_FlairPatches[FlairTree]):
    def series(self) -> Iterator[tuple[str, PixelSource | DataError | None]]:
        seen = set()
        for patch_id, patch in self.dataset.patches.items():
            if (key := (patch.area, patch.satellite)) not in seen:
                seen.add(key)
                lacks = patch.satellite is None
                yield (
                    patch.area,
                    None if lacks else _tried(partial(self.dataset.stack, patch_id)),
                )


@dataclass(frozen=True, slots=True)
class _FlairHub(_FlairPatches[FlairHub]):
    def series(self) -> Iterator[tuple[str, PixelSource | DataError | None]]:
        for patch_id, patch in self.dataset.patches.items():
            lacks = not self.dataset.has_series(patch_id)
            yield patch.area, None if lacks else _tried(partial(_PatchSeries.of, self, patch_id))


@dataclass(frozen=True, slots=True)
class _PatchSeries:
    """A small series of which there are many: it is read when it is looked at, and not kept."""

    dataset: FlairHub
    patch_id: str
    shape: tuple[int, int]
    days: tuple[date, ...]
    offsets: tuple[int, ...]

    @classmethod
    def of(cls, layout: _FlairHub, patch_id: str) -> "_PatchSeries":
        stack = layout.dataset.series(patch_id).stack
        return cls(layout.dataset, patch_id, stack.shape, stack.days, stack.offsets)

    def read(self, rows: slice, cols: slice) -> Pixels:
        return self.dataset.series(self.patch_id).stack.read(rows, cols)


@dataclass(frozen=True, slots=True)
class _LandCover(_Patches[LandCoverAi]):
    def images(self) -> Iterator[RasterInfo | DataError]:
        for info in self.dataset.images.values():
            yield _probe(partial(RasterReader, info.path, assume_crs=POLAND_CRS))

    def labels(self, patch_id: str) -> Decoded | None:
        return _plain(self.dataset.labels(patch_id))

    def series(self) -> Iterator[tuple[str, PixelSource | DataError | None]]:
        return _beside(self.dataset.satellite, list(self.dataset.images))


@dataclass(frozen=True, slots=True)
class _Potsdam(_Patches[Potsdam]):
    def images(self) -> Iterator[RasterInfo | DataError]:
        for name, files in self.dataset.tiles.items():
            for path in image_files(files):
                yield _probe(partial(open_tile_file, path, name))

    def labels(self, patch_id: str) -> Decoded | None:
        return self.dataset.decoded(patch_id)

    def series(self) -> Iterator[tuple[str, PixelSource | DataError | None]]:
        return _beside(self.dataset.satellite, list(self.dataset.tiles))


@dataclass(frozen=True, slots=True)
class _Folder(_Patches[FolderDataset]):
    def images(self) -> Iterator[RasterInfo | DataError]:
        for image in self.dataset.images.values():
            yield _probe(partial(open_file, image.info.path, self.dataset.settings))

    def labels(self, patch_id: str) -> Decoded | None:
        return self.dataset.decoded(patch_id)

    def series(self) -> Iterator[tuple[str, PixelSource | DataError | None]]:
        return _beside(self.dataset.satellite, list(self.dataset.images))


@dataclass(frozen=True, slots=True)
class _Scene(_Patches[SceneDataset]):
    def images(self) -> Iterator[RasterInfo | DataError]:
        yield _probe(partial(RasterReader, self.dataset.info.path))

    def series(self) -> Iterator[tuple[str, PixelSource | DataError | None]]:
        return _beside(SeriesFolder(self.dataset.root), [""])


def _plain(labels: NDArray[np.uint8] | None) -> Decoded | None:
    """Labels that are not drawn in colours."""
    return None if labels is None else Decoded(labels=labels, near=0, unknown=0)


def _probe(open_raster: Callable[[], RasterReader]) -> RasterInfo | DataError:
    """Read a header and the last pixel, which a file that was cut short lacks."""
    try:
        with open_raster() as reader:
            height, width = reader.info.grid.shape
            reader.read(height - 1, width - 1, 1, 1)
            return reader.info
    except DataError as error:
        return error


def _tried(open_source: Callable[[], PixelSource]) -> PixelSource | DataError:
    try:
        return open_source()
    except DataError as error:
        return error


def _beside(
    series: SeriesFolder, names: list[str]
) -> Iterator[tuple[str, PixelSource | DataError | None]]:
    """Open the series that lie beside images; one for all is opened once."""
    opened: set[Path] = set()
    for name in names:
        folder = series.find(name)
        if folder is None:
            yield name, None
        elif folder not in opened:
            opened.add(folder)
            yield name, _tried(partial(open_series, folder))
