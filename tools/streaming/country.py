"""Plan a country of files that are not there: what planning takes beside reading their headers.

python -m tools.streaming.country BUNDLE AERIAL.TIF COUNT SIDE RESULT.JSON
"""

import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from runtime.bundle import open_bundle
from runtime.jsonfile import write_json
from runtime.raster import RasterInfo, RasterReader, describe
from runtime.scene import Scene
from runtime.stream.jobs import count_tiles
from runtime.stream.options import InferOptions
from runtime.stream.survey import make_survey

from .sheets import side_by_side


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated(Scene):
    """A file that is known by its header alone."""

    info: RasterInfo

    def open(self) -> RasterReader:
        """Give the header."""
        return cast(RasterReader, nullcontext(self))


def simulate(aerial: Path, *, count: int, side: int) -> list[Scene]:
    """Give files side by side in rows of as many as there are rows, like a first one.

    Args:
        aerial: The raster that they are like.
        count: Files.
        side: Side of a file, in pixels.
    """
    like = describe(aerial)
    scenes: list[Scene] = []
    for name, row, col in side_by_side(count, side):
        path = Path(name)
        info = replace(like, path=path, grid=like.grid.crop(row, col, side, side))
        scenes.append(Simulated(aerial=path, satellite=None, info=info))
    return scenes


def main() -> None:
    """Plan, and write how many tiles there are."""
    bundle, aerial, count, side, result = sys.argv[1:]
    scenes = simulate(Path(aerial), count=int(count), side=int(side))
    survey = make_survey(scenes, open_bundle(Path(bundle)).card, InferOptions(allow_toy=True))
    write_json(Path(result), {"tiles": sum(map(count_tiles, survey.areas))})


if __name__ == "__main__":
    main()
