"""Map rasters and arrays from Python, with what `segx infer` runs."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.backends import BackendOption
from runtime.bundle import Bundle
from runtime.bundle import open_bundle as open_folder
from runtime.errors import BandError, SatelliteError
from runtime.ladder import Opened, RunRequest, open_best
from runtime.manifest import Manifest
from runtime.mapping import MapRequest
from runtime.pipeline import OnTile
from runtime.predict import ArraySeries, Prediction, predict
from runtime.radiometry import Offset, dark_levels, settle_offsets
from runtime.report import Clock, Report
from runtime.satellite import BANDS, REFLECTANCE_SCALE, SatelliteStack
from runtime.stream.options import InferOptions
from runtime.stream.shards import Shard

from . import __version__

Units = Literal["dn", "reflectance"]
"""What a series holds: Level-2A digital numbers, 10 000 to 1 of reflectance, or reflectance."""

AnyPath = str | PathLike[str]

_NO_OPTIONS = InferOptions()


def open_bundle(
    path: AnyPath,
    *,
    backend: BackendOption = "auto",
    threads: int | None = None,
    batch: int | None = None,
    self_test: bool = True,
) -> "OpenBundle":
    """Open a bundle: every file is checked against its hash. Libraries are loaded at the first use.

    Args:
        path: The bundle's folder, `NAME.segx`.
        backend: Library that runs it; `auto` takes the first that can be used.
        threads: Processor threads; the library's default if None.
        batch: Tiles per call; None: one on a processor, eight on a GPU.
        self_test: Run the golden tile of the bundle before anything else.

    Raises:
        BundleError: If the folder is no bundle, is damaged, or cannot be read by this version.

    Example:
        >>> import segx
        >>> from segx.bundles import TOY
        >>> with segx.open_bundle(TOY) as model:
        ...     model.manifest.aerial.tile_size
        512
    """
    request = RunRequest(
        backend=backend,
        batch=batch,
        threads=threads,
        self_test=self_test,
        segx_version=__version__,
    )
    return OpenBundle(open_folder(Path(path)), request)


class OpenBundle:
    """A bundle that maps rasters and arrays; use it as a context manager, from one thread."""

    def __init__(self, bundle: Bundle, request: RunRequest) -> None:
        """Take a bundle whose files are checked; see `open_bundle`."""
        self._bundle, self._request = bundle, request
        self._opened: dict[tuple[str, int | None], Opened] = {}
        self._stack = ExitStack()

    @property
    def manifest(self) -> Manifest:
        """What the bundle holds: classes, bands, sizes, precision, measured accuracy."""
        return self._bundle.manifest

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by the values of a map."""
        return tuple(item.name for item in self.manifest.classes)

    def map(
        self,
        scene: AnyPath,
        out: AnyPath,
        *,
        satellite: AnyPath | None = None,
        options: InferOptions = _NO_OPTIONS,
        shard: Shard | None = None,
        on_tile: OnTile = lambda done, total: None,
    ) -> Report | None:
        """Write the maps of rasters, as `segx infer` does; a run that was stopped goes on.

        Args:
            scene: A GeoTIFF, a folder of them, a scene folder or a FLAIR #2 tree.
            out: Folder for maps and `report.json`.
            satellite: Folder of `S2_YYYYMMDD.tif` files; `sentinel2` in or beside `scene` if None.
            options: What to write, how the input is made to fit, and what to allow.
            shard: Which share of the run to do; the last one puts the maps together.
            on_tile: Called after every tile with the tiles done and the tiles in all.

        Returns:
            The report; of a shard its own, until the last one gives that of all. None for a shard
            of a run whose maps were complete before.

        Raises:
            SegxError: If an input is missing or does not fit, or a stage fails.
        """
        clock = Clock()
        wanted = MapRequest(
            source=Path(scene),
            satellite=None if satellite is None else Path(satellite),
            out=Path(out),
            options=replace(options, segx_version=__version__),
            shard=shard,
        )
        survey = wanted.survey(self._bundle.card)
        return wanted.run(survey, self._open(options), clock, on_tile=on_tile).report

    def predict(
        self,
        aerial: NDArray[np.uint8],
        series: NDArray[Any] | None = None,
        dates: Sequence[date | str] = (),
        *,
        cover: NDArray[Any] | None = None,
        corner: tuple[float, float] | None = None,
        units: Units = "dn",
        valid: NDArray[np.bool_] | None = None,
        options: InferOptions = _NO_OPTIONS,
    ) -> Prediction:
        """Map an array of any size, cut into tiles as a raster is.

        Args:
            aerial: uint8, shape (C, H, W): the bands of `manifest.aerial.bands` in their order,
                pixels of `manifest.aerial.resolution_m`.
            series: Sentinel-2 Level-2A, shape (T, 10, h, w): B02, B03, B04, B05, B06, B07, B08,
                B8A, B11, B12, pixels of `manifest.satellite.cell_m`; 0 or NaN in all bands is
                nodata. None without one.
            dates: Day of each of its T acquisitions, as `datetime.date` or `YYYY-MM-DD`.
            cover: Snow or cloud probability, 0 to 100, shape (T, h, w); None: nothing is covered.
            corner: Row and column of the aerial array's upper left corner on the series, in pixel
                edges; None: both have one centre.
            units: `dn`, whose radiometric offset `options.satellite_offset` names or has found,
                or `reflectance`, about 0 to 1.
            valid: Which aerial pixels hold data, bool (H, W); None: all do.
            options: What to write, and how. Options of files are refused.

        Returns:
            Classes, confidence and quality, and what else the options ask for.

        Raises:
            BandError: If an array has other bands.
            DataError: If an array has another shape or type, or no date shows a tile.
            ConfigError: If an option is one of files.
        """
        options = replace(options, confidence=True, quality=True, segx_version=__version__)
        stack = None
        if series is not None:
            stack = ArraySeries(stack=_stack(series, dates, cover, units, options), corner=corner)
        opened = self._open(options)
        return predict(opened.model, self._bundle.card, aerial, stack, valid=valid, options=options)

    def close(self) -> None:
        """Give memory back; the bundle can be used again, and is opened anew then."""
        self._opened.clear()
        self._stack.close()

    def __enter__(self) -> "OpenBundle":
        """Return the bundle."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _open(self, options: InferOptions) -> Opened:
        """Open the graphs that these options need, once for each end of the model."""
        batch = options.batch or self._request.batch
        key = options.variant, batch
        if key not in self._opened:
            request = replace(self._request, variant=options.variant, batch=batch)
            opened = open_best(self._bundle, request)
            self._stack.callback(opened.model.close)
            self._opened[key] = opened
        return self._opened[key]


def _stack(
    series: NDArray[Any],
    dates: Sequence[date | str],
    cover: NDArray[Any] | None,
    units: Units,
    options: InferOptions,
) -> SatelliteStack:
    """Take a series as the runtime holds it, its radiometric offsets settled."""
    if series.ndim != 4 or series.shape[1] != len(BANDS):
        raise BandError(
            f"the series has shape {series.shape}; expected (T, {len(BANDS)}, h, w) with the bands "
            f"{', '.join(BANDS)}; bring it into that order"
        )
    shape = (len(series), 2, *series.shape[2:])
    masks = np.zeros(shape, dtype=np.uint8) if cover is None else np.stack([cover, cover], axis=1)
    dn = series
    if units == "reflectance":
        dn = series.astype(np.float32) * np.float32(REFLECTANCE_SCALE)
    stack = SatelliteStack(
        dn=dn,
        cover=masks,
        dates=tuple(_day(day) for day in dates),
        offsets=(0,) * len(series),
    )
    known: list[Offset | None] = [None] * len(series)
    if units == "reflectance":
        known = [Offset(dn=0, origin="given")] * len(series)
    option = "auto" if units == "reflectance" else options.satellite_offset
    offsets = settle_offsets(known, option, lambda: dark_levels(stack))
    return replace(
        stack,
        offsets=tuple(item.dn for item in offsets),
        origins=tuple(item.origin for item in offsets),
    )


def _day(day: date | str) -> date:
    if isinstance(day, date):
        return day
    try:
        return date.fromisoformat(day)
    except ValueError as error:
        raise SatelliteError(
            f"the date {day!r} is no day; expected YYYY-MM-DD or a datetime.date; correct it"
        ) from error
