"""Keep the inputs of every part on disk while a bundle is converted: one small file a sample.

    calibration samples    feed --> branches in FP32 --> the logits that the fusion takes
    stress samples         likewise, from inputs at the limits: black, white, saturated, no date

One sample is in memory at a time, whatever their number.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle
from runtime.manifest import PartSpec

from .plan import branch_of
from .runners import SessionRunner, files_in
from .samples import Feed
from .stress import stress_feeds

Kind = Literal["calibration", "stress"]


class FeedStore:
    """Inputs of the parts of an FP32 bundle.

    Args:
        source: The bundle, which gives the inputs of its fusion.
        folder: Where the files go; they stay until the folder is removed.
    """

    def __init__(self, source: Bundle, folder: Path) -> None:
        self._folder = folder
        self._card = source.card
        self._parts = _one_per_branch(source.manifest.parts)
        self._runner = SessionRunner("onnxruntime", files_in(source.path, self._parts), self._parts)
        self._counts: dict[tuple[Kind, str], int] = {}

    def fill(self, feeds: Iterable[tuple[str, Feed]]) -> Feed:
        """Store calibration samples, and stress samples that are made of the first.

        Returns:
            The first sample.
        """
        first: Feed = {}
        for _, feed in feeds:
            first = first or feed
            self._add("calibration", feed)
        for feed in self._stressed(first):
            self._add("stress", feed)
        for part in self._parts:
            if part.role == "fusion":
                like = next(self.feeds("calibration", part))
                for feed in stress_feeds(part, self._card, like).values():
                    self._write("stress", branch_of(part), feed)
        self._runner.close()
        return first

    def folder(self, part: PartSpec) -> Path:
        """Folder of a part's calibration samples: .npz files in order of name."""
        return self._folder / "calibration" / branch_of(part)

    def count(self, kind: Kind, part: PartSpec) -> int:
        """Number of a part's samples."""
        return self._counts.get((kind, branch_of(part)), 0)

    def feeds(self, kind: Kind, part: PartSpec, limit: int | None = None) -> Iterator[Feed]:
        """Read a part's samples one after the other; at most `limit`, evenly spread."""
        files = sorted((self._folder / kind / branch_of(part)).glob("*.npz"))
        if limit is not None and len(files) > limit:
            files = [files[i * len(files) // limit] for i in range(limit)]
        for path in files:
            with np.load(path) as arrays:
                yield {name: arrays[name] for name in arrays.files}

    def _stressed(self, like: Feed) -> Iterator[Feed]:
        """Stress every branch in turn, the others as they were."""
        for part in self._parts:
            if part.role != "fusion":
                for feed in stress_feeds(part, self._card, like).values():
                    yield like | feed

    def _add(self, kind: Kind, feed: Mapping[str, NDArray[Any]]) -> None:
        known = dict(feed)
        for part in self._parts:
            taken = {spec.name: known[spec.name] for spec in part.inputs}
            self._write(kind, branch_of(part), taken)
            if part.role != "fusion":
                known.update(self._runner(part.name, taken))

    def _write(self, kind: Kind, branch: str, feed: Feed) -> None:
        number = self._counts.get((kind, branch), 0)
        self._counts[kind, branch] = number + 1
        folder = self._folder / kind / branch
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"{number:05}.npz", **feed)  # type: ignore[arg-type]


def _one_per_branch(parts: Iterable[PartSpec]) -> tuple[PartSpec, ...]:
    """Take the first part of each branch: the variants of the fusion take the same inputs."""
    found: dict[str, PartSpec] = {}
    for part in parts:
        found.setdefault(branch_of(part), part)
    return tuple(found.values())
