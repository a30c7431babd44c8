"""Turn a weights file into a checkpoint folder."""

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from runtime.classes import LandCoverClass
from runtime.errors import CheckpointError, ConfigError
from runtime.jsonfile import plain

from ..checkpoint import Origin, build_empty, save_checkpoint
from ..config import TrainConfig, load
from ..models import LandCoverModel
from ..models.declared import DeclaredModel, call_factory
from ..models.factory import FactoryModel
from ..recipe import OptimConfig, TrainingConfig
from .class_lists import default_list, read_classes
from .match import Match, best_match, check, fitted
from .trial import check_batch
from .weights_file import Weights, read_weights

UNKNOWN_LICENCE = "not known: the weights were imported"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What a weights file does not say of itself."""

    segx_version: str
    """Version written into the checkpoint."""
    classes: str = ""
    """Names and colours of the classes: the name of a known list or a TOML file; empty for those
    of the target."""
    ignore_unexpected: bool = False
    """Whether to go on where the file has weights that the model has no place for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What became of every weight."""

    source: str
    target: str
    """Preset, TOML file or factory."""
    factory: str = ""
    """The factory, where it is one; whoever opens the checkpoint names it again."""
    checkpoint: str
    """The folder."""
    layout: str
    """Whose names the weights had, in a few words."""
    wrapper: str
    """Key of the file under which the weights lie; empty if it holds nothing else."""
    prefix: str
    """What came before all names, and was taken off; empty for nothing."""
    matched: int
    """Weights of the model that the file gave."""
    left_random: tuple[str, ...]
    """Weights of heads for training alone that the file lacks."""
    not_read: tuple[str, ...]
    """Weights of the file that inference has no use for, such as those of auxiliary heads."""
    passed_over: tuple[str, ...]
    """Weights of the file that the model has no place for, as the options allow."""
    classes: tuple[str, ...]
    """Names of the classes."""
    chosen: dict[str, str]
    """Settings that were settled on here, and why."""
    parameters: int


def import_weights(source: Path, target: str, out: Path, options: ImportOptions) -> ImportReport:
    """Write a checkpoint folder from a weights file.

    Args:
        source: A file of weights; see `read_weights`.
        target: Name of a preset, a TOML file of a config, or "module:factory", whose code is run.
        out: Folder to make; it must not be there, or be empty. It has its name once complete.
        options: What the file does not say.

    Raises:
        CheckpointError: If the file is damaged, holds more than weights, or does not fit the model,
            or if the folder is there already.
        ConfigError: If the target is unknown, or the options do not fit it.
    """
    _refuse_full(out)
    sets = read_weights(source)
    model, classes, chosen = _target(target, options)
    match = best_match(model, sets, source)
    weights = sets[match.wrapper]
    check(match, model, weights, source, lax=options.ignore_unexpected)
    _load(model, match, weights)
    if isinstance(model, FactoryModel):
        check_batch(model)
    report = _report(match, model, source, target, out, classes, chosen)
    origin = Origin(
        segx_version=options.segx_version,
        classes=classes,
        steps={},
        toy=False,
        provenance={
            "data": {"name": "not known", "licence": UNKNOWN_LICENCE},
            "imported": plain(replace(report, source=source.name, checkpoint=out.name)),
        },
        metrics={},
    )
    _write(out, model, origin)
    return report


def _refuse_full(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise CheckpointError(
            f"{out} is there already; expected a new or empty folder; name another with --out"
        )


def _target(
    target: str, options: ImportOptions
) -> tuple[LandCoverModel, tuple[LandCoverClass, ...], dict[str, str]]:
    """Build the model that the weights go into, with its classes and what was settled on."""
    # Heads for training alone may stay as they begin.
    torch.manual_seed(0)
    if ":" in target and not Path(target).is_file():
        declared = call_factory(target)
        return _declared(declared, target, options)
    config = load(target)
    if options.classes:
        classes, why = read_classes(options.classes), "given"
    else:
        name = default_list(config.name, config.num_classes)
        classes, why = read_classes(name), f"the list of {config.name}"
    names = options.classes or name
    chosen = {"classes": f"{len(classes)}, {names} ({why})"}
    return build_empty(with_classes(config, len(classes))), classes, chosen


def _declared(
    declared: DeclaredModel, factory: str, options: ImportOptions
) -> tuple[LandCoverModel, tuple[LandCoverClass, ...], dict[str, str]]:
    if options.classes:
        raise ConfigError(
            f"{factory} declares its classes and --classes {options.classes} was given; expected "
            "one of them; leave --classes out"
        )
    model = FactoryModel(declared.config(factory), declared)
    return model, declared.classes, {"classes": f"{len(declared.classes)} (declared by {factory})"}


def with_classes(config: TrainConfig, count: int) -> TrainConfig:
    """Give a config with another number of classes; how it was trained is left out then."""
    if count == config.num_classes:
        return config
    optim = OptimConfig(crop_px=config.training.aerial.crop_px)
    training = TrainingConfig(augment=config.training.augment, aerial=optim)
    return replace(config, num_classes=count, training=training)


@torch.no_grad()
def _load(model: LandCoverModel, match: Match, weights: Weights) -> None:
    state = model.state_dict()
    for key, name in match.found.items():
        given = fitted(weights[name], state[key])
        assert given is not None  # `check` has refused the others
        state[key].copy_(given)
    model.eval()


def _report(
    match: Match,
    model: LandCoverModel,
    source: Path,
    target: str,
    out: Path,
    classes: tuple[LandCoverClass, ...],
    chosen: dict[str, str],
) -> ImportReport:
    return ImportReport(
        source=str(source),
        target=target,
        factory=target if isinstance(model, FactoryModel) else "",
        checkpoint=str(out),
        layout=match.naming.label,
        wrapper=match.wrapper,
        prefix=match.prefix,
        matched=len(match.found),
        left_random=match.left,
        not_read=match.spare,
        passed_over=match.unexpected,
        classes=tuple(item.name for item in classes),
        chosen=chosen,
        parameters=sum(weight.numel() for weight in model.parameters()),
    )


def _write(out: Path, model: LandCoverModel, origin: Origin) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        save_checkpoint(part, model, origin)
        part.chmod(0o755)
        if out.exists():
            out.rmdir()
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
