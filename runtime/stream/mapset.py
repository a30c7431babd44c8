"""All maps of a run, from the first written piece to the finished files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from ..card import ModelCard
from ..output.kinds import (
    MapKind,
    MapTags,
    class_map,
    confidence_map,
    disagreement_map,
    margin_map,
    probability_map,
    quality_map,
)
from ..tally import Tally
from .dates_used import DatesUsed
from .jobs import Job, SheetStrip
from .options import InferOptions
from .seams import SeamCount
from .shards import Shard
from .survey import Survey
from .targets import Store, Target


class MapSet:
    """The maps of all files of a survey."""

    def __init__(
        self,
        survey: Survey,
        work: Store,
        tags: Sequence[MapTags],
        tally: Tally,
        dates: DatesUsed,
        shard: Shard | None = None,
    ) -> None:
        """Prepare the maps of every file; nothing is written yet.

        Args:
            survey: What is mapped.
            work: Where unfinished maps are kept.
            tags: Tags of the maps of every area.
            tally: Counts what is written.
            dates: Knows which Sentinel-2 dates each file's maps are made of.
            shard: Which share of them is written; all if None.
        """
        kinds = map_kinds(survey.card, survey.options)
        self.bands = {name: len(kind.bands) for name, kind in kinds.items()}
        """Number of bands by name of a map."""
        self.classes = len(survey.card.classes)
        self.seams: list[SeamCount] = []
        shapes = [file.info.grid.shape for file in survey.files]
        shares = iter([None] * len(shapes) if shard is None else shard.share(shapes))
        self.sheets: list[list[Target]] = [
            [
                work.sheet(file.path.stem, file.info.grid, kinds, stamped, next(shares))
                for file in area.mosaic.files
            ]
            for area, stamped in zip(survey.areas, tags, strict=True)
        ]
        """Maps of the files of every area, in the order of both."""
        self.tally = tally
        self.dates = dates
        self._left: Counter[str] = Counter()

    def expect(self, jobs: Sequence[Job]) -> None:
        """Say which strips will be written, and finish what lacks nothing more.

        Raises:
            DataError: If the disk does not take it.
        """
        ahead: Counter[str] = Counter()
        for strip in (strip for job in jobs for strip in job.sheets):
            self._left[strip.sheet.stem] += len(strip.missing)
            ahead[strip.sheet.stem] += strip.pixels
        for sheet in (sheet for sheets in self.sheets for sheet in sheets if sheet.share):
            self.tally.add_scene(sheet.mapped, list(sheet.paths) if sheet.is_whole else [])
            rows, cols = sheet.mapped.shape
            self.tally.pixels_before += rows * cols - ahead[sheet.stem]
            if sheet.is_whole and not sheet.finished and not self._left[sheet.stem]:
                self.finish(sheet)

    def write(self, strip: SheetStrip, block: int, values: Mapping[str, NDArray[np.uint8]]) -> bool:
        """Write a block row of a file, as far as it lies in a strip; tell whether it is complete.

        Raises:
            DataError: If the disk does not take it.
        """
        strip.sheet.write(block, strip.cols, values)
        self._left[strip.sheet.stem] -= 1
        return strip.sheet.is_whole and not self._left[strip.sheet.stem]

    def finish(self, sheet: Target) -> None:
        """Bring the maps of a file into their final form and place.

        Raises:
            DataError: If the disk does not take them.
        """
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        sheet.finish({"SEGX_CREATED": now, **self.dates.tags(sheet.stem)})


def map_kinds(card: ModelCard, options: InferOptions) -> dict[str, MapKind]:
    """What to write, by name of a result."""
    classes = card.classes
    kinds = {"classes": class_map(classes)}
    if options.confidence:
        kinds["confidence"] = confidence_map()
    if options.probabilities:
        kinds["probabilities"] = probability_map(classes)
    if options.margin:
        kinds["margin"] = margin_map()
    if options.writes_quality:
        kinds["quality"] = quality_map()
    if options.disagreement:
        kinds["disagreement"] = disagreement_map()
    return kinds
