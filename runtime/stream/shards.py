"""Share a run out among workers that know nothing of each other.

All block rows of all files stand in one order; shard I of N takes a run of them.

    files         |------ a ------|-- b --|---------- c ----------|
    block rows    |   |   |   |   |   |   |   |   |   |   |   |   |
    shards of 3   |        1          |        2       |    3     |

Every worker makes the same survey, so that it knows files of other workers as context. Where a
border of files lies near a cut, the cut moves there: a file of one shard is finished by it, one of
several is put together at the end.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ..errors import ConfigError
from ..output.kinds import BLOCK

NEAR = 1 / 16
"""A cut moves to the border of two files if that lies within this part of a share."""
MOST_SHARDS = 100_000

_TEXT = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One of several shares of a run."""

    index: int
    """From 1 on."""
    count: int

    def __post_init__(self) -> None:
        """Refuse a share that is none.

        Raises:
            ConfigError: If the index does not lie within 1 and the count.
        """
        if not 1 <= self.index <= self.count <= MOST_SHARDS:
            raise ConfigError(
                f"shard {self.index}/{self.count}; expected I/N with I from 1 to N and N up to "
                f"{MOST_SHARDS}; correct --shard"
            )

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read I/N.

        Raises:
            ConfigError: If the text is something else.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            raise ConfigError(
                f"--shard is {text[:20]!r}; expected I/N, such as 1/8 for the first of eight; "
                "correct --shard"
            )
        return cls(index=int(found[1]), count=int(found[2]))

    def __str__(self) -> str:
        """Write I/N."""
        return f"{self.index}/{self.count}"

    def share(self, shapes: Sequence[tuple[int, int]]) -> list[range]:
        """Tell which block rows of each file this shard writes.

        Args:
            shapes: Height and width of every file of the run, in its order.

        Returns:
            Block rows of each file; an empty range for a file of other shards.
        """
        pixels = [
            [min(BLOCK, height - top) * width for top in range(0, height, BLOCK)]
            for height, width in shapes
        ]
        borders = list(accumulate((len(rows) for rows in pixels), initial=0))
        before = list(accumulate((count for rows in pixels for count in rows), initial=0))
        start, stop = (
            _cut(before, borders, index, self.count) for index in (self.index - 1, self.index)
        )
        return [
            range(max(start, first) - first, max(min(stop, last), max(start, first)) - first)
            for first, last in pairwise(borders)
        ]


def _cut(before: Sequence[int], borders: Sequence[int], index: int, count: int) -> int:
    """Number of the block row before which the first so many shards end.

    Args:
        before: Pixels before each block row of the run, and all of them.
        borders: Numbers of the block rows at which files begin, and the number of all.
        index: Shards before the cut.
        count: Shards of the run.
    """
    total = before[-1]
    # Whole numbers, so that every machine cuts at the same place.
    wanted = total * index
    at_files = [before[border] * count for border in borders]
    file = _nearest(at_files, wanted)
    if abs(at_files[file] - wanted) <= total * NEAR:
        return borders[file]
    return _nearest([pixels * count for pixels in before], wanted)


def _nearest(places: Sequence[int], wanted: int) -> int:
    """Index of the place nearest to what is wanted, the first of two, among rising ones."""
    after = min(bisect_left(places, wanted), len(places) - 1)
    if after and wanted - places[after - 1] <= places[after] - wanted:
        return after - 1
    return after
