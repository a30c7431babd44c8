"""Find and keep open the Sentinel-2 series that lie beside the images of a data set.

sentinel2/NAME/S2_YYYYMMDD.tif    a series of one image,
sentinel2/S2_YYYYMMDD.tif         or one for all
"""

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from ..errors import SatelliteError
from ..geoseries import PRODUCTS, GeoSeries, open_series
from ..products import OffsetOption, scene_file_day
from ..raster import RasterInfo
from ..satellite import SatelliteInput, SatelliteSpec
from ..scene import SATELLITE_FOLDER

MOST_SERIES = 4
"""Series that are kept open: those of the images read last."""

TERMS = "; contains modified Copernicus Sentinel data"


class SeriesFolder:
    """The series of a data set."""

    def __init__(self, root: Path, *, offset: OffsetOption = "auto") -> None:
        """Remember where the data set lies; nothing needs to be there.

        Args:
            root: Folder of the data set.
            offset: The radiometric offset of all series, or how it is found.
        """
        self.root, self.offset = root, offset
        self.path = root / SATELLITE_FOLDER
        self._open: OrderedDict[Path, GeoSeries] = OrderedDict()

    def exists(self) -> bool:
        """Whether there is any series."""
        return self.path.is_dir()

    @property
    def terms(self) -> str:
        """What is added to the licence of the data where there is any series; else nothing."""
        return TERMS if self.exists() else ""

    def files(self) -> Iterator[Path]:
        """Every file of every series."""
        yield from self.path.rglob("S2_*.tif")
        yield from self.path.rglob(PRODUCTS)

    def find(self, name: str) -> Path | None:
        """Folder of an image's own series, else of the one for all; None without any."""
        own = self.path / name
        if own.is_dir():
            return own
        shared = self.exists() and any(scene_file_day(path) for path in self.path.iterdir())
        return self.path if shared else None

    def series(self, name: str) -> GeoSeries:
        """Open the series of an image; few are kept open.

        Raises:
            SatelliteError: If the image has none.
            DataError: If it is damaged.
        """
        folder = self.find(name)
        if folder is None:
            raise SatelliteError(
                f"{self.root} has no Sentinel-2 series for {name}; expected S2_YYYYMMDD.tif files "
                f"in {self.path / name} or, for all images, in {self.path}; add them"
            )
        if folder in self._open:
            self._open.move_to_end(folder)
        else:
            self._open[folder] = open_series(folder, offset=self.offset)
            if len(self._open) > MOST_SERIES:
                self._open.popitem(last=False)
        return self._open[folder]

    def window(
        self,
        name: str,
        image: RasterInfo,
        centre: tuple[float, float],
        spec: SatelliteSpec,
        *,
        remedy: str,
    ) -> SatelliteInput:
        """Resample the satellite window around a place on an image, through both CRS.

        Args:
            name: Name of the image.
            image: The image.
            centre: Row and column of the place, in pixel edges.
            spec: What the window is.
            remedy: What to do about an image without a georeference.

        Raises:
            SatelliteError: If the image has no series or georeference, or the series does not show
                the place.
        """
        if not image.placed:
            raise SatelliteError(
                f"{image.path} has no georeference; expected one, to find its Sentinel-2 cells; "
                f"{remedy}"
            )
        return self.series(name).prepare(image.grid, *centre, spec)
