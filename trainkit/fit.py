"""Train one branch with Lightning, in one process or several, from the start or from where it was.

FOLDER/last.ckpt    all that is needed to go on; written at every check
FOLDER/best.ckpt    the check with the highest mIoU on the patches set aside
FOLDER/version_N/   logs of the Nth attempt, as CSV and for TensorBoard
"""

import inspect
import io
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from runtime.errors import CheckpointError, ConfigError
from runtime.files import write_bytes

from .branch import TUNE_LOSS, TUNE_MIOU, BranchPlan, BranchTraining
from .processes import OnStep, run_together
from .quiet import ctrl_c_kept, quiet, writer_quiet

LAST, BEST = "last.ckpt", "best.ckpt"

LOSSES_PER_RUN = 200
"""How often the loss is reported and logged; each time waits for the device."""

Strategy = Literal["auto", "ddp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """On what a branch is trained."""

    devices: int = 1
    """Processes: GPUs where there are any, else shares of the CPU."""
    strategy: Strategy = "auto"
    amp: Literal["off", "bf16"] = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What came of a training."""

    steps: int
    """Steps of the optimizer that were taken."""
    best_step: int
    """Step whose weights were kept."""
    precision: str
    """Number format of the matrix products, in Lightning's words."""


def joined(stages: Sequence[Fitted]) -> Fitted:
    """Sum up stages that followed one another; the weights are those of the last one."""
    *before, last = stages
    begun = sum(stage.steps for stage in before)
    return replace(last, steps=begun + last.steps, best_step=begun + last.best_step)


def fit(
    training: BranchTraining,
    folder: Path,
    options: FitOptions,
    on_step: OnStep = lambda done, total, loss: None,
) -> Fitted:
    """Train a branch; go on from the last check where the folder holds one.

    Args:
        training: The branch; it holds the best weights afterwards.
        folder: Where logs and weights on the way are kept.
        options: On what to train.
        on_step: Called during training.

    Raises:
        ConfigError: If the batch cannot be shared among the devices, or they are not there.
        CheckpointError: If the folder's weights cannot be read.
    """
    precision = choose_precision(options.amp)
    if training.plan.steps == 0:
        return Fitted(steps=0, best_step=0, precision=precision)
    check_devices(training, options)
    folder.mkdir(parents=True, exist_ok=True)
    read_state(folder / LAST)
    job = _Job(training=training, folder=folder, options=options, precision=precision)
    if options.devices == 1 and options.strategy == "auto":
        job(on_step)
    else:
        run_together(job, options.devices, on_step)
    last, best = read_state(folder / LAST), read_state(folder / BEST)
    if last is None or best is None:
        raise CheckpointError(f"{folder} holds no {LAST} and {BEST} after training; train again")
    _take_best(training, best)
    return Fitted(steps=last["global_step"], best_step=best["global_step"], precision=precision)


def choose_precision(amp: Literal["off", "bf16"]) -> str:
    """Choose the number format: 16 bits only where the device computes in them."""
    if amp == "off":
        return "32-true"
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return "bf16-mixed" if _cpu_has_bf16() else "32-true"


def _cpu_has_bf16() -> bool:
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    names = ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16")
    return not capabilities or any(capabilities.get(name) for name in names)


def check_devices(training: BranchTraining, options: FitOptions) -> None:
    """Refuse devices that are not there or cannot share the batch."""
    devices, batch = options.devices, training.plan.optim.batch
    present = torch.cuda.device_count() if torch.cuda.is_available() else devices
    if devices < 1 or devices > present:
        raise ConfigError(f"devices is {devices}; expected 1 to {present}; lower --devices")
    if batch % devices:
        raise ConfigError(
            f"the {training.plan.role} batch of {batch} cannot be shared among {devices} devices; "
            "expected a multiple of them; change --devices or batch"
        )
    if len(training.tune) < devices:
        raise ConfigError(
            f"{len(training.tune)} patch(es) are set aside for {devices} devices; "
            "expected one per device; lower --devices or raise training.tune_share"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A training as each process is given it."""

    training: BranchTraining
    folder: Path
    options: FitOptions
    precision: str

    def __call__(self, on_step: OnStep) -> None:
        """Train in this process."""
        training = self.training
        if training.plan.role != "satellite":
            training.branch.to(memory_format=torch.channels_last)
        last = self.folder / LAST
        with quiet(), writer_quiet(), ctrl_c_kept():
            pl.seed_everything(training.plan.seed, workers=True, verbose=False)
            trainer = pl.Trainer(
                **self._devices(),
                precision=self.precision,  # type: ignore[arg-type]
                logger=self._loggers(),
                callbacks=self._callbacks(on_step),
                max_epochs=training.plan.checks,
                reload_dataloaders_every_n_epochs=1,
                num_sanity_val_steps=0,
                log_every_n_steps=_every(training.plan),
                accumulate_grad_batches=training.plan.optim.accumulate,
                gradient_clip_val=training.plan.optim.gradient_clip or None,
                use_distributed_sampler=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=self.folder,
            )
            trainer.fit(training, ckpt_path=last if last.is_file() else None, weights_only=True)

    def _devices(self) -> dict[str, Any]:
        accelerator = "gpu" if torch.cuda.is_available() else "cpu"
        several = self.options.devices > 1 or self.options.strategy == "ddp"
        backend = "nccl" if accelerator == "gpu" else "gloo"
        return {
            "accelerator": accelerator,
            "devices": self.options.devices,
            "strategy": _ddp(backend) if several else "auto",
            "sync_batchnorm": several and accelerator == "gpu",
            "plugins": [LightningEnvironment(), _WholeFiles()],
        }

    def _loggers(self) -> list[Any]:
        attempt = len(list(self.folder.glob("version_*")))
        place: dict[str, Any] = {"save_dir": self.folder, "name": "", "version": attempt}
        return [CSVLogger(**place), TensorBoardLogger(**place)]

    def _callbacks(self, on_step: OnStep) -> list[Callback]:
        patience = self.training.plan.optim.patience
        stop = EarlyStopping(
            TUNE_LOSS, patience=patience, mode="min", check_on_train_epoch_end=True
        )
        place: dict[str, Any] = {
            "dirpath": self.folder,
            "save_on_train_epoch_end": True,
            "enable_version_counter": False,
        }
        best = ModelCheckpoint(filename=Path(BEST).stem, monitor=TUNE_MIOU, mode="max", **place)
        # After `best`, so that what it knows is in the file, too.
        last = ModelCheckpoint(filename=Path(LAST).stem, **place)
        return [_Progress(on_step), *([stop] if patience else []), best, last]


def _ddp(backend: str) -> DDPStrategy:
    # Buffers are brought in line before each check; doing so in every forward pass would wait
    # forever where one process has a patch more to check than another.
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {name: False}
    return DDPStrategy(process_group_backend=backend, **options)


def _every(plan: BranchPlan) -> int:
    """Steps between two losses that are looked at; every stretch has one."""
    return max(1, min(plan.steps // LOSSES_PER_RUN, plan.steps // plan.checks))


class _WholeFiles(TorchCheckpointIO):
    """Saves beside a file and renames.

    Lightning copies from the folder of temporary files where that is on another disk, and a process
    may be killed meanwhile.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_bytes(Path(path), content.getvalue())

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: Any = None
    ) -> dict[str, Any]:
        state = read_state(Path(path))
        if state is None:
            raise CheckpointError(f"{path} is gone; expected the state of a training; restore it")
        return state


class _Progress(Callback):
    """Tells how far training is, from the first process."""

    def __init__(self, on_step: OnStep) -> None:
        self.on_step = on_step

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        plan, done = pl_module.plan, trainer.global_step
        if (batch_idx + 1) % plan.optim.accumulate or not trainer.is_global_zero:
            return
        if done == 1 or done % _every(plan) == 0 or done == plan.steps:
            self.on_step(done, plan.steps, float(outputs["loss"]))


def read_state(path: Path) -> dict[str, Any] | None:
    """Read a file that Lightning saved; None if there is none.

    Raises:
        CheckpointError: If it cannot be read, or holds more than tensors and numbers.
    """
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); expected the state of a "
            f"training; delete {path.parent} to begin this branch again"
        ) from error
    return state


def _take_best(training: BranchTraining, best: dict[str, Any]) -> None:
    prefix = "branch."
    weights = best.get("average") or {
        name[len(prefix) :]: value
        for name, value in best["state_dict"].items()
        if name.startswith(prefix)
    }
    training.branch.load_state_dict(weights)
    # Sums depend on the order in memory: a branch is the same just trained and read from a file.
    training.branch.to(memory_format=torch.contiguous_format)
