"""The segx command and its Python side: dual-input land-cover segmentation.

import segx

with segx.open_bundle("bundles/lf-dlm-tiny-int8.segx") as model:
    report = model.map("tiles/", "maps/")
    found = model.predict(aerial, series, dates)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.errors import SegxError
    from runtime.predict import Prediction
    from runtime.report import Report
    from runtime.stream.options import InferOptions
    from runtime.stream.shards import Shard

    from .api import OpenBundle, open_bundle

__version__ = "0.1.0"

__all__ = [
    "InferOptions",
    "OpenBundle",
    "Prediction",
    "Report",
    "SegxError",
    "Shard",
    "__version__",
    "open_bundle",
]

_HOMES = {
    "InferOptions": "runtime.stream.options",
    "OpenBundle": "segx.api",
    "Prediction": "runtime.predict",
    "Report": "runtime.report",
    "SegxError": "runtime.errors",
    "Shard": "runtime.stream.shards",
    "open_bundle": "segx.api",
}
"""Where each name is defined; imported when it is first asked for."""


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Name what there is."""
    return sorted({*globals(), *__all__})
