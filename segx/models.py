"""Open a bundle or a checkpoint in the same way."""

from pathlib import Path
from typing import TYPE_CHECKING

from .options import BackendName

if TYPE_CHECKING:
    from runtime.card import ModelCard, Runnable


def open_any(path: Path, backend: BackendName) -> "tuple[ModelCard, Runnable, str]":
    """Open a model by its folder.

    Returns:
        What to know of it, the model, and how it is run.

    Raises:
        BundleError: If it is a bundle that cannot be read.
        CheckpointError: If it is a checkpoint that cannot be read.
        BackendError: If it is a checkpoint and PyTorch is not installed.
    """
    from runtime.errors import CheckpointError
    from runtime.manifest import MANIFEST_NAME

    from .extras import require

    if (path / MANIFEST_NAME).is_file() or path.suffix == ".segx":
        from runtime.backends import choose_backend
        from runtime.bundle import open_bundle
        from runtime.model import open_model

        bundle = open_bundle(path)
        choice = choose_backend(backend.value)
        model = open_model(bundle, choice)
        return bundle.card, model, f"bundle, {choice.name}, {model.precision}"

    if not path.is_dir():
        raise CheckpointError(
            f"{path} is no folder; expected a bundle or a checkpoint folder; check the path"
        )
    require("train", "a checkpoint")
    from trainkit.checkpoint import load_checkpoint
    from trainkit.torch_model import TorchModel

    checkpoint = load_checkpoint(path)
    return checkpoint.card, TorchModel(checkpoint.model), "checkpoint, PyTorch, fp32"
