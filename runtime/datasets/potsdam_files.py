"""Find the files of ISPRS Potsdam, however its archives were unpacked.

    2_Ortho_RGB/top_potsdam_2_10_RGB.tif          likewise 3_Ortho_IRRG, 4_Ortho_RGBIR; some have
                                                  a folder of the same name inside
    1_DSM_normalisation/dsm_potsdam_02_10_normalized_lastools.jpg
    1_DSM/dsm_potsdam_02_10.tif
    5_Labels_all/top_potsdam_2_10_label.tif       5_Labels_for_participants holds 24 of the 38
    5_Labels_all_noBoundary/top_potsdam_2_10_label_noBoundary.tif

Files are known by their names alone, in whatever folder. Numbers of a tile are padded with zeros in
the names of the surface models only.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError

_TOP = re.compile(r"top_potsdam_(\d+)_(\d+)_(RGBIR|RGB|IRRG)\.tif", re.IGNORECASE)
_LABEL = re.compile(r"top_potsdam_(\d+)_(\d+)_label(_noBoundary)?\.tif", re.IGNORECASE)
_HEIGHT = re.compile(
    r"dsm_potsdam_(\d+)_(\d+)(_normalized_lastools)?\.(?:tif|jpe?g)", re.IGNORECASE
)


@dataclass(slots=True, kw_only=True)
class TileFiles:
    """The files of one of the 38 tiles; None for what is not there."""

    name: str
    """Row and column of the tile as published, such as `2_10`."""
    images: dict[str, Path] = field(default_factory=dict)
    """Orthophotos by their bands: `RGB`, `IRRG`, `RGBIR`."""
    height: Path | None = None
    """Normalised surface model: height above ground, uint8."""
    surface: Path | None = None
    """Surface model in metres, which is not read."""
    labels: Path | None = None
    """Labels of every pixel."""
    inner_labels: Path | None = None
    """Labels without the pixels beside a boundary (`noBoundary`)."""

    @property
    def number(self) -> tuple[int, int]:
        """Row and column of the tile."""
        row, col = self.name.split("_")
        return int(row), int(col)


def find_tiles(root: Path) -> dict[str, TileFiles]:
    """Find the tiles below a folder that have an orthophoto, in order of their numbers.

    Raises:
        DataError: If an orthophoto or surface model is there twice.
    """
    tiles: dict[str, TileFiles] = {}
    for path in sorted(root.rglob("*_potsdam_*")):
        _enter(tiles, path)
    found = [tile for tile in tiles.values() if tile.images]
    return {tile.name: tile for tile in sorted(found, key=lambda tile: tile.number)}


def is_potsdam(root: Path) -> bool:
    """Whether a folder holds an orthophoto of Potsdam."""
    return any(_TOP.fullmatch(path.name) for path in root.rglob("top_potsdam_*"))


def image_files(tile: TileFiles) -> Iterator[Path]:
    """Orthophotos of a tile, and its normalised surface model if there is one."""
    yield from tile.images.values()
    if tile.height is not None:
        yield tile.height


def all_files(tile: TileFiles) -> Iterator[Path]:
    """Every file of a tile that is read."""
    yield from image_files(tile)
    yield from (path for path in (tile.labels, tile.inner_labels) if path is not None)


def _enter(tiles: dict[str, TileFiles], path: Path) -> None:
    """Note a file under its tile, if it is one of the data set."""
    for pattern, enter in ((_TOP, _image), (_LABEL, _labels), (_HEIGHT, _height)):
        match = pattern.fullmatch(path.name)
        if match and path.is_file():
            name = f"{int(match[1])}_{int(match[2])}"
            enter(tiles.setdefault(name, TileFiles(name=name)), path, match[3])


def _image(tile: TileFiles, path: Path, bands: str) -> None:
    bands = bands.upper()
    _once(tile.images.get(bands), path)
    tile.images[bands] = path


def _height(tile: TileFiles, path: Path, normalized: str | None) -> None:
    if normalized:
        _once(tile.height, path)
        tile.height = path
    elif path.suffix.lower() == ".tif":
        tile.surface = path


def _labels(tile: TileFiles, path: Path, inner: str | None) -> None:
    """Take the labels of all tiles before those of the participants, which are among them."""
    before = tile.inner_labels if inner else tile.labels
    if before is not None and _for_participants(path):
        return
    if before is not None and not _for_participants(before):
        _once(before, path)
    if inner:
        tile.inner_labels = path
    else:
        tile.labels = path


def _for_participants(path: Path) -> bool:
    return "participants" in str(path.parent).lower()


def _once(before: Path | None, path: Path) -> None:
    if before is not None:
        raise DataError(
            f"{path.name} is there twice ({before} and {path}); expected every file once; "
            "remove one"
        )
