"""Read a user's own images and labels: files of one name in two folders.

    dataset.toml               names of the classes, and what the files do not say
    images/NAME.tif            uint8, any bands and size, the same bands in all
    labels/NAME.tif            on the same grid: one band of numbers, or three of colours
    sentinel2/NAME/S2_YYYYMMDD.tif, or sentinel2/S2_YYYYMMDD.tif for all; may be missing
    splits.json                may be missing

or with a split in each of the folders `train`, `val` and `test`:

    train/images/NAME.tif, train/labels/NAME.tif, sentinel2/train/NAME/S2_YYYYMMDD.tif

Images are cut into tiles; the last row and column are shifted to the edge, and a smaller image is
filled up with pixels that are ignored. Without `splits.json` and such folders, whole images are
drawn with a seed. Pixels without data are ignored in the labels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..classes import LandCoverClass
from ..errors import DataError
from ..fingerprint import fingerprint
from ..metrics import IGNORE_INDEX
from ..products import OffsetOption
from ..sample import Sample
from ..satellite import SatelliteInput, SatelliteSpec
from .folder_images import (
    IMAGES,
    SPLIT_FOLDERS,
    FolderImage,
    check_labels_grid,
    find_images,
    held_bands,
    open_file,
    shared_bands,
)
from .folder_labels import FolderLabels
from .folder_settings import SETTINGS, read_settings
from .label_colors import Decoded
from .series_folder import SeriesFolder
from .splits import LISTED, Split, SplitPatches, assign, listed_splits
from .windows import corners, read_filled


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTile:
    """A window of an image."""

    id: str
    area: str
    """Name of the image."""
    row: int
    col: int
    domain: str = ""
    is_test: bool = False


class FolderDataset(SplitPatches):
    """A folder of images and labels."""

    def __init__(self, root: Path, *, tile: int, satellite_offset: OffsetOption = "auto") -> None:
        """Read the settings and the header of every image.

        Args:
            root: Folder that holds `dataset.toml`.
            tile: Side of the tiles, in pixels.
            satellite_offset: Radiometric offset of the series, or how it is found.

        Raises:
            DataError: If there is no image, or the settings or a file cannot be read.
            BandError: If an image is not uint8, or the bands are not named or not the same.
            GridError: If an image says nothing of its resolution and the settings do not either.
        """
        self.root = root
        self.tile = tile
        self.settings = read_settings(root)
        self.satellite = SeriesFolder(root, offset=satellite_offset)
        self.images = {image.name: image for image in find_images(root, self.settings)}
        if not self.images:
            raise DataError(
                f"{root} holds no {IMAGES}/*.tif; expected the images in {root / IMAGES}, or in "
                f"{IMAGES}/ of the folders {', '.join(SPLIT_FOLDERS)}; put them there"
            )
        self.bands = shared_bands(list(self.images.values()), self.settings)
        self.tiles = {
            item.id: item for image in self.images.values() for item in _tiles(image, tile)
        }
        self._labels = FolderLabels(self.settings)

    @property
    def classes(self) -> tuple[LandCoverClass, ...]:
        """Classes by index, in the order of the settings."""
        return tuple(item.land_cover for item in self.settings.classes)

    @property
    def licence(self) -> str:
        """What the settings say."""
        return self.settings.licence

    @cached_property
    def splits(self) -> dict[Split, tuple[str, ...]]:
        """Ids by split: `splits.json` if there is one, else split folders, else by image.

        Raises:
            DataError: If `splits.json` is damaged, or there is one image only to draw from.
        """
        listed = listed_splits(self.root, self.groups())
        if listed is not None:
            return listed
        if not any("/" in name for name in self.images):
            return assign(self.root, list(self.tiles.values()))
        return {
            split: tuple(i for i in sorted(self.tiles) if i.startswith(f"{split}/"))
            for split in SPLIT_FOLDERS
        }

    def groups(self) -> dict[str, str]:
        """Image of each tile by id."""
        return {item.id: item.area for item in self.tiles.values()}

    def position(self, patch_id: str) -> tuple[float, float]:
        """Place of a tile's centre, (x, y) in metres; inside its image where that is not placed."""
        item = self._tile(patch_id)
        grid = self.images[item.area].info.grid
        return grid.crop(item.row, item.col, self.tile, self.tile).centre

    def resolution_m(self, patch_id: str) -> float:
        """Side of a pixel of a tile's image, in metres."""
        return self.settings.resolution_m or self._image(patch_id).info.grid.resolution_m

    def read(self, patch_id: str, satellite: SatelliteSpec | None) -> Sample:
        """Read one tile with its labels, if there are any, and its satellite input.

        Raises:
            DataError: If a file is missing, damaged or of another kind.
        """
        item, info = self._tile(patch_id), self._image(patch_id).info
        bands = held_bands(info, self.settings)
        with open_file(info.path, self.settings) as reader:
            aerial, valid = read_filled(reader, item.row, item.col, self.tile, bands=bands)
        labels = self.labels(patch_id)
        if labels is not None:
            labels[~valid] = IGNORE_INDEX
        return Sample(
            id=patch_id,
            bands=self.bands,
            aerial=aerial,
            satellite=None if satellite is None else self.satellite_input(patch_id, satellite),
            labels=labels,
        )

    def labels(self, patch_id: str) -> NDArray[np.uint8] | None:
        """Class indices of a tile, shape (H, W), whatever the image shows; None without labels.

        Raises:
            DataError: If the file is damaged, on another grid, or holds an unknown value.
        """
        decoded = self.decoded(patch_id)
        return None if decoded is None else decoded.labels

    def decoded(self, patch_id: str) -> Decoded | None:
        """Labels of a tile with the counts of pixels that are like no colour of a class.

        Raises:
            DataError: If the file is damaged, on another grid, or holds an unknown value.
        """
        item, image = self._tile(patch_id), self._image(patch_id)
        if not image.labels.is_file():
            return None
        with open_file(image.labels, self.settings) as reader:
            check_labels_grid(reader.info, image.info)
            return self._labels.read(reader, item.row, item.col, self.tile)

    def satellite_input(self, patch_id: str, spec: SatelliteSpec) -> SatelliteInput:
        """Resample the satellite window centred on a tile, through both CRS.

        Raises:
            SatelliteError: If the image has no series or georeference, or the series does not show
                the tile.
        """
        item, middle = self._tile(patch_id), self.tile / 2
        return self.satellite.window(
            item.area,
            self._image(patch_id).info,
            (item.row + middle, item.col + middle),
            spec,
            remedy="georeference it",
        )

    def fingerprint(self) -> str:
        """Hash of the side of a tile, the settings, and the names and sizes of what is read."""
        settings = (self.root / SETTINGS).read_text(encoding="utf-8")
        return fingerprint(self.root, self._files(), more=f"tile {self.tile} {settings}")

    def _files(self) -> Iterator[Path]:
        for image in self.images.values():
            yield image.info.path
            if image.labels.is_file():
                yield image.labels
        if (self.root / LISTED).is_file():
            yield self.root / LISTED
        yield from self.satellite.files()

    def _tile(self, patch_id: str) -> ImageTile:
        if patch_id not in self.tiles:
            raise DataError(
                f"{self.root} has no tile '{patch_id}'; expected one such as "
                f"'{next(iter(self.tiles))}'; check {LISTED}"
            )
        return self.tiles[patch_id]

    def _image(self, patch_id: str) -> FolderImage:
        return self.images[self._tile(patch_id).area]


def _tiles(image: FolderImage, side: int) -> Iterator[ImageTile]:
    for row, col in corners(image.info.grid.shape, side):
        yield ImageTile(id=f"{image.name}_r{row:05d}_c{col:05d}", area=image.name, row=row, col=col)
