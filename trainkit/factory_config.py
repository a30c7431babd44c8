"""The table `[joint]` of a module that a user's own code makes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .config import InputConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class FactoryConfig:
    """A module that a user's own code makes; see `trainkit.models.declared`.

    A checkpoint of it holds no code: whoever opens it names the factory again.
    """

    architecture: Literal["factory"] = "factory"
    factory: str
    """Where the code is, as "module:function"."""
    satellite: bool = True
    """Whether it takes a Sentinel-2 series."""

    def __post_init__(self) -> None:
        """Refuse what names no function."""
        if not self.is_name(self.factory):
            raise ValueError(
                f"the factory is '{self.factory}'; expected module:function, such as net:build"
            )

    @staticmethod
    def is_name(text: str) -> bool:
        """Whether it names a function of a module."""
        module, _, function = text.partition(":")
        return function.isidentifier() and all(map(str.isidentifier, module.split(".")))

    def check(self, inputs: "InputConfig") -> None:
        """Accept all inputs: the module is tried on them when it is made."""
