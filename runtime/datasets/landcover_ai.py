"""Read LandCover.ai v1 as published: big orthophotos, of which lists name tiles.

    images/NAME.tif           red, green, blue, uint8, 0.25 or 0.5 m, EPSG:2180
    masks/NAME.tif            0 to 4, of the same size
    train.txt, val.txt, test.txt      one tile `NAME_k` per line
    sentinel2/NAME/S2_YYYYMMDD.tif    added by the user: one series per image,
    sentinel2/S2_YYYYMMDD.tif         or one for all

Nothing has to be cut first: tile k is a window of 512 px, counted along the rows of the image.
Windows that reach beyond the image are no tiles, but are counted. Pixels come from the GeoTIFF, not
from the JPEG tiles that the authors' `split.py` writes, so they differ from those by JPEG's loss.

The lists spread neighbouring tiles of one image over training and test. `splits.json` decides
instead where there is one; without it and without lists, whole images are drawn with a seed.

Reference: Boguszewski et al. 2021, LandCover.ai, arXiv 2005.02264. Licence CC BY-NC-SA 4.0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..classes import LandCoverClass
from ..errors import BandError, DataError
from ..files import read_text
from ..fingerprint import fingerprint
from ..grid import Grid
from ..products import OffsetOption
from ..raster import RasterInfo, RasterReader, describe
from ..sample import Sample
from ..satellite import SatelliteInput, SatelliteSpec
from .series_folder import SeriesFolder
from .splits import LISTED, Split, SplitPatches, assign

CRS = "EPSG:2180"
"""Poland CS92; taken for files that carry none or an unnamed one."""

IMAGES = "images"
MASKS = "masks"
LISTS = ("train", "val", "test")
"""Splits, each a text file of that name."""

BANDS = ("red", "green", "blue")

LICENCE = (
    "CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0), no commercial use: "
    "LandCover.ai v1, Boguszewski et al. 2021; orthophotos of GUGiK, Poland"
)

TILE_PX = 512

CLASSES = tuple(
    LandCoverClass(name=name, color=color)
    for name, color in (
        ("background", "#000000"),
        ("building", "#614a4a"),
        ("woodland", "#267300"),
        ("water", "#00c5ff"),
        ("road", "#cfcfcf"),
    )
)
"""Classes by their value in the masks; all are scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetTile:
    """A window of an image."""

    id: str
    """Image and number, such as `M-33-20-D-c-4-2_7`."""
    area: str
    """Name of the image without extension."""
    row: int
    """First row in the image."""
    col: int
    """First column in the image."""
    domain: str = ""
    is_test: bool = False


class LandCoverAi(SplitPatches):
    """A LandCover.ai v1 data set on disk."""

    classes = CLASSES
    bands = BANDS

    def __init__(self, root: Path, *, satellite_offset: OffsetOption = "auto") -> None:
        """Find the images and count their tiles.

        Args:
            root: Folder of the data set.
            satellite_offset: Radiometric offset of series beside the images, or how it is found.

        Raises:
            DataError: If there is no image, or one is damaged or smaller than a tile.
            BandError: If one is not red, green and blue in uint8.
        """
        self.root = root
        self.images = {path.stem: _checked(path) for path in sorted((root / IMAGES).glob("*.tif"))}
        if not self.images:
            raise DataError(
                f"{root / IMAGES} holds no *.tif; expected the orthophotos of LandCover.ai v1; "
                "unpack the archive there"
            )
        self.tiles = {
            tile.id: tile for info in self.images.values() for tile in _tiles(info.path, info.grid)
        }
        if not self.tiles:
            raise DataError(
                f"{root / IMAGES} holds no image of {TILE_PX} x {TILE_PX} px or more; expected "
                "the orthophotos of LandCover.ai v1; give them whole"
            )
        self.satellite = SeriesFolder(root, offset=satellite_offset)

    @property
    def licence(self) -> str:
        """Terms of images and masks, and of the series if there is one; whom to name."""
        return LICENCE + self.satellite.terms

    @cached_property
    def splits(self) -> dict[Split, tuple[str, ...]]:
        """Ids by split: `splits.json` if there is one, else the text files, else by image."""
        lists = {split: self.root / f"{split}.txt" for split in LISTS}
        lists = {split: path for split, path in lists.items() if path.is_file()}
        if not lists or (self.root / LISTED).is_file():
            return assign(self.root, list(self.tiles.values()))
        return self._from_lists(lists)

    def groups(self) -> dict[str, str]:
        """Image of each tile by id."""
        return {tile.id: tile.area for tile in self.tiles.values()}

    def position(self, patch_id: str) -> tuple[float, float]:
        """Place of a tile's centre in the image's CRS, (x, y) in metres."""
        tile = self._tile(patch_id)
        grid = self.images[tile.area].grid
        return grid.crop(tile.row, tile.col, TILE_PX, TILE_PX).centre

    def resolution_m(self, patch_id: str) -> float:
        """Side of a pixel of a tile's image, in metres."""
        return self.images[self._tile(patch_id).area].grid.resolution_m

    def read(self, patch_id: str, satellite: SatelliteSpec | None) -> Sample:
        """Read one tile with its labels and, if asked for, its satellite input.

        Raises:
            DataError: If a file is missing, damaged or of another kind.
        """
        tile = self._tile(patch_id)
        with RasterReader(self.images[tile.area].path, assume_crs=CRS) as reader:
            aerial = reader.read(tile.row, tile.col, TILE_PX, TILE_PX)
        return Sample(
            id=patch_id,
            bands=self.bands,
            aerial=aerial,
            satellite=None if satellite is None else self.satellite_input(patch_id, satellite),
            labels=self.labels(patch_id),
        )

    def satellite_input(self, patch_id: str, spec: SatelliteSpec) -> SatelliteInput:
        """Resample the satellite window centred on a tile, through both CRS.

        Raises:
            SatelliteError: If the image has no series, or the series does not show the tile.
        """
        tile = self._tile(patch_id)
        middle = TILE_PX / 2
        grid = self.images[tile.area].grid
        series = self.satellite.series(tile.area)
        return series.prepare(grid, tile.row + middle, tile.col + middle, spec)

    def fingerprint(self) -> str:
        """Hash of the names and sizes of everything that is read (sha256)."""
        return fingerprint(self.root, self._files())

    def _files(self) -> Iterator[Path]:
        yield from (info.path for info in self.images.values())
        named = [self.root / f"{split}.txt" for split in LISTS] + [self.root / LISTED]
        masks = [self._mask(name) for name in self.images]
        yield from (path for path in (*named, *masks) if path.is_file())
        yield from self.satellite.files()

    def _from_lists(self, lists: dict[Split, Path]) -> dict[Split, tuple[str, ...]]:
        seen: dict[str, Path] = {}
        splits = {}
        for split, path in lists.items():
            names = _lines(path)
            for name in names:
                if name not in self.tiles:
                    raise DataError(
                        f"{path} lists {name}, which is no tile of an image in "
                        f"{self.root / IMAGES}; expected NAME_k of a whole tile; add the image or "
                        "take out the line"
                    )
                if name in seen:
                    raise DataError(
                        f"{path} lists {name}, which {seen[name]} lists too; expected every tile "
                        "once; take out one line"
                    )
                seen[name] = path
            splits[split] = tuple(sorted(names))
        return splits

    def _tile(self, patch_id: str) -> SheetTile:
        if patch_id not in self.tiles:
            raise DataError(
                f"{self.root} has no tile '{patch_id}'; expected NAME_k of a whole tile; check the "
                "lists of tiles"
            )
        return self.tiles[patch_id]

    def _mask(self, name: str) -> Path:
        return self.root / MASKS / self.images[name].path.name

    def labels(self, patch_id: str) -> NDArray[np.uint8] | None:
        """Class indices of a tile, shape (H, W); None where the image has no mask.

        Raises:
            DataError: If the mask is damaged or of another kind.
        """
        tile = self._tile(patch_id)
        path = self._mask(tile.area)
        if not path.is_file():
            return None
        with RasterReader(path, assume_crs=CRS) as reader:
            found, shape = reader.info, self.images[tile.area].grid.shape
            if (found.count, found.dtype, found.grid.shape) != (1, "uint8", shape):
                raise DataError(
                    f"{path} is {found.dtype} {found.count} x {found.grid.shape[0]} x "
                    f"{found.grid.shape[1]}; expected uint8 1 x {shape[0]} x {shape[1]} as the "
                    "image; give images and masks as published"
                )
            labels: NDArray[np.uint8] = reader.read(tile.row, tile.col, TILE_PX, TILE_PX)[0]
        highest = int(labels.max())
        if highest >= len(CLASSES):
            raise DataError(
                f"{path} holds the value {highest} in tile {tile.id}; expected 0 to "
                f"{len(CLASSES) - 1}; give the masks as published"
            )
        return labels


def _checked(path: Path) -> RasterInfo:
    info = describe(path, assume_crs=CRS)
    if (info.count, info.dtype) != (len(BANDS), "uint8"):
        raise BandError(
            f"{path} has {info.count} {info.dtype} band(s); expected {len(BANDS)} of uint8 "
            f"({', '.join(BANDS)}); give the images as published"
        )
    return info


def _tiles(path: Path, grid: Grid) -> Iterator[SheetTile]:
    """Give the whole tiles of an image; partial ones at its right and lower edge are counted."""
    height, width = grid.shape
    across = -(-width // TILE_PX)
    for down in range(height // TILE_PX):
        for right in range(width // TILE_PX):
            yield SheetTile(
                id=f"{path.stem}_{down * across + right}",
                area=path.stem,
                row=down * TILE_PX,
                col=right * TILE_PX,
            )


def _lines(path: Path) -> list[str]:
    lines = read_text(path, expected="one tile NAME_k per line; restore the file").splitlines()
    return [line.strip() for line in lines if line.strip()]
