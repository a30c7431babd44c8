"""One run of `protocol_flair2`: open a contender, predict all patches, write what it took.

`python -m segx.protocol_worker TASK.json` prints the number of patches done after each, and writes
`outcome.json` into the folder that the task names.
"""

import json
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from runtime.backends import BackendOption
from runtime.datasets.flair import CLASSES, FlairTree
from runtime.errors import DataError, SegxError
from runtime.flair_protocol import Stage, choose_patches, run_protocol
from runtime.jsonfile import write_json
from runtime.schema import parse

from . import __version__

if TYPE_CHECKING:
    from runtime.card import ModelCard
    from runtime.model import OpenModel
    from trainkit.eager import EagerModel

Kind = Literal["preset", "checkpoint", "bundle"]
"""A preset has random weights; it and a checkpoint run in PyTorch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a run is to do."""

    kind: Kind = "preset"
    source: str = ""
    """Name of a preset, or absolute path."""
    data: str = ""
    """FLAIR #2 tree, absolute."""
    patches: int | None = None
    threads: int = 1
    out: str = ""
    """Folder for the outcome, absolute."""
    backend: BackendOption = "auto"
    """Of a bundle, like all that follows."""
    self_test: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run."""

    error: str = ""
    """Why it failed; empty if it did not."""
    error_kind: str = ""
    """Class of the error, in `runtime.errors`."""
    config: str = ""
    backend: str = ""
    device: str = ""
    precision: str = ""
    patches: int = 0
    wall_s: float = 0.0
    stages_s: dict[Stage, float] = field(default_factory=dict)
    peak_rss_mib: float = 0.0


class _Opened(NamedTuple):
    card: "ModelCard"
    model: "OpenModel | EagerModel"
    config: str
    backend: str
    device: str


def main(path: str) -> None:
    """Do the task of a file."""
    text = Path(path).read_text(encoding="utf-8")
    task = parse(Task, json.loads(text), where=path, error=DataError)
    try:
        outcome = _run(task)
    except SegxError as error:
        outcome = Outcome(error=str(error), error_kind=type(error).__name__)
    write_json(Path(task.out) / "outcome.json", outcome)


def _run(task: Task) -> Outcome:
    tree = FlairTree(Path(task.data))
    ids = choose_patches(tree, task.patches)
    opened = _open_bundle(task) if task.kind == "bundle" else _open_pytorch(task)
    with closing(opened.model), tempfile.TemporaryDirectory(dir=task.out) as predictions:
        times = run_protocol(
            tree,
            ids,
            opened.card,
            opened.model,
            Path(predictions),
            on_patch=lambda done, total: print(done, flush=True),
        )
        precision = opened.model.precision
    return Outcome(
        config=opened.config,
        backend=opened.backend,
        device=opened.device,
        precision=precision,
        patches=times.patches,
        wall_s=times.wall_s,
        stages_s=times.stages_s,
        peak_rss_mib=times.peak_rss_mib,
    )


def _open_bundle(task: Task) -> _Opened:
    from runtime.bundle import open_bundle
    from runtime.ladder import RunRequest, open_best

    bundle = open_bundle(Path(task.source))
    request = RunRequest(
        backend=task.backend,
        threads=task.threads,
        self_test=task.self_test,
        segx_version=__version__,
    )
    opened = open_best(bundle, request)
    config, choice = bundle.manifest.model.config, opened.choice
    return _Opened(bundle.card, opened.model, config, choice.name, choice.device)


def _open_pytorch(task: Task) -> _Opened:
    import torch

    from trainkit.eager import open_random, open_trained

    torch.set_num_threads(task.threads)
    if task.kind == "preset":
        card, model = open_random(task.source, CLASSES)
    else:
        card, model = open_trained(Path(task.source))
    device = "CPU" if model.device.type == "cpu" else torch.cuda.get_device_name(model.device)
    return _Opened(card, model, card.name, "pytorch", device)


if __name__ == "__main__":
    main(*sys.argv[1:])
