"""Checkpoints from somebody else's weights, and from a user's own torch module.

    weights file --- names of its tensors --- found among those of a preset --+
                                                                               +-- checkpoint folder
    weights file --- a module that a named factory makes ----------------------+

Tensors and plain containers of them are all that is ever unpickled, and the only code that runs is
that of a factory which the user named.
"""

from runtime.classes import LandCoverClass

from ..config import InputConfig
from ..models.declared import DeclaredModel
from .class_lists import LISTS
from .importing import ImportOptions, ImportReport, import_weights

__all__ = [
    "LISTS",
    "DeclaredModel",
    "ImportOptions",
    "ImportReport",
    "InputConfig",
    "LandCoverClass",
    "import_weights",
]
