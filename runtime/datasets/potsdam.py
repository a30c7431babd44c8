"""Read ISPRS Potsdam as published: 38 tiles of 6000 x 6000 px at 5 cm.

    orthophotos     red, green, blue, near infrared, from whichever archives are there
    elevation       the normalised surface model, uint8 as stored; its unit is not published
    labels          drawn in six colours; black, beside boundaries, is ignored

A tile is cut into patches, 144 of 512 px; the last row and column are shifted to the edge. Without
a `splits.json`, 18 tiles are for training and five for validation, of the 24 whose labels were
given to participants; 4_12, whose labels are wrong, is left out. The other 14 are the test split.

Training learns from the labels of every pixel. Every other split is measured on the labels without
the pixels beside boundaries, where these are there, as is common; clutter is not scored.

Reference: ISPRS 2D Semantic Labeling benchmark, Potsdam.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BandError, DataError
from ..fingerprint import fingerprint
from ..grid import Grid
from ..products import OffsetOption
from ..raster import RasterInfo
from ..sample import Sample
from ..satellite import SatelliteInput, SatelliteSpec
from .label_colors import Decoded, decode
from .potsdam_files import all_files, find_tiles
from .potsdam_images import (
    check_images,
    check_kind,
    check_size,
    lacks_of,
    open_tile_file,
    read_to_the_edge,
    sources_of,
)
from .potsdam_published import (
    BANDS,
    CLASSES,
    LICENCE,
    PALETTE,
    TEST_TILES,
    TRAIN_TILES,
    VAL_TILES,
)
from .series_folder import SeriesFolder
from .splits import LISTED, Split, SplitPatches, listed_splits
from .windows import corners


@dataclass(frozen=True, slots=True, kw_only=True)
class PotsdamPatch:
    """A window of a tile."""

    tile: str
    row: int
    """First row in the tile."""
    col: int
    """First column in the tile."""


class Potsdam(SplitPatches):
    """An ISPRS Potsdam data set on disk."""

    classes = CLASSES

    def __init__(self, root: Path, *, tile: int, satellite_offset: OffsetOption = "auto") -> None:
        """Find the files and read their headers.

        Args:
            root: Folder that holds the unpacked archives.
            tile: Side of the patches, in pixels.
            satellite_offset: Radiometric offset of a series that was added, or how it is found.

        Raises:
            DataError: If there is no orthophoto, or a file is damaged, there twice or of another
                size than the others of its tile.
            BandError: If a file is of another kind, or the tiles share no band.
        """
        self.root = root
        self.side = tile
        self.tiles = find_tiles(root)
        if not self.tiles:
            raise DataError(
                f"{root} holds no top_potsdam_*.tif; expected the orthophotos of ISPRS Potsdam; "
                "unpack the archives there"
            )
        self.grids = {name: check_images(files) for name, files in self.tiles.items()}
        self.bands = self._shared_bands()
        self.satellite = SeriesFolder(root, offset=satellite_offset)
        self.patches = {
            f"{name}_r{row:04d}_c{col:04d}": PotsdamPatch(tile=name, row=row, col=col)
            for name, info in self.grids.items()
            for row, col in corners(self._big_enough(info).shape, tile)
        }

    @property
    def licence(self) -> str:
        """Terms of the data, and of the series if the user has added one."""
        return LICENCE + self.satellite.terms

    @cached_property
    def splits(self) -> dict[Split, tuple[str, ...]]:
        """Ids by split: `splits.json` if there is one, else the 24 and 14 tiles of the benchmark.

        Raises:
            DataError: If `splits.json` is damaged.
        """
        listed = listed_splits(self.root, self.groups())
        if listed is not None:
            return listed
        tiles = {"train": TRAIN_TILES, "val": VAL_TILES, "test": TEST_TILES}
        return {
            split: tuple(sorted(i for i, patch in self.patches.items() if patch.tile in names))
            for split, names in tiles.items()
        }

    def groups(self) -> dict[str, str]:
        """Tile of each patch by id."""
        return {patch_id: patch.tile for patch_id, patch in self.patches.items()}

    def position(self, patch_id: str) -> tuple[float, float]:
        """Place of a patch's centre, (x, y) in metres.

        In the CRS of the files; where they have no georeference, counted from the corner of tile
        0_0 by the number of the tile.
        """
        patch = self._patch(patch_id)
        return self.grids[patch.tile].grid.crop(patch.row, patch.col, self.side, self.side).centre

    def resolution_m(self, patch_id: str) -> float:
        """Side of a pixel in metres, 0.05."""
        return self.grids[self._patch(patch_id).tile].grid.resolution_m

    def read(self, patch_id: str, satellite: SatelliteSpec | None) -> Sample:
        """Read one patch with its labels and, if asked for, its satellite input.

        Raises:
            DataError: If a file is missing, damaged or of another kind.
        """
        patch = self._patch(patch_id)
        return Sample(
            id=patch_id,
            bands=self.bands,
            aerial=self._aerial(patch),
            satellite=None if satellite is None else self.satellite_input(patch_id, satellite),
            labels=self.labels(patch_id),
        )

    def labels(self, patch_id: str) -> NDArray[np.uint8] | None:
        """Class indices of a patch, shape (H, W); None where the tile has no labels.

        Raises:
            DataError: If the file is damaged or of another kind.
        """
        decoded = self.decoded(patch_id)
        return None if decoded is None else decoded.labels

    def decoded(self, patch_id: str) -> Decoded | None:
        """Labels of a patch with the counts of pixels that are like no published colour.

        Raises:
            DataError: If the file is damaged or of another kind.
        """
        patch = self._patch(patch_id)
        path = self.labels_file(patch_id)
        if path is None:
            return None
        with open_tile_file(path, patch.tile) as reader:
            check_kind(reader.info, 3)
            check_size(reader.info, self.grids[patch.tile].grid.shape)
            colors = reader.read(patch.row, patch.col, self.side, self.side)
        return decode(colors, PALETTE)

    def labels_file(self, patch_id: str) -> Path | None:
        """File of a patch's labels: of every pixel in training, without boundaries elsewhere."""
        files = self.tiles[self._patch(patch_id).tile]
        if patch_id in self._learned_from:
            return files.labels or files.inner_labels
        return files.inner_labels or files.labels

    def partial_bands(self) -> dict[str, int]:
        """Bands that some tiles have and others lack, and how many tiles have each."""
        held = Counter(band for files in self.tiles.values() for band in sources_of(files))
        return {band: held[band] for band in BANDS if 0 < held[band] < len(self.tiles)}

    def short_heights(self) -> dict[str, str]:
        """Tiles whose surface model lacks a row or column, and how many of each."""
        shapes = {name: info.grid.shape for name, info in self.grids.items()}
        found = {name: lacks_of(self.tiles[name], shape) for name, shape in shapes.items()}
        return {name: lacks for name, lacks in found.items() if lacks}

    def satellite_input(self, patch_id: str, spec: SatelliteSpec) -> SatelliteInput:
        """Resample the satellite window centred on a patch, through both CRS.

        Raises:
            SatelliteError: If the tile has no series or georeference, or the series does not show
                the patch.
        """
        patch, middle = self._patch(patch_id), self.side / 2
        return self.satellite.window(
            patch.tile,
            self.grids[patch.tile],
            (patch.row + middle, patch.col + middle),
            spec,
            remedy="unpack the .tfw files beside the orthophotos",
        )

    def fingerprint(self) -> str:
        """Hash of the side of a patch and the names and sizes of everything that is read."""
        return fingerprint(self.root, self._files(), more=f"tile {self.side}")

    def _files(self) -> Iterator[Path]:
        for files in self.tiles.values():
            yield from all_files(files)
        if (self.root / LISTED).is_file():
            yield self.root / LISTED
        yield from self.satellite.files()

    @cached_property
    def _learned_from(self) -> frozenset[str]:
        return frozenset(self.splits.get("train", ()))

    def _shared_bands(self) -> tuple[str, ...]:
        shared = set(BANDS)
        for files in self.tiles.values():
            shared &= set(sources_of(files))
        if not shared:
            raise BandError(
                f"{self.root} has no band that all tiles have; expected the same orthophotos "
                "(RGB, IRRG or RGBIR) of each; unpack the whole archives"
            )
        return tuple(band for band in BANDS if band in shared)

    def _big_enough(self, info: RasterInfo) -> Grid:
        if min(info.grid.shape) < self.side:
            raise DataError(
                f"{info.path} is {info.grid.shape[0]} x {info.grid.shape[1]} px; expected "
                f"{self.side} px or more on each side; give the tiles as published"
            )
        return info.grid

    def _patch(self, patch_id: str) -> PotsdamPatch:
        if patch_id not in self.patches:
            raise DataError(
                f"{self.root} has no patch '{patch_id}'; expected one such as "
                f"'{next(iter(self.patches))}'; check {LISTED}"
            )
        return self.patches[patch_id]

    def _aerial(self, patch: PotsdamPatch) -> NDArray[np.uint8]:
        """Read the bands of a patch, each file once."""
        sources = sources_of(self.tiles[patch.tile])
        aerial = np.empty((len(self.bands), self.side, self.side), dtype=np.uint8)
        for path in {sources[band][0] for band in self.bands}:
            channels = [i for i, band in enumerate(self.bands) if sources[band][0] == path]
            bands = [sources[self.bands[channel]][1] for channel in channels]
            with open_tile_file(path, patch.tile) as reader:
                aerial[channels] = read_to_the_edge(
                    reader, (patch.row, patch.col), self.side, bands
                )
        return aerial
