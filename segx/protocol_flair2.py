"""FLAIR #2's inference-time rule: every contender's time over that of the baseline, U-T&T.

The same patches go through every contender on the same machine, one patch per call, from reading to
the written prediction (`runtime.flair_protocol`). Each run is a process of its own, so that threads
and memory do not mix, and rounds take turns, so that a machine that slows down slows all.

Reference: the rule is that of the FLAIR #2 challenge (Garioud et al. 2023, arXiv 2310.13336); the
ratios of others are those of Dimitrovski et al. 2024, arXiv 2410.00469, on an A100.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from runtime import errors
from runtime.child import run_child
from runtime.computer import describe_computer, usable_threads
from runtime.datasets.flair import FlairTree
from runtime.errors import BackendError, ConfigError, DataError, SegxError
from runtime.flair_protocol import Stage, choose_patches, read_once
from runtime.jsonfile import write_json
from runtime.schema import parse

from .extras import require
from .protocol_worker import Kind, Outcome, Task

BASELINE = "u-t-and-t"
"""Preset that runs in PyTorch and is 1.00."""

LIMIT = 2.5
"""Largest ratio that the challenge allows."""

PAPER: dict[str, float] = {
    "u-t-and-t": 1.0,
    "u-tae": 0.58,
    "unetformer": 1.08,
    "lf-dlm": 1.50,
    "lf-dlm-x2": 2.38,
}
"""Ratios that the paper gives, by config; all in PyTorch, on an A100."""

USUAL = tuple(name for name in PAPER if name != BASELINE)
"""Who runs beside the baseline where nobody is named."""

INSIDE = (
    "read: the aerial image; preprocess: the window of the area's SEN2 arrays, cloud filter, "
    "monthly means; model: one patch per call, PyTorch to the class map, bundles also to its "
    "confidence; write: PRED_*.tif (uint8, LZW). Stages work side by side; a series is opened once "
    "for all patches of its area, by all alike. Outside: opening data and model, and one patch "
    "beforehand"
)

LONGEST_S = 24 * 3600.0
"""Seconds after which a run is given up."""

OnPatch = Callable[[int, int, str], None]
"""Called with the patches done, the patches in all, and who is running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """Who takes part."""

    name: str
    kind: Kind
    source: str
    """Name of a preset, or absolute path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for everybody."""

    data: Path
    """FLAIR #2 tree."""
    patches: int | None = None
    """How many patches, the first ones by name; None for all."""
    rounds: int = 1
    threads: int | None = None
    """Processor threads of each; all that may be used if None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one contender did; medians over the rounds."""

    name: str
    kind: Kind
    source: str
    config: str
    """Configuration that the model was made with."""
    backend: str
    device: str
    precision: str
    """What was executed."""
    ms_per_patch: float
    patches_per_s: float
    ratio: float
    """Time over that of the baseline in the same round."""
    ratios: tuple[float, ...]
    """Of every round."""
    within_limit: bool
    paper_ratio: float | None
    """As published for this configuration, in PyTorch and on an A100."""
    stages_ms: dict[Stage, float]
    """Busy milliseconds per patch; stages work side by side."""
    peak_rss_mib: float
    """Largest of the rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """What came of it."""

    protocol: Literal["flair2"] = "flair2"
    data: str
    patches: int
    areas: int
    batch: int = 1
    rounds: int
    threads: int
    baseline: str
    limit: float = LIMIT
    computer: dict[str, str]
    results: tuple[Standing, ...]
    """The baseline first."""
    inside: str = INSIDE


def find_contender(text: str) -> Contender:
    """Tell a preset, a checkpoint and a bundle apart.

    Raises:
        ConfigError: If it is none of them.
    """
    from runtime.manifest import MANIFEST_NAME
    from trainkit.config import presets

    path = Path(text)
    if text in presets():
        return Contender(name=text, kind="preset", source=text)
    source = str(path.resolve())
    if (path / MANIFEST_NAME).is_file():
        return Contender(name=path.resolve().stem, kind="bundle", source=source)
    if path.is_dir():
        return Contender(name=path.resolve().name, kind="checkpoint", source=source)
    if path.suffix == ".toml" and path.is_file():
        return Contender(name=path.stem, kind="preset", source=source)
    raise ConfigError(
        f"--models names {text}; expected a preset ({', '.join(presets())}), a checkpoint folder "
        "or a bundle; check the name"
    )


def compete(
    models: Sequence[str], rules: Rules, task: Task, on_patch: OnPatch = lambda *_: None
) -> Contest:
    """Run the baseline and everybody who is named, in turns.

    Args:
        models: Presets, checkpoints and bundles; the baseline need not be among them.
        rules: Data, patches, rounds, threads.
        task: How bundles are to be opened; the rest of it is filled in.
        on_patch: Called after every patch.

    Raises:
        ConfigError: If a contender is not known.
        DataError: If the data is no FLAIR #2 tree, or damaged.
        BackendError: If PyTorch is missing, or a process ends without a result.
        SegxError: If a contender fails, with its name.
    """
    require("train", "the baseline, which PyTorch runs,")
    baseline = Contender(name=BASELINE, kind="preset", source=BASELINE)
    others = [find_contender(name) for name in dict.fromkeys(models) if name != BASELINE]
    taking_part = [baseline, *others]
    tree = FlairTree(rules.data)
    ids = choose_patches(tree, rules.patches)
    read_once(tree, ids)
    threads = rules.threads or usable_threads()
    task = replace(task, data=str(rules.data.resolve()), patches=rules.patches, threads=threads)
    total = rules.rounds * len(taking_part) * len(ids)
    rounds = list(_rounds(taking_part, rules.rounds, task, total, on_patch))
    return Contest(
        data=str(rules.data),
        patches=len(ids),
        areas=len({tree.patches[patch_id].area for patch_id in ids}),
        rounds=rules.rounds,
        threads=threads,
        baseline=BASELINE,
        computer=describe_computer(),
        results=tuple(_standing(who, rounds) for who in taking_part),
    )


def _rounds(
    taking_part: Sequence[Contender], rounds: int, task: Task, total: int, on_patch: OnPatch
) -> Iterator[dict[str, Outcome]]:
    """Let everybody run once per round; give the outcomes of each round by source."""
    done = 0
    for number in range(rounds):
        outcomes: dict[str, Outcome] = {}
        # There and back, so that no one always follows the same neighbour.
        for who in taking_part if number % 2 == 0 else reversed(taking_part):
            outcomes[who.source] = _run(who, task, partial(_shifted, on_patch, done, total, who))
            done += outcomes[who.source].patches
        yield outcomes


def _shifted(on_patch: OnPatch, before: int, total: int, who: Contender, count: int) -> None:
    on_patch(before + count, total, who.name)


def _run(who: Contender, task: Task, on_patch: Callable[[int], None]) -> Outcome:
    """Run one contender in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="segx-flair2-") as place:
        folder = Path(place)
        own = replace(task, kind=who.kind, source=who.source, out=place)
        write_json(folder / "task.json", own)
        ended = run_child(
            [sys.executable, "-m", "segx.protocol_worker", str(folder / "task.json")],
            time_limit_s=LONGEST_S,
            folder=folder,
            on_line=lambda line: on_patch(int(line)) if line.isdigit() else None,
        )
        if ended.reason:
            raise BackendError(
                f"{who.name} {ended.reason}; expected a prediction of every patch; run it alone "
                "with --models, or leave it out"
            )
        text = (folder / "outcome.json").read_text(encoding="utf-8")
    outcome = parse(Outcome, json.loads(text), where="the outcome", error=DataError)
    if outcome.error:
        kind: type[SegxError] = getattr(errors, outcome.error_kind)
        raise kind(f"{who.name}: {outcome.error}")
    return outcome


def _standing(who: Contender, rounds: Sequence[dict[str, Outcome]]) -> Standing:
    own = [outcomes[who.source] for outcomes in rounds]
    ratios = tuple(outcomes[who.source].wall_s / outcomes[BASELINE].wall_s for outcomes in rounds)
    ms = statistics.median(1e3 * item.wall_s / item.patches for item in own)
    ratio = statistics.median(ratios)
    first = own[0]
    return Standing(
        name=who.name,
        kind=who.kind,
        source=who.source,
        config=first.config,
        backend=first.backend,
        device=first.device,
        precision=first.precision,
        ms_per_patch=ms,
        patches_per_s=1e3 / ms,
        ratio=ratio,
        ratios=ratios,
        within_limit=ratio <= LIMIT,
        paper_ratio=PAPER.get(first.config),
        stages_ms={
            stage: statistics.median(1e3 * item.stages_s[stage] / item.patches for item in own)
            for stage in first.stages_s
        },
        peak_rss_mib=max(item.peak_rss_mib for item in own),
    )
