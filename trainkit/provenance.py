"""Say where a model comes from: data, seed, versions, options."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version

from runtime.jsonfile import plain

from .checkpoint import Origin
from .config import TrainConfig
from .fit import Fitted
from .plan import TrainOptions
from .run import RunInfo
from .score import BranchScores
from .survey import Survey, is_generated

LIBRARIES = ("torch", "lightning", "timm", "albumentations", "numpy", "safetensors")


def origin_of(
    config: TrainConfig,
    options: TrainOptions,
    run: RunInfo,
    data: Survey,
    facts: Mapping[str, object],
    fitted: Mapping[str, Fitted],
    results: BranchScores,
) -> Origin:
    """Sum up a run for its checkpoint; `facts` is what the model took from the data before."""
    return Origin(
        segx_version=options.segx_version,
        classes=data.classes,
        steps={name: branch.steps for name, branch in fitted.items()},
        toy=is_generated(data.root),
        provenance={
            "data": {
                "name": data.root.resolve().name,
                "licence": data.licence,
                "path": run.data,
                "fingerprint": run.fingerprint,
                "satellite_offset": run.satellite_offset,
                "patches": data.splits,
                "tune": list(run.tune),
            },
            **facts,
            "init": None if run.init is None else plain(run.init),
            "seed": config.seed,
            "started": run.started,
            "branches": {name: plain(branch) for name, branch in fitted.items()},
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in LIBRARIES},
            },
            "platform": platform.platform(),
            "options": asdict(options),
        },
        metrics=plain(results),
    )
