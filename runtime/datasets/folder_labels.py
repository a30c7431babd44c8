"""Read the labels of a user's own data: numbers in one band, or colours in three."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..metrics import IGNORE_INDEX
from ..raster import RasterInfo, RasterReader
from .folder_settings import SETTINGS, FolderSettings
from .label_colors import Decoded, decode


@dataclass(frozen=True, slots=True)
class FolderLabels:
    """Turns the pixels of label files into class indices."""

    settings: FolderSettings

    def read(self, reader: RasterReader, row: int, col: int, side: int) -> Decoded:
        """Read the labels of a tile; what lies beyond the file is ignored.

        Raises:
            DataError: If the file is neither numbers nor colours, damaged, or holds a value that
                is no class.
        """
        check_kind(reader.info)
        height = min(side, reader.info.grid.shape[0] - row)
        width = min(side, reader.info.grid.shape[1] - col)
        pixels = reader.read(row, col, height, width)
        if len(pixels) == 1:
            found = Decoded(labels=self._by_value(pixels[0], reader.info), near=0, unknown=0)
        else:
            palette = [
                (color, IGNORE_INDEX if index is None else index)
                for color, index in self.settings.palette
            ]
            found = decode(pixels, palette)
        labels = np.full((side, side), IGNORE_INDEX, dtype=np.uint8)
        labels[:height, :width] = found.labels
        return Decoded(labels=labels, near=found.near, unknown=found.unknown)

    def _by_value(self, values: NDArray[Any], info: RasterInfo) -> NDArray[np.uint8]:
        labels = np.full(values.shape, IGNORE_INDEX, dtype=np.uint8)
        known = np.isin(values, self._ignored(info))
        for index, value in enumerate(self.settings.values):
            same = values == value
            labels[same] = index
            known |= same
        if not known.all():
            raise DataError(
                f"{info.path} holds the value {values[~known][0]}; expected "
                f"{', '.join(map(str, sorted(self.settings.values)))} or one to ignore; add it to "
                f"the classes or to ignore in {SETTINGS}"
            )
        return labels

    def _ignored(self, info: RasterInfo) -> list[int]:
        """Values that mean nothing; a class keeps its value even if the file calls it nodata."""
        nodata = [] if info.nodata is None else [int(info.nodata)]
        return [*self.settings.ignore, *nodata]


def check_kind(info: RasterInfo) -> None:
    """Check that a file can hold labels.

    Raises:
        DataError: If it is neither one band of integers nor three of uint8.
    """
    if (info.count, info.dtype) not in ((1, "uint8"), (1, "uint16"), (1, "int16"), (3, "uint8")):
        raise DataError(
            f"{info.path} has {info.count} {info.dtype} band(s); expected one of uint8 or uint16 "
            "with class values, or three of uint8 with colours; rewrite the file"
        )
