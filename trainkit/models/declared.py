"""What a user's factory says of the module that it makes, and how the factory is called."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from runtime.classes import LandCoverClass
from runtime.errors import ConfigError, brief
from runtime.satellite import DatePolicy

from ..config import InputConfig, TrainConfig
from ..factory_config import FactoryConfig

# Shape letters: N batch, C aerial channels, H W aerial pixels, B Sentinel-2 bands, h w Sentinel-2
# cells, K classes.

Branch = Callable[..., Tensor | tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredModel:
    """A torch module and what it takes; what a factory returns.

    The parts are functions over the module's weights, such as its methods. Each becomes one graph,
    traced for one size of the tile; none may depend on the number of items in a batch.
    """

    name: str
    """Name of the model, for files and reports."""
    module: nn.Module
    """Holds every weight that the parts use; its state dict is what a weights file holds."""
    classes: tuple[LandCoverClass, ...]
    """Classes K by index."""
    input: InputConfig
    """Bands, their mean and standard deviation (0 to 255), resolution, tile, satellite window."""
    aerial: Branch
    """Takes a normalised image, float32 (N, C, H, W); gives a tensor or a tuple of them."""
    fusion: Branch
    """Takes what `aerial` and then `satellite` give; gives logits, float32 (N, K, H, W)."""
    satellite: Branch | None = None
    """Takes reflectance (N, 12, B, h, w), 0 in months without a date; a mask (N, 12), 1 where there
    is a date; and days since 15 May (N, 12); all float32. Gives a tensor or a tuple of them."""
    dates: DatePolicy = field(default_factory=DatePolicy)
    """Which dates of a series are used."""

    def config(self, factory: str) -> TrainConfig:
        """Give the config of its checkpoint.

        Args:
            factory: Where the code is, as "module:function".
        """
        return TrainConfig(
            name=self.name,
            num_classes=len(self.classes),
            input=self.input,
            dates=self.dates,
            joint=FactoryConfig(factory=factory, satellite=self.satellite is not None),
        )


def call_factory(factory: str) -> DeclaredModel:
    """Import a user's module, from the working directory or the environment, and call its function.

    This runs the user's code: call it for a name that the user gave, never for one out of a file.

    Raises:
        ConfigError: If it cannot be imported or called, or gives something else.
    """
    try:
        FactoryConfig(factory=factory)
    except ValueError as error:
        raise ConfigError(f"{error}; correct it") from error
    module_name, _, function_name = factory.partition(":")
    try:
        with _from_here():
            made: object = getattr(importlib.import_module(module_name), function_name)()
    except Exception as error:  # the user's code can raise anything
        raise ConfigError(
            f"{factory} failed with {type(error).__name__} ({brief(error)}); expected a function "
            "without arguments in a module of this folder or environment; correct it, or its name"
        ) from error
    if not isinstance(made, DeclaredModel):
        raise ConfigError(
            f"{factory} gave {type(made).__name__}; expected a trainkit.importing.DeclaredModel; "
            "return one"
        )
    return made


@contextlib.contextmanager
def _from_here() -> Iterator[None]:
    """Find modules of the working directory first."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
