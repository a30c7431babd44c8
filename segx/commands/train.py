"""`segx train`: train a model on patches, and write a checkpoint folder."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from runtime.products import OffsetOption

from ..options import OFFSET_HELP

if TYPE_CHECKING:
    from runtime.metrics import Scores
    from trainkit.config import TrainConfig
    from trainkit.fit import Fitted
    from trainkit.fusing import FusionChoice
    from trainkit.score import BranchScores
    from trainkit.survey import Survey

    from ..console import Advance

SAMPLE = Path("segx-sample") / "flair2"
"""Where data are made when none are given."""

SAMPLE_SEED = 1
DEFAULT_CONFIG = "lf-dlm-tiny"
PERCENT = 100.0


def train(
    data: Path | None = typer.Argument(
        None, help="A data set of any layout; without one, synthetic data are made and used."
    ),
    config: str | None = typer.Option(
        None, help=f"Preset, or path of a TOML file.  [default: {DEFAULT_CONFIG}]"
    ),
    out: Path | None = typer.Option(None, help="Folder of the run.  [default: runs/TIME-CONFIG]"),
    steps: int | None = typer.Option(
        None, min=0, help="Steps of each branch in place of the config's; 0 trains nothing."
    ),
    seed: int | None = typer.Option(None, min=0, help="Seed in place of the config's."),
    init: Path | None = typer.Option(
        None, help="Begin with the weights of this checkpoint, of the same architecture."
    ),
    devices: int = typer.Option(1, min=1, help="GPUs, or processes on a CPU, that share a batch."),
    strategy: Literal["auto", "ddp"] = typer.Option("auto", help="How several devices are used."),
    satellite_offset: OffsetOption | None = typer.Option(
        None, help=f"{OFFSET_HELP}  [default: auto]", show_default=False
    ),
    resume: Path | None = typer.Option(None, help="Go on with the run in this folder."),
    json: Path | None = typer.Option(None, help="Write the scores to this file."),
) -> None:
    """Train the branches of a model one by one, choose their fusion, and score all of them.

    Example: segx train flair2/ --config lf-dlm-tiny --out runs/first
    """
    from ..extras import require

    require("train", "segx train")
    from trainkit.plan import TrainOptions
    from trainkit.train import Watch
    from trainkit.train import train as run_training

    from .. import __version__
    from ..console import chosen, done, write_json

    if resume is not None and init is not None:
        raise typer.BadParameter("--init cannot be changed by --resume; leave it out")
    if init is not None and steps == 0:
        raise typer.BadParameter("--init and --steps 0 would train nothing; leave one out")
    if resume is not None and satellite_offset is not None:
        raise typer.BadParameter("--satellite-offset cannot be changed by --resume; leave it out")
    settings, source, folder, length, offset = _setting(data, config, out, steps, seed, resume)
    if init is not None:
        chosen("init", init, "weights only; optimizer and schedule begin anew")
    options = TrainOptions(
        segx_version=__version__,
        steps=length,
        init=init,
        devices=devices,
        strategy=strategy,
        satellite_offset=satellite_offset or offset,
        resume=resume is not None,
    )
    with _Screen(folder) as screen:
        watch = Watch(
            on_data=screen.data,
            on_step=screen.step,
            on_branch=screen.branch,
            on_fusion=screen.fusion,
            on_patch=screen.patch,
            on_scores=screen.scores,
        )
        run_training(settings, source, folder, options, watch)
    if json is not None:
        write_json(json, {"run": folder, "config": settings.name, "results": screen.results})
    done(folder, f"segx export {folder}")


def _setting(
    data: Path | None,
    config: str | None,
    out: Path | None,
    steps: int | None,
    seed: int | None,
    resume: Path | None,
) -> "tuple[TrainConfig, Path, Path, int | None, OffsetOption]":
    """Settle config, data, folder, length and satellite offset, and print them."""
    from dataclasses import replace

    from trainkit.config import load
    from trainkit.run import read_run

    from ..console import chosen

    if resume is not None:
        given = {"DATA": data, "--config": config, "--out": out, "--steps": steps, "--seed": seed}
        for name, value in given.items():
            if value is not None:
                raise typer.BadParameter(f"{name} cannot be changed by --resume; leave it out")
        settings, info = read_run(resume)
        chosen("resume", resume, f"config {settings.name}, started {info.started}")
        return settings, Path(info.data), resume, info.steps, info.satellite_offset
    settings = load(config or DEFAULT_CONFIG)
    if seed is not None:
        settings = replace(settings, seed=seed)
    chosen("config", settings.name, "" if config else "default")
    folder = out or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{settings.name}"
    chosen("run", folder, "" if out else "default")
    return settings, _sample() if data is None else data, folder, steps, "auto"


def _sample() -> Path:
    """Make synthetic data, or take those that were made before."""
    from segx.sample import write_flair2

    from ..console import chosen, progress

    readme = SAMPLE / "README.txt"
    if readme.is_file() and f"seed: {SAMPLE_SEED}\n" in readme.read_text(encoding="utf-8"):
        chosen("data", SAMPLE, "none given: synthetic data made before")
        return SAMPLE
    chosen("data", SAMPLE, "none given: making synthetic data, which say nothing of real land")
    with progress("sample areas") as advance:
        write_flair2(SAMPLE, seed=SAMPLE_SEED, on_area=advance)
    return SAMPLE


@dataclass
class _Screen:
    """Shows how a training goes."""

    folder: Path
    results: "BranchScores | None" = None
    started: float = field(default_factory=time.monotonic)
    _bar: ExitStack = field(default_factory=ExitStack)
    _advance: "dict[str, Advance]" = field(default_factory=dict)

    def __enter__(self) -> "_Screen":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bar.close()
        stopped = kind is not None and issubclass(kind, (KeyboardInterrupt, OSError))
        if stopped and (self.folder / "run.json").is_file():
            from ..console import say

            say(f"stopped; go on with: segx train --resume {self.folder}")

    def _progress(self, name: str, done: int, total: int, note: str = "") -> None:
        """Advance the bar of this name, which takes the place of the one before."""
        if name not in self._advance:
            from ..console import progress

            self._bar.close()
            self._advance = {name: self._bar.enter_context(progress(name))}
        self._advance[name](done, total, note)

    def data(self, found: "Survey") -> None:
        from ..console import chosen, say, table

        splits = ", ".join(f"{count} {split}" for split, count in found.splits.items() if count)
        chosen("data", found.root, f"patches: {splits}; {found.areas} areas")
        say(f"set aside: {found.tune} of the train patches, to choose weights and when to stop")
        if found.dates:
            first, last = found.dates[0], found.dates[-1]
            say(f"Sentinel-2: {len(found.dates)} dates used, {first} to {last}")
        title = f"classes of {found.surveyed} train patches"
        rows = [
            (c.name, PERCENT * float(share))
            for c, share in zip(found.classes, found.shares, strict=True)
        ]
        table(("class", "share %"), rows, title=title)

    def step(self, name: str, done: int, total: int, loss: float) -> None:
        if f"train {name}" not in self._advance:
            from ..console import say

            self._bar.close()
            say(f"{name}: loss {loss:.3f} at step {done} of {total}, {self._elapsed()} after start")
        self._progress(f"train {name}", done, total, f"loss {loss:.3f}")

    def branch(self, name: str, fitted: "Fitted") -> None:
        from ..console import say

        self._bar.close()
        if not fitted.steps:
            say(f"{name}: 0 steps, random weights")
            return
        say(
            f"{name}: {fitted.steps} steps, weights of step {fitted.best_step} kept, "
            f"{fitted.precision}, {self._elapsed()} after start"
        )

    def fusion(self, choice: "FusionChoice") -> None:
        from ..console import say

        rows = ", ".join(
            f"{row.min():.2f}" if row.min() == row.max() else f"{row.min():.2f} to {row.max():.2f}"
            for row in choice.weights
        )
        tried = len(choice.rows)
        why = f"chosen on the patches set aside; {tried} tried" if tried else "given"
        say(f"fusion weights: {rows} ({why})")

    def patch(self, done: int, total: int) -> None:
        self._progress("score", done, total)

    def scores(self, results: "BranchScores") -> None:
        from trainkit.score import remarks

        from ..console import say, table

        self._bar.close()
        self.results = results
        names = list(results.scores)
        head = ["class", "share %", *(_TITLES[name] for name in names)]
        fused = results.fused
        rows: list[list[object]] = [
            [
                c.name + ("" if c.scored else " (not scored)"),
                PERCENT * c.share,
                *(PERCENT * results.scores[name].classes[c.index].iou for name in names),
            ]
            for c in fused.classes
        ]
        rows.append([f"mIoU of {fused.scored_classes} classes", None, *_each(results, "miou")])
        rows.append(["pixel accuracy", None, *_each(results, "accuracy")])
        table(head, rows, title=f"IoU % on {results.patches} {results.split} patches")
        for line in remarks(results):
            say(line)

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self.started:.0f} s"


_TITLES = {"aerial": "aerial-only", "satellite": "satellite-only", "fused": "fused"}


def _each(results: "BranchScores", key: 'Literal["miou", "accuracy"]') -> list[float]:
    def of(scores: "Scores") -> float:
        return PERCENT * (scores.miou if key == "miou" else scores.accuracy)

    return [of(scores) for scores in results.scores.values()]
