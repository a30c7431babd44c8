"""Checkpoints: folders that hold a trained model and where it comes from.

    RUN/model.safetensors    weights of all branches and of the fusion
    RUN/config.json          the configuration
    RUN/checkpoint.json      classes, provenance, scores, hashes of the other two; written last

Nothing in a checkpoint is ever unpickled: a pickle can run code when it is opened.
"""

import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError

from runtime.bundle import folders_with, sha256_of
from runtime.card import ModelCard
from runtime.classes import LandCoverClass
from runtime.errors import CheckpointError, brief
from runtime.files import write_bytes
from runtime.jsonfile import read_json, write_json
from runtime.manifest import require_plain
from runtime.schema import parse, to_dict

from .architectures import without_pretrained
from .config import TrainConfig
from .inputs import aerial_spec, satellite_spec
from .models import LandCoverModel, LateFusionModel, build
from .models.factory import build_named

CHECKPOINT_NAME, WEIGHTS_NAME, CONFIG_NAME = "checkpoint.json", "model.safetensors", "config.json"

FORMAT_MAJOR = 1
FORMAT_VERSION = f"{FORMAT_MAJOR}.0"

PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".bin", ".pkl"})
PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
"""First bytes of PyTorch's archives and of bare pickles."""

HEADER_AT = 8
"""Where the header of safetensors begins, with a brace; before it stands its length, which may
happen to begin like a pickle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointInfo:
    """What `checkpoint.json` says."""

    format_version: str
    created: str
    """UTC, ISO 8601."""
    segx_version: str
    config: str
    """Name of the configuration."""
    classes: tuple[LandCoverClass, ...]
    branches: tuple[str, ...]
    fusion_weights: tuple[tuple[float, ...], ...]
    """Weight of each branch for each class, in the order of `branches`; empty for a model that is
    trained as one."""
    steps: dict[str, int]
    """Steps of the optimizer by unit of training; 0: the weights are random."""
    parameters: int
    files: dict[str, str]
    """sha256 of the other files, by name."""
    toy: bool
    """Trained on generated imagery only."""
    provenance: dict[str, object]
    """Data, seed, versions and options of the training."""
    metrics: dict[str, object]
    """Scores of the model, and of branches that have a map of their own."""

    def __post_init__(self) -> None:
        """Refuse a name that leads elsewhere: bundles are called by it."""
        require_plain("config", self.config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """An opened checkpoint."""

    path: Path
    model: LandCoverModel
    """In evaluation mode, on the CPU."""
    config: TrainConfig
    info: CheckpointInfo

    @property
    def classes(self) -> tuple[LandCoverClass, ...]:
        """Classes by index."""
        return self.info.classes

    @property
    def card(self) -> ModelCard:
        """What inference and evaluation must know of the model."""
        return ModelCard(
            name=self.info.config,
            sha256=self.info.files[WEIGHTS_NAME],
            verified=False,
            toy=self.info.toy,
            aerial=aerial_spec(self.config),
            satellite=satellite_spec(self.config),
            classes=self.classes,
            single_branch=is_single_branch(self.info, self.config),
        )


def is_single_branch(info: CheckpointInfo, config: TrainConfig) -> bool:
    """Whether the aerial side gives its own map when zeros stand for what the satellite side gives.

    A late fusion adds weighted logits, and a weight that is the same for all classes does not
    change which one wins. A joint model has learned it where it was trained with modality dropout.
    """
    if config.joint is not None:
        return config.training.augment.modality_dropout > 0.0
    weights = [
        set(row)
        for branch, row in zip(info.branches, info.fusion_weights, strict=True)
        if branch != "satellite"
    ]
    fused = len(weights) == len(info.branches) - 1
    return fused and bool(weights) and all(len(row) == 1 and min(row) > 0 for row in weights)


def utc_now() -> str:
    """Give the time as checkpoints hold it."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a model comes from."""

    segx_version: str
    classes: tuple[LandCoverClass, ...]
    steps: dict[str, int]
    toy: bool
    provenance: dict[str, object]
    metrics: dict[str, object]


def save_checkpoint(folder: Path, model: LandCoverModel, origin: Origin) -> Path:
    """Write a model into a folder, which is a checkpoint once this is done.

    Args:
        folder: The run's folder; other files in it stay.
        model: The model, trained and fused.
        origin: Where it comes from.

    Returns:
        `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CHECKPOINT_NAME).unlink(missing_ok=True)
    config = model.config
    state = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    write_bytes(folder / WEIGHTS_NAME, safetensors.torch.save(state, metadata={"format": "pt"}))
    write_json(folder / CONFIG_NAME, to_dict(config))
    info = CheckpointInfo(
        format_version=FORMAT_VERSION,
        created=utc_now(),
        config=config.name,
        branches=model.branch_names,
        fusion_weights=_fusion_weights(model),
        parameters=sum(weight.numel() for weight in model.parameters()),
        files={name: sha256_of(folder / name) for name in (WEIGHTS_NAME, CONFIG_NAME)},
        segx_version=origin.segx_version,
        classes=origin.classes,
        steps=origin.steps,
        toy=origin.toy,
        provenance=origin.provenance,
        metrics=origin.metrics,
    )
    write_json(folder / CHECKPOINT_NAME, info)
    return folder


def _fusion_weights(model: LandCoverModel) -> tuple[tuple[float, ...], ...]:
    if not isinstance(model, LateFusionModel):
        return ()
    return tuple(tuple(round(float(w), 6) for w in row) for row in model.fusion.weights.cpu())


def load_checkpoint(path: Path, *, factory: str = "") -> Checkpoint:
    """Open a checkpoint.

    Args:
        path: Its folder.
        factory: The code that makes its module, which the user named; empty for none.

    Raises:
        CheckpointError: If it is unfinished, changed, damaged, of another kind, or a pickle.
        ConfigError: If it takes a user's code and none was named, or that fails.
    """
    _refuse_pickle(path)
    info = read_info(path)
    for name in (WEIGHTS_NAME, CONFIG_NAME):
        _check_file(path, name, info)
    config, weights = read_config(path), path / WEIGHTS_NAME
    if factory:
        model: LandCoverModel = build_named(config, factory)
        _check_weights(model, weights)
    else:
        _check_config(config, path)
        model = build_empty(config)
    with _reading(weights):
        state = safetensors.torch.load_file(weights)
    model.load_state_dict(state)
    return Checkpoint(path=path, model=model.eval(), config=config, info=info)


def build_empty(config: TrainConfig) -> LandCoverModel:
    """Build a config's model with random weights, without fetching pretrained ones."""
    aerial = tuple(without_pretrained(branch) for branch in config.aerial)
    joint = config.joint and without_pretrained(config.joint)
    return build(replace(config, aerial=aerial, joint=joint))


def read_info(path: Path) -> CheckpointInfo:
    """Read what a checkpoint says of itself, without looking at its weights.

    Raises:
        CheckpointError: If it is no checkpoint, or one that cannot be read here.
    """
    file = path / CHECKPOINT_NAME
    if not file.is_file():
        raise CheckpointError(
            f"{path} has no {CHECKPOINT_NAME}; expected the folder of a finished training; make "
            f"one with `segx train`, or finish this one with `segx train --resume {path}`"
        )
    data = _read_json(file)
    version = data.get("format_version")
    if not isinstance(version, str) or version.split(".")[0] != str(FORMAT_MAJOR):
        raise CheckpointError(
            f"{file} has format_version {version!r}; this segx reads {FORMAT_MAJOR}.x; "
            "use the version of segx that wrote it"
        )
    return parse(CheckpointInfo, data, where=str(file), unknown="ignore", error=CheckpointError)


def read_config(path: Path) -> TrainConfig:
    """Read the configuration of a run's folder.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    file = path / CONFIG_NAME
    return parse(TrainConfig, _read_json(file), where=str(file), error=CheckpointError)


def newest_checkpoint(root: Path) -> Path | None:
    """Find the checkpoint below a folder that was written last, by its own account."""
    newest: tuple[str, str] | None = None
    for folder in folders_with(root, CHECKPOINT_NAME):
        try:
            created = read_info(folder).created
        except CheckpointError:
            continue
        newest = max(newest or ("", ""), (created, str(folder)))
    return Path(newest[1]) if newest else None


def _read_json(file: Path) -> Mapping[str, Any]:
    expected = "a file that training wrote; restore it or train again"
    data = read_json(file, expected=expected, error=CheckpointError)
    if not isinstance(data, dict):
        raise CheckpointError(f"{file} holds no table; expected a file of a checkpoint; restore it")
    return data


def _refuse_pickle(path: Path) -> None:
    weights = path if path.is_file() else path / WEIGHTS_NAME
    is_pickle = path.suffix in PICKLE_SUFFIXES or _starts_like_pickle(weights)
    if path.is_file() or (weights.is_file() and is_pickle):
        kind = "a pickle, which can run code when it is opened" if is_pickle else "a file"
        raise CheckpointError(
            f"{weights} is {kind}; expected a checkpoint folder with {WEIGHTS_NAME}; "
            "give the folder that `segx train` wrote"
        )


def _starts_like_pickle(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        start = stream.read(HEADER_AT + 1)
    return start.startswith(PICKLE_STARTS) and start[HEADER_AT:] != b"{"


def _check_file(folder: Path, name: str, info: CheckpointInfo) -> None:
    file = folder / name
    if name not in info.files or not file.is_file():
        where = file if name in info.files else f"the sha256 of {name} in {folder}"
        raise CheckpointError(f"{where} is missing; expected a whole checkpoint; copy it again")
    found = sha256_of(file)
    if found != info.files[name]:
        raise CheckpointError(
            f"{file} has sha256 {found[:12]}...; expected {info.files[name][:12]}... as "
            f"{CHECKPOINT_NAME} says; the file was changed or damaged, copy it again"
        )


def _check_config(config: TrainConfig, path: Path) -> None:
    """Refuse a config that the weights do not belong to, before memory is taken for what it says.

    Raises:
        CheckpointError: If they do not, or the config is of no model.
    """
    try:
        with torch.device("meta"):
            model = build_empty(config)
    except (RuntimeError, OverflowError, MemoryError) as error:
        raise CheckpointError(
            f"{path / CONFIG_NAME} is of no model that can be built ({brief(error)}); expected a "
            "file that training wrote; restore it or train again"
        ) from error
    _check_weights(model, path / WEIGHTS_NAME)


def _check_weights(model: LandCoverModel, file: Path) -> None:
    with _reading(file), safetensors.safe_open(file, "pt") as opened:
        names = opened.keys()
        found = {name: tuple(opened.get_slice(name).get_shape()) for name in names}
    different = difference(shapes_of(model), found)
    if different is not None:
        name, has, needs = different
        raise CheckpointError(
            f"{file} holds {name} of shape {has}; its config needs {needs}; weights and config do "
            "not belong together; train again"
        )


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{file} cannot be read as safetensors ({brief(error)}); expected a whole file of "
            "tensors; restore it"
        ) from error


Shape = tuple[int, ...] | None


def shapes_of(model: LandCoverModel) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's weights, by name."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def difference(
    wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> tuple[str, Shape, Shape] | None:
    """Find a weight that two models do not both have in one shape.

    Args:
        wanted: Shapes that one needs; see `shapes_of`.
        found: Shapes of what is there.

    Returns:
        Its name, the shape found and the one wanted, None where it is missing; None if there is no
        such weight.
    """
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            return name, found.get(name), wanted.get(name)
    return None
