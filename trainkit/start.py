"""Begin a training with the weights of a checkpoint in place of random or pretrained ones."""

from dataclasses import dataclass
from pathlib import Path

from runtime.errors import CheckpointError

from .checkpoint import WEIGHTS_NAME, difference, load_checkpoint, read_config, read_info, shapes_of
from .config import require_trainable
from .models import LandCoverModel

MUST_BE_EQUAL = ("aerial_bands", "aerial_mean", "aerial_std", "satellite_bands")
"""Keys of `[input]` that say what a weight of the first layer is multiplied with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A checkpoint whose weights a run begins with."""

    checkpoint: str
    """Absolute path."""
    sha256: str
    """Of the weights."""


def start_of(checkpoint: Path) -> Start:
    """Say which weights a checkpoint holds.

    Raises:
        CheckpointError: If it is none.
        ConfigError: If it is of a user's own module.
    """
    weights = read_info(checkpoint).files.get(WEIGHTS_NAME, "")
    require_trainable(read_config(checkpoint))
    return Start(checkpoint=str(checkpoint.resolve()), sha256=weights)


def load_start(model: LandCoverModel, start: Start) -> None:
    """Give a model the weights that its training begins with.

    Raises:
        CheckpointError: If the checkpoint cannot be opened, or is of another architecture, of
            other bands or of other statistics of the bands.
    """
    begun, config = load_checkpoint(Path(start.checkpoint)), model.config
    for name in MUST_BE_EQUAL:
        found, wanted = getattr(begun.config.input, name), getattr(config.input, name)
        if found != wanted:
            raise CheckpointError(
                f"{begun.path} has {name} {list(found)}; expected those of config {config.name}, "
                f"{list(wanted)}; begin with another checkpoint, or change the config"
            )
    different = difference(shapes_of(model), shapes_of(begun.model))
    if different is not None:
        name, has, needs = different
        raise CheckpointError(
            f"{begun.path} (config {begun.config.name}) holds {name} of shape {has}; expected the "
            f"architecture of config {config.name}, which needs {needs}; begin with another "
            "checkpoint, or change the config"
        )
    model.load_state_dict(begun.model.state_dict())
