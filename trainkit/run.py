"""The folder of a run: what it was started with, and which branches are finished.

RUN/config.json              the configuration
RUN/run.json                 data, seed, length and patches set aside; written last of the two
RUN/.lock                    held while a process trains there
RUN/branches/NAME/           logs and weights on the way (see `fit`)
RUN/branches/NAME.safetensors, NAME.json    a finished branch
RUN/branches/NAME/stage_N/                  logs and weights of a stage, where there are stages
RUN/branches/NAME/stage_N.safetensors, stage_N.json
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from runtime.alone import alone
from runtime.dataset import Dataset
from runtime.errors import CheckpointError, ConfigError, DataError
from runtime.files import write_bytes
from runtime.jsonfile import read_json, write_json
from runtime.products import OffsetOption
from runtime.schema import parse, to_dict

from .checkpoint import CHECKPOINT_NAME, CONFIG_NAME, read_config, utc_now
from .config import TrainConfig
from .fit import BEST, LAST, Fitted
from .plan import TrainOptions
from .start import Start, start_of

RUN_NAME = "run.json"
LOCK_NAME = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What a run was started with; going on means to go on with the same."""

    data: str
    """Absolute path of the data set."""
    fingerprint: str
    """Of the data set."""
    steps: int | None
    """Steps of each branch in place of the config's; None keeps those."""
    tune: tuple[str, ...]
    """Patches set aside."""
    started: str
    satellite_offset: OffsetOption = "auto"
    """Radiometric offset of the Sentinel-2 series, or how it is found."""
    init: Start | None = None
    """None where the run began with random or pretrained weights."""


@contextmanager
def held_run(out: Path) -> Iterator[None]:
    """Make a run's folder and keep other processes out, inside the `with` block.

    A folder in which nothing was begun is removed.

    Raises:
        BusyError: If another one trains there.
        ConfigError: If it is a file.
        OSError: If it cannot be made.
    """
    if out.is_file():
        raise ConfigError(f"{out} is a file; expected a new folder; use another name")
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with alone(out / LOCK_NAME, making=out):
            yield
    finally:
        if is_new:
            with suppress(OSError):  # it holds a run
                out.rmdir()


def start_run(
    out: Path, config: TrainConfig, dataset: Dataset, options: TrainOptions, tune: tuple[str, ...]
) -> RunInfo:
    """Make the folder of a new run.

    Raises:
        ConfigError: If the folder already holds something.
        CheckpointError: If the checkpoint to begin with is none.
    """
    if _is_in_use(out):
        remedy = f"`segx train --resume {out}`" if (out / RUN_NAME).is_file() else "another folder"
        raise ConfigError(f"{out} already holds files; expected a new folder; use {remedy}")
    info = RunInfo(
        data=str(dataset.root.resolve()),
        fingerprint=dataset.fingerprint(),
        steps=options.steps,
        tune=tune,
        started=utc_now(),
        satellite_offset=options.satellite_offset,
        init=None if options.init is None else start_of(options.init),
    )
    write_json(out / CONFIG_NAME, to_dict(config))
    write_json(out / RUN_NAME, info)
    return info


def _is_in_use(out: Path) -> bool:
    """Whether a folder holds more than a start leaves that was cut short before its last file."""
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    if names != {CONFIG_NAME}:
        return bool(names)
    try:
        read_config(out)
    except CheckpointError:
        return True
    return False


def read_run(out: Path) -> tuple[TrainConfig, RunInfo]:
    """Read what an unfinished run was started with.

    Raises:
        CheckpointError: If there is no such run, it is damaged, or it is finished.
    """
    file = out / RUN_NAME
    if not file.is_file():
        raise CheckpointError(
            f"{out} has no {RUN_NAME}; expected the folder of an unfinished run; check --resume"
        )
    if (out / CHECKPOINT_NAME).is_file():
        raise CheckpointError(
            f"{out} is finished; there is nothing to resume; use it: `segx export {out}`"
        )
    data = read_json(file, expected="a run of segx; train again", error=CheckpointError)
    return read_config(out), parse(RunInfo, data, where=str(file), error=CheckpointError)


def resume_run(
    out: Path, config: TrainConfig, dataset: Dataset, options: TrainOptions, tune: tuple[str, ...]
) -> RunInfo:
    """Take up a run, which must be told the same things that it was started with.

    Raises:
        CheckpointError: If there is no such run, it is damaged or finished, or the checkpoint that
            it began with is missing or another one.
        ConfigError: If the config or the number of steps differs.
        DataError: If the data set is another one, or has changed.
    """
    started_with, info = read_run(out)
    before = (started_with, info.steps, info.tune, info.satellite_offset)
    if before != (config, options.steps, tune, options.satellite_offset):
        raise ConfigError(
            f"{out} was started with another config, seed, number of steps or satellite offset; "
            "expected the same; resume it without them, or start a new run"
        )
    if dataset.fingerprint() != info.fingerprint:
        raise DataError(
            f"{dataset.root} is not what the run in {out} was started with; expected the same "
            "files; restore them or start a new run"
        )
    if info.init is not None and start_of(Path(info.init.checkpoint)) != info.init:
        raise CheckpointError(
            f"{info.init.checkpoint} holds other weights than when the run in {out} began with it; "
            "expected the same; restore them or start a new run"
        )
    return info


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchFiles:
    """Where one branch of a run lies."""

    out: Path
    name: str

    @property
    def folder(self) -> Path:
        """Logs, and weights on the way."""
        return self.out / "branches" / self.name

    def finish(self, branch: nn.Module, fitted: Fitted) -> None:
        """Save a finished branch or stage and drop the weights on the way."""
        state = {name: value.cpu().contiguous() for name, value in branch.state_dict().items()}
        write_bytes(self._weights, safetensors.torch.save(state))
        write_json(self._record, fitted)
        self._tidy()

    def stages(self, count: int) -> "tuple[BranchFiles, ...]":
        """Give where so many stages of the branch lie; a single one is the branch."""
        if count == 1:
            return (self,)
        names = (f"{self.name}/stage_{number}" for number in range(1, count + 1))
        return tuple(BranchFiles(out=self.out, name=name) for name in names)

    def load(self, branch: nn.Module) -> Fitted | None:
        """Load a finished branch or stage; None if it is not finished.

        Raises:
            CheckpointError: If it cannot be read.
        """
        if not self._record.is_file():
            return None
        try:
            branch.load_state_dict(safetensors.torch.load_file(self._weights))
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f"{self._weights} cannot be read ({str(error).splitlines()[0]}); expected a "
                f"finished branch; delete {self._record} to train it again"
            ) from error
        self._tidy()
        expected = "the record of a finished branch; delete it to train the branch again"
        data = read_json(self._record, expected=expected, error=CheckpointError)
        return parse(Fitted, data, where=str(self._record), error=CheckpointError)

    def _tidy(self) -> None:
        """Drop the weights on the way of a branch or stage that is finished."""
        stages = self.folder.glob("stage_*.safetensors")
        for path in (self.folder / LAST, self.folder / BEST, *stages):
            path.unlink(missing_ok=True)

    @property
    def _weights(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.safetensors")

    @property
    def _record(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.json")
