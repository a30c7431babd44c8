"""Strips: what each of them has to write, and how many tiles that takes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_model import card_of, noise, write

from runtime.grid import Grid
from runtime.output.kinds import BLOCK
from runtime.scene import Scene
from runtime.stream.jobs import count_tiles, make_jobs
from runtime.stream.options import InferOptions
from runtime.stream.survey import Survey, make_survey

PLACES = ((0, 0, 300, 130), (0, 130, 40, 75), (300, 20, 700, 90), (600, 260, 50, 60))
"""Row, column, height and width of files; the last one lies apart from the others."""


@dataclass
class Maps:
    """The maps of a file, of which some block rows are on the disk."""

    stem: str
    grid: Grid
    there: frozenset[int] = frozenset()
    finished: bool = False

    def missing(self, cols: slice) -> tuple[int, ...]:
        blocks = range(-(-self.grid.shape[0] // BLOCK))
        return tuple(block for block in blocks if block not in self.there)


def survey_of(folder: Path, **options: Any) -> Survey:
    paths = [
        write(folder / f"{index}.tif", noise(height, width), row, col)
        for index, (row, col, height, width) in enumerate(PLACES)
    ]
    scenes = [Scene(aerial=path, satellite=None) for path in paths]
    return make_survey(scenes, card_of(), InferOptions(**options))


def sheets_of(survey: Survey, **changes: Any) -> Any:
    return [
        [Maps(file.path.stem, file.info.grid, **changes) for file in area.mosaic.files]
        for area in survey.areas
    ]


@pytest.mark.parametrize("disagreement", [False, True])
@pytest.mark.parametrize("strip_tiles", [1, 3, 99])
@pytest.mark.parametrize("there", [frozenset(), frozenset({0})])
def test_the_tiles_of_a_strip_are_as_many_as_come(
    strip_tiles: int, there: frozenset[int], disagreement: bool, tmp_path: Path
) -> None:
    survey = survey_of(tmp_path, disagreement=disagreement)
    jobs = make_jobs(survey.areas, sheets_of(survey, there=there), strip_tiles)
    assert jobs
    counts = [len(list(job.tiles())) for job in jobs]
    assert [job.tile_count for job in jobs] == counts
    if not there and not disagreement:
        assert sum(map(count_tiles, survey.areas)) == sum(counts)


@pytest.mark.parametrize("resolution", [None, 0.31])
def test_strips_take_every_column_of_every_file_once(
    resolution: float | None, tmp_path: Path
) -> None:
    survey = survey_of(tmp_path)
    if resolution is not None:
        card = card_of()
        spec = replace(card.aerial, resolution_m=resolution)
        survey = make_survey(
            [Scene(aerial=file.path, satellite=None) for file in survey.files],
            replace(card, aerial=spec),
            InferOptions(resample=True),
        )
    jobs = make_jobs(survey.areas, sheets_of(survey), 2)
    taken: dict[str, list[int]] = {}
    for job in jobs:
        for strip in job.sheets:
            taken.setdefault(strip.sheet.stem, []).extend(range(*strip.cols.indices(10**6)))
            held = np.asarray(strip.taken)
            assert len(held) == strip.cols.stop - strip.cols.start
            assert ((job.cols.start <= held) & (held < job.cols.stop)).all()
    assert len(taken) == len(PLACES)
    for file in survey.files:
        assert taken[file.path.stem] == list(range(file.info.grid.shape[1]))


def test_files_that_are_finished_need_no_strip(tmp_path: Path) -> None:
    survey = survey_of(tmp_path)
    assert make_jobs(survey.areas, sheets_of(survey, finished=True), 2) == []
