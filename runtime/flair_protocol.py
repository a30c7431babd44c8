"""The loop that FLAIR #2's inference-time rule times: patches in, predictions out, one at a time.

    read        the aerial image               -> uint8 (C, 512, 512)
    preprocess  the window of its area's series: cloud filter, monthly means -> (12, B, h, w)
    model       one patch per call             -> class indices (512, 512)
    write       PRED_000826.tif                   uint8, LZW, 0 to 12

The stages work side by side, each in a thread, as the original's loading processes work beside its
model. A series is opened once for all patches of its area and its arrays are mapped into memory, so
that a window is read where it is prepared. Labels are not read. Opening the data set and the model,
and one patch beforehand, lie outside the time.

Reference: Garioud et al. 2023, FLAIR #2, arXiv 2310.13336, and its baseline's code.
"""

import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from .card import ModelCard, TileRunner
from .dataset import check_dataset_fit
from .datasets.flair import CLASSES, PATCH_SIZE, FlairTree
from .errors import DataError, GridError, brief
from .evaluate import check_classes
from .model import make_feed
from .report import peak_rss_mib
from .stream.stages import Stages
from .stream.timing import StageTimes

Stage = Literal["read", "preprocess", "model", "write"]
STAGES: tuple[Stage, ...] = ("read", "preprocess", "model", "write")

DEPTH = 2
"""Patches that may wait for the next stage."""

READ_BYTES = 1 << 24

Feed = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolTimes:
    """What the loop took."""

    patches: int
    wall_s: float
    stages_s: dict[Stage, float]
    """Busy seconds by stage; stages work side by side, so that they may add up to more."""
    peak_rss_mib: float


def choose_patches(tree: FlairTree, limit: int | None) -> tuple[str, ...]:
    """Give the first patches of a tree by name; all where there is no limit."""
    return tuple(sorted(tree.patches))[:limit]


def read_once(tree: FlairTree, ids: Sequence[str]) -> None:
    """Read every file once, so that whoever comes first does not pay for a slow disk.

    Raises:
        DataError: If a file cannot be read.
    """
    images = {tree.patches[patch_id].image for patch_id in ids}
    series = {path for patch_id in ids for path in tree.series_files(patch_id)}
    for path in sorted(images | series):
        try:
            with path.open("rb") as stream:
                while stream.read(READ_BYTES):
                    pass
        except OSError as error:
            raise DataError(f"{path} cannot be read ({brief(error)}); restore the file") from error


def check_model(tree: FlairTree, card: ModelCard, ids: Sequence[str]) -> None:
    """Check that a model takes the patches as they are and predicts their classes.

    Raises:
        DataError: If its classes are others, or a band is missing.
        GridError: If its tiles have another size or resolution than the patches.
    """
    check_classes(card.classes, CLASSES, str(tree.root))
    if card.aerial.tile_size != PATCH_SIZE:
        raise GridError(
            f"{card.name} takes tiles of {card.aerial.tile_size} px; expected {PATCH_SIZE} px, the "
            "size of a FLAIR #2 patch; choose another model"
        )
    check_dataset_fit(tree, card, ids)


def run_protocol(
    tree: FlairTree,
    ids: Sequence[str],
    card: ModelCard,
    model: TileRunner,
    out: Path,
    *,
    on_patch: Callable[[int, int], None] = lambda done, total: None,
) -> ProtocolTimes:
    """Predict patches and write the predictions.

    Args:
        tree: The data set.
        ids: The patches, at least one.
        card: What to know of the model.
        model: The model, opened for one patch per call.
        out: Folder for the predictions; it must be there.
        on_patch: Called after every prediction.

    Raises:
        DataError: If a patch is damaged, lacks its series, or cannot be written.
        GridError: If the model's tiles are no patches.
        SegxError: If the model fails.
    """
    check_model(tree, card, ids)
    patches = _Patches(tree, card)
    model.run(patches.feed(ids[0], patches.aerial(ids[0])))
    times = StageTimes()
    begin = time.perf_counter()
    with Stages(times) as stages:
        read = stages.start("read", patches.read(ids), depth=DEPTH)
        ready = stages.start("preprocess", patches.preprocess(read), depth=DEPTH)
        found = stages.start("model", _predict(ready, model), depth=DEPTH)
        wrote = stages.start("write", _write(found, out), depth=DEPTH)
        for done, _ in enumerate(wrote, start=1):
            on_patch(done, len(ids))
    return ProtocolTimes(
        patches=len(ids),
        wall_s=time.perf_counter() - begin,
        stages_s={stage: times.stages_s.get(stage, 0.0) for stage in STAGES},
        peak_rss_mib=peak_rss_mib(),
    )


@dataclass(frozen=True, slots=True)
class _Patches:
    """Reads patches as a model takes them."""

    tree: FlairTree
    card: ModelCard

    def aerial(self, patch_id: str) -> NDArray[np.uint8]:
        """Read the image, with the model's bands."""
        image = self.tree.aerial(patch_id)
        bands = self.card.aerial.bands
        if bands == self.tree.bands:
            return image
        return image[[self.tree.bands.index(band) for band in bands]]

    def feed(self, patch_id: str, aerial: NDArray[np.uint8]) -> Feed:
        """Add the satellite input, where the model takes one."""
        spec = self.card.satellite
        series = None if spec is None else [self.tree.satellite_input(patch_id, spec)]
        return make_feed([aerial], series)

    def read(self, ids: Sequence[str]) -> Generator[tuple[str, NDArray[np.uint8]], None, None]:
        for patch_id in ids:
            yield patch_id, self.aerial(patch_id)

    def preprocess(
        self, images: Iterable[tuple[str, NDArray[np.uint8]]]
    ) -> Generator[tuple[str, Feed], None, None]:
        for patch_id, aerial in images:
            yield patch_id, self.feed(patch_id, aerial)


def _predict(
    feeds: Iterable[tuple[str, Feed]], model: TileRunner
) -> Generator[tuple[str, NDArray[np.uint8]], None, None]:
    names: list[str] = []

    def without_names() -> Iterator[Feed]:
        for name, feed in feeds:
            names.append(name)
            yield feed

    for done, result in enumerate(model.run_many(without_names())):
        # The next call may overwrite the array.
        yield names[done], result["classes"][0].copy()


def _write(
    predictions: Iterable[tuple[str, NDArray[np.uint8]]], out: Path
) -> Generator[Path, None, None]:
    for patch_id, classes in predictions:
        yield write_prediction(out, patch_id, classes)


def write_prediction(out: Path, patch_id: str, classes: NDArray[np.uint8]) -> Path:
    """Write the prediction of a patch as the challenge takes it: class indices from 0, no place.

    Args:
        out: Folder.
        patch_id: Name of the patch, such as `IMG_000826`.
        classes: Shape (H, W).

    Returns:
        The file, such as `PRED_000826.tif`.

    Raises:
        DataError: If it cannot be written.
    """
    path = out / f"{patch_id.replace('IMG_', 'PRED_', 1)}.tif"
    height, width = classes.shape
    shape: dict[str, Any] = {"height": height, "width": width, "count": 1, "dtype": "uint8"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, "w", driver="GTiff", compress="lzw", **shape) as target:
                target.write(classes, 1)
    except (OSError, rasterio.errors.RasterioError) as error:
        raise DataError(
            f"{path} cannot be written ({brief(error)}); expected room and permission; free some "
            "disk space"
        ) from error
    return path
