"""The commands that are disturbed: what they read and write, how they go on, what they give."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.output.workplace import FOLDER
from runtime.pipeline import REPORT_NAME
from tools.streaming.killing import folders_differ
from tools.streaming.pixels import first_difference

from .compare import trees_differ, visible

Words = list[object]
CHECKPOINT, RUN = "checkpoint.json", "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the commands read; made once, damaged and mended by the trials."""

    flair2: Path
    config: Path
    scene: Path
    run: Path
    """A finished training."""
    bundle: Path


class Command(Protocol):
    """A command of segx, whose output lies in a folder that holds nothing else."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def is_slow_to_start(self) -> bool:
        """Whether half of its time is imports."""

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Folders whose files may be lost; what a config says cannot be told from what it did."""

    def words(self, out: Path) -> Words:
        """Arguments of the first run."""

    def again(self, out: Path) -> Words:
        """Arguments of the run that goes on, or begins anew."""

    def anew(self, out: Path) -> Words:
        """Do what the message says where inputs changed under a run; gives the arguments."""

    def is_whole(self, out: Path) -> bool:
        """Whether all is there."""

    def difference(self, reference: Path, out: Path) -> str:
        """In what a result differs from the reference; empty if in nothing."""

    def half(self, reference: Path, out: Path) -> str:
        """What of a run that was stopped has its final name and is not whole; empty if nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """`segx train`."""

    sources: Sources
    name: str = "train"
    is_slow_to_start: bool = True

    @property
    def inputs(self) -> tuple[Path, ...]:
        return (self.sources.flair2,)

    def words(self, out: Path) -> Words:
        where = ["--config", self.sources.config, "--out", out / "run"]
        return ["train", self.sources.flair2, *where]

    def again(self, out: Path) -> Words:
        if (out / "run" / RUN).is_file():
            return ["train", "--resume", out / "run"]
        return self.words(out)

    def anew(self, out: Path) -> Words:
        where = ["--config", self.sources.config, "--out", out / "anew"]
        return ["train", self.sources.flair2, *where]

    def is_whole(self, out: Path) -> bool:
        return (self._made(out) / CHECKPOINT).is_file()

    def difference(self, reference: Path, out: Path) -> str:
        return trees_differ(reference / "run", self._made(out))

    def half(self, reference: Path, out: Path) -> str:
        return self.difference(reference, out) if self.is_whole(out) else ""

    def _made(self, out: Path) -> Path:
        return out / ("anew" if (out / "anew").exists() else "run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """`segx export` in FP32, measured on the validation patches."""

    sources: Sources
    name: str = "export"
    is_slow_to_start: bool = True

    @property
    def inputs(self) -> tuple[Path, ...]:
        return (self.sources.run, self.sources.flair2)

    def words(self, out: Path) -> Words:
        where = ["--eval", self.sources.flair2, "--engine", "none", "--out", out / "made.segx"]
        return ["export", self.sources.run, "--precision", "fp32", *where]

    def again(self, out: Path) -> Words:
        return self.words(out)

    def anew(self, out: Path) -> Words:
        return self.words(out)

    def is_whole(self, out: Path) -> bool:
        return (out / "made.segx").exists()

    def difference(self, reference: Path, out: Path) -> str:
        return trees_differ(reference, out)

    def half(self, reference: Path, out: Path) -> str:
        return self.difference(reference, out) if visible(out) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Infer:
    """`segx infer` of a scene, with confidence and quality."""

    sources: Sources
    threads: int
    name: str = "infer"
    is_slow_to_start: bool = False

    @property
    def inputs(self) -> tuple[Path, ...]:
        return (self.sources.bundle, self.sources.scene)

    def words(self, out: Path) -> Words:
        options = ["--bundle", self.sources.bundle, "--threads", self.threads, "--toy-ok"]
        maps = ["--confidence", "--quality", "--out", out / "maps"]
        return ["infer", self.sources.scene, *options, *maps]

    def again(self, out: Path) -> Words:
        return self.words(out)

    def anew(self, out: Path) -> Words:
        return [*self.words(out), "--restart"]

    def is_whole(self, out: Path) -> bool:
        return (out / "maps" / REPORT_NAME).is_file() and not (out / "maps" / FOLDER).exists()

    def difference(self, reference: Path, out: Path) -> str:
        if not (out / "maps").is_dir():
            return "there are no maps"
        return folders_differ(reference / "maps", out / "maps")

    def half(self, reference: Path, out: Path) -> str:
        maps = out / "maps"
        for name in visible(maps) if maps.is_dir() else []:
            whole = reference / "maps" / name
            if not whole.is_file():
                return f"{name} is none of the outputs"
            if name.suffix == ".tif" and (found := first_difference(whole, maps / name)):
                return f"{name}: {found}"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """`segx bench` of a bundle over a scene."""

    sources: Sources
    threads: int
    name: str = "bench"
    is_slow_to_start: bool = False

    @property
    def inputs(self) -> tuple[Path, ...]:
        return (self.sources.bundle, self.sources.scene)

    def words(self, out: Path) -> Words:
        calls = ["--warmup", 1, "--repeats", 3, "--threads", self.threads]
        where = ["--scene", self.sources.scene, "--json", out / "bench.json"]
        return ["bench", self.sources.bundle, *calls, *where]

    def again(self, out: Path) -> Words:
        return self.words(out)

    def anew(self, out: Path) -> Words:
        return self.words(out)

    def is_whole(self, out: Path) -> bool:
        return (out / "bench.json").is_file()

    def difference(self, reference: Path, out: Path) -> str:
        """Times differ always; what was measured, and on what, does not."""
        if (names := visible(out)) != visible(reference):
            return f"there are {[str(name) for name in names]}"
        one, other = (self._facts(folder / "bench.json") for folder in (reference, out))
        return "" if one == other else f"{other} in place of {one}"

    def half(self, reference: Path, out: Path) -> str:
        return self.difference(reference, out) if visible(out) else ""

    @staticmethod
    def _facts(path: Path) -> tuple[object, ...]:
        content = json.loads(path.read_bytes())
        (result,) = content["results"]
        ran = result["end_to_end"]
        facts = (result["sha256"], result["golden_agreement"], result["verified"], ran["tiles"])
        return (*facts, ran["damaged"], sorted(content), sorted(result), sorted(ran))


def commands(sources: Sources, threads: int) -> Sequence[Command]:
    """Give all of them."""
    return (
        Train(sources=sources),
        Export(sources=sources),
        Infer(sources=sources, threads=threads),
        Bench(sources=sources, threads=threads),
    )
