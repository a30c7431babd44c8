"""Read a scene folder as a data set: tiles beside each other, in the one split `scene`.

    aerial.tif                  uint8, any named bands
    labels.tif                  1 to 19 as FLAIR stores them, on the same grid; may be missing
    sentinel2/S2_YYYYMMDD.tif   needed where a model has a satellite branch

Tiles do not overlap; a remainder at the right and lower edge is left out, and so are tiles of which
more than half is nodata. Pixels without aerial data are ignored in the labels.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BandError, DataError, GridError
from ..fingerprint import fingerprint
from ..geoseries import PRODUCTS, GeoSeries, open_series
from ..grid import Grid
from ..metrics import IGNORE_INDEX
from ..products import OffsetOption
from ..raster import RasterInfo, RasterReader, describe
from ..sample import AERIAL_BANDS, Sample
from ..satellite import SatelliteInput, SatelliteSpec
from ..scene import SATELLITE_FOLDER, SCENE_AERIAL, SCENE_LABELS, are_names
from .flair import CLASSES, class_indices
from .splits import Split, SplitPatches

SPLIT = "scene"
TILE_PX = 512
MOST_NODATA = 0.5
"""A tile of which a larger share is nodata is left out."""

LICENCE = "not known: a scene folder does not say; ask whoever made the scene"


class SceneDataset(SplitPatches):
    """The tiles of a scene folder."""

    classes = CLASSES
    licence = LICENCE

    def __init__(
        self, root: Path, *, tile: int = TILE_PX, satellite_offset: OffsetOption = "auto"
    ) -> None:
        """Open a scene.

        Args:
            root: Folder that holds `aerial.tif`.
            tile: Side of a tile, in pixels.
            satellite_offset: Radiometric offset of the series, or how it is found.

        Raises:
            DataError: If the aerial image is missing, damaged or smaller than a tile, or the labels
                are of another kind.
            BandError: If the bands are not uint8, or are neither named nor FLAIR's.
            GridError: If the labels lie on another grid.
        """
        if tile < 1:
            raise ValueError(f"tiles of {tile} px; need 1 px or more")
        self.root = root
        self.tile = tile
        self.satellite_offset = satellite_offset
        self.info = describe(root / SCENE_AERIAL)
        self.bands = _bands(self.info)
        if min(self.info.grid.shape) < tile:
            raise DataError(
                f"{self.info.path} is {self.info.grid.shape[0]} x {self.info.grid.shape[1]} px; "
                f"expected {tile} px or more on each side; give a larger scene"
            )
        self.labelled = (root / SCENE_LABELS).is_file()
        if self.labelled:
            check_labels(describe(root / SCENE_LABELS), self.info.grid)

    @cached_property
    def splits(self) -> dict[Split, tuple[str, ...]]:
        """Ids of all tiles, as the split `scene`.

        Raises:
            DataError: If every tile is mostly nodata.
        """
        return {SPLIT: tuple(self._corners)}

    def groups(self) -> dict[str, str]:
        """Name of the scene for each tile by id."""
        return dict.fromkeys(self._corners, self.root.resolve().name)

    def position(self, patch_id: str) -> tuple[float, float]:
        """Place of a tile's centre in the scene's CRS, (x, y) in metres."""
        row, col = self._corner(patch_id)
        return self.info.grid.crop(row, col, self.tile, self.tile).centre

    def resolution_m(self, patch_id: str) -> float:
        """Side of a pixel in metres; the same for every tile."""
        self._corner(patch_id)
        return self.info.grid.resolution_m

    def read(self, patch_id: str, satellite: SatelliteSpec | None) -> Sample:
        """Read one tile with its labels, if there are any, and its satellite input.

        Raises:
            DataError: If there is no such tile, or a file is missing, damaged or of another kind.
        """
        row, col = self._corner(patch_id)
        with RasterReader(self.info.path) as reader:
            aerial = reader.read(row, col, self.tile, self.tile)
            valid = reader.valid(row, col, self.tile, self.tile)
        return Sample(
            id=patch_id,
            bands=self.bands,
            aerial=aerial,
            satellite=None if satellite is None else self.satellite_input(patch_id, satellite),
            labels=self._labels(row, col, valid) if self.labelled else None,
        )

    def satellite_input(self, patch_id: str, spec: SatelliteSpec) -> SatelliteInput:
        """Resample the satellite window centred on a tile, through both CRS.

        Raises:
            SatelliteError: If the scene has no series, or the series does not show the tile.
        """
        row, col = self._corner(patch_id)
        middle = self.tile / 2
        return self._series.prepare(self.info.grid, row + middle, col + middle, spec)

    def fingerprint(self) -> str:
        """Hash of the side of a tile and the names and sizes of everything that is read."""
        files = [self.info.path, *(self.root / SATELLITE_FOLDER).glob("S2_*.tif")]
        files += (self.root / SATELLITE_FOLDER).glob(PRODUCTS)
        if self.labelled:
            files.append(self.root / SCENE_LABELS)
        return fingerprint(self.root, files, more=f"tile {self.tile}")

    @cached_property
    def _corners(self) -> dict[str, tuple[int, int]]:
        """First row and column of each tile by id."""
        side = self.tile
        height, width = self.info.grid.shape
        corners = {}
        with RasterReader(self.info.path) as reader:
            for row in range(0, height - side + 1, side):
                for col in range(0, width - side + 1, side):
                    if 1 - reader.valid(row, col, side, side).mean() <= MOST_NODATA:
                        corners[f"row{row:06d}_col{col:06d}"] = (row, col)
        if not corners:
            raise DataError(
                f"{self.info.path} is mostly nodata in every tile of {side} px; expected a tile of "
                "which half shows something; give another scene"
            )
        return corners

    def _corner(self, patch_id: str) -> tuple[int, int]:
        if patch_id not in self._corners:
            raise DataError(
                f"{self.root} has no tile '{patch_id}'; expected one such as "
                f"'{next(iter(self._corners))}'; take the ids of this scene and tile size"
            )
        return self._corners[patch_id]

    @cached_property
    def _series(self) -> GeoSeries:
        return open_series(self.root / SATELLITE_FOLDER, offset=self.satellite_offset)

    def _labels(self, row: int, col: int, valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        path = self.root / SCENE_LABELS
        with RasterReader(path) as reader:
            values = reader.read(row, col, self.tile, self.tile)[0]
        labels = class_indices(values, where=str(path))
        labels[~valid] = IGNORE_INDEX
        return labels


def check_labels(labels: RasterInfo, grid: Grid) -> None:
    """Check that a raster of labels belongs to an aerial image on a grid.

    Raises:
        DataError: If it is not one band of uint8.
        GridError: If it lies on another grid.
    """
    if (labels.count, labels.dtype) != (1, "uint8"):
        raise DataError(
            f"{labels.path} has {labels.count} {labels.dtype} band(s); expected one "
            "of uint8 with the labels 1 to 19; rewrite the file"
        )
    theirs = labels.grid
    if theirs.shape != grid.shape or grid.offset_of(theirs) != (0, 0):
        raise GridError(
            f"{labels.path} is {theirs.shape[0]} x {theirs.shape[1]} px on another grid than "
            f"the aerial image ({grid.shape[0]} x {grid.shape[1]} px); expected the same grid; "
            "warp the labels to it"
        )


def _bands(info: RasterInfo) -> tuple[str, ...]:
    """Names of an aerial image's bands; without any, they are FLAIR's first ones."""
    if info.dtype != "uint8":
        raise BandError(f"{info.path} is {info.dtype}; expected uint8; rescale it first")
    names = tuple(name.lower() for name in info.bands)
    if are_names(names):
        return names
    if len(names) > len(AERIAL_BANDS):
        raise BandError(
            f"{info.path} has {len(names)} bands without names; expected names, or at most "
            f"{', '.join(AERIAL_BANDS)} in this order; name the bands"
        )
    return AERIAL_BANDS[: len(names)]
