"""Say which optional dependencies are missing, and how to get them."""

from importlib.util import find_spec
from typing import Literal

from runtime.errors import BackendError

Extra = Literal["train", "export", "ort", "tensorrt", "satellite", "gis", "ray"]
"""An extra of the distribution, as in ``pip install 'segx[train]'``."""

KEY_MODULES: dict[Extra, tuple[str, ...]] = {
    "train": (
        *("torch", "torchvision", "timm", "lightning"),
        *("albumentations", "tensorboard", "safetensors"),
    ),
    "ort": ("onnxruntime",),
    "export": (
        *("onnx", "onnxscript", "onnxsim", "onnxruntime", "torch", "timm"),
        *("modelopt", "onnx_graphsurgeon", "onnxslim", "lief", "ml_dtypes"),
    ),
    "tensorrt": ("polygraphy", "cuda"),
    "satellite": ("pystac_client",),
    "gis": ("pyogrio", "shapely"),
    "ray": ("ray",),
}
"""The modules that each extra brings; where several bring one, the first is advised."""


def is_installed(extra: Extra) -> bool:
    """Whether every key module of ``extra`` can be found (nothing is imported)."""
    return not _missing(extra)


def require(extra: Extra, purpose: str) -> None:
    """Make sure that an extra is installed before work begins.

    Args:
        extra: Name of the extra.
        purpose: What needs it, as the subject of a sentence ("segx train", "an fp16 export").

    Raises:
        BackendError: If a module of the extra is missing; the message says what to install.
    """
    missing = _missing(extra)
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise BackendError(
            f"{', '.join(missing)} {verb} not installed; {purpose} needs the extra '{extra}'; "
            f"run: {_install(extra)}"
        )


def remedy(module: str) -> str | None:
    """One line that says which extra brings a missing module; None if that is not what is wrong."""
    root = module.split(".")[0]
    for extra, modules in KEY_MODULES.items():
        if root in modules and find_spec(root) is None:
            return (
                f"{root} is not installed; it comes with the extra '{extra}'; "
                f"run: {_install(extra)}"
            )
    return None


def _missing(extra: Extra) -> list[str]:
    return [name for name in KEY_MODULES[extra] if find_spec(name) is None]


def _install(extra: Extra) -> str:
    return f"pip install 'segx[{extra}]'"
