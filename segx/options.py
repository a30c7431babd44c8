"""Options that several commands share: how a bundle is run."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runtime.engines.options import EnginePolicy, Rebuild
from runtime.gpu.driver import CudaOption
from runtime.products import OffsetOption

if TYPE_CHECKING:
    from runtime.ladder import RunRequest


class BackendName(str, Enum):
    """Libraries that run a bundle; `auto` takes the first that can be used."""

    auto = "auto"
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt-rtx"
    onnxruntime_cuda = "onnxruntime-cuda"
    openvino = "openvino"
    onnxruntime = "onnxruntime"


class TtaName(str, Enum):
    """Symmetries that every tile is run in."""

    none = "none"
    flips = "flips"
    dihedral = "dihedral"


TtaFlag = Annotated[
    TtaName,
    typer.Option(
        "--tta",
        help="Average over mirrored tiles: flips (4 runs a tile), dihedral (8, turned too).",
    ),
]
BackendFlag = Annotated[
    BackendName,
    typer.Option("--backend", help="Library that runs a bundle; auto: the best that can."),
]
OFFSET_HELP = "Radiometric offset of Sentinel-2; auto: by metadata or product name, else estimated."
OffsetFlag = Annotated[OffsetOption, typer.Option("--satellite-offset", help=OFFSET_HELP)]
CudaFlag = Annotated[
    CudaOption | None,
    typer.Option("--cuda", help="Package that brings the CUDA driver. Default: auto."),
]
RebuildFlag = Annotated[
    Rebuild | None,
    typer.Option("--rebuild", help="What to do where no TensorRT engine fits. Default: auto."),
]
EnginesFlag = Annotated[
    Path | None,
    typer.Option("--engines", help="Folder of TensorRT engines, looked at before the cache."),
]
TrustFlag = Annotated[
    bool,
    typer.Option(
        "--trust-engines", help="Take engines that others can have written; they can run code."
    ),
]
SkipSelfTestFlag = Annotated[
    bool,
    typer.Option("--skip-self-test", help="Do not run the golden tile first; reports say so."),
]

HtmlFlag = Annotated[
    Path | None, typer.Option("--html", help="Also write a page that a browser shows, in one file.")
]
ShardFlag = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/N", help="Do share I of N; the last one puts the maps together."
    ),
]
RayFlag = Annotated[
    str | None,
    typer.Option(
        "--ray", metavar="ADDRESS", help="Run shards as tasks of a Ray cluster; local: start one."
    ),
]
ShardsFlag = Annotated[
    int | None,
    typer.Option("--shards", min=1, help="With --ray: how many. Default: 4 per task at a time."),
]
FactoryFlag = Annotated[
    str,
    typer.Option(
        "--factory",
        metavar="MODULE:FUNCTION",
        help="Your code that makes the module of an imported checkpoint; it is run.",
        show_default=False,
    ),
]

_ENGINES = ("--rebuild", "--engines", "--trust-engines")
_UNFIT: dict[BackendName, tuple[str, ...]] = {
    BackendName.auto: (),
    BackendName.tensorrt: ("--threads",),
    BackendName.tensorrt_rtx: ("--threads",),
    BackendName.onnxruntime_cuda: _ENGINES,
    BackendName.openvino: ("--cuda", *_ENGINES),
    BackendName.onnxruntime: ("--cuda", *_ENGINES),
}
"""Options that say nothing to a backend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFlags:
    """How a bundle is to be run, as it was given on the command line."""

    backend: BackendName = BackendName.auto
    threads: int | None = None
    cuda: CudaOption | None = None
    rebuild: Rebuild | None = None
    engines: Path | None = None
    trust_engines: bool = False
    skip_self_test: bool = False

    @property
    def given(self) -> tuple[str, ...]:
        """Options that were given."""
        options = {
            "--backend": self.backend != BackendName.auto,
            "--threads": self.threads is not None,
            "--cuda": self.cuda is not None,
            "--rebuild": self.rebuild is not None,
            "--engines": self.engines is not None,
            "--trust-engines": self.trust_engines,
            "--skip-self-test": self.skip_self_test,
        }
        return tuple(name for name, there in options.items() if there)

    def request(
        self, *, variant: Literal["classes", "probabilities"] = "classes", batch: int | None = 1
    ) -> "RunRequest":
        """Say how the bundle is to be opened.

        Raises:
            typer.BadParameter: If an option says nothing to the backend that is named.
        """
        for option in _UNFIT[self.backend]:
            if option in self.given:
                raise typer.BadParameter(
                    f"says nothing to --backend {self.backend.value}; leave one of them out",
                    param_hint=option,
                )
        from runtime.ladder import RunRequest

        from . import __version__

        policy = EnginePolicy(
            rebuild=self.rebuild or "auto",
            folder=self.engines,
            trust_folder=self.trust_engines,
        )
        return RunRequest(
            backend=self.backend.value,
            variant=variant,
            batch=batch,
            threads=self.threads,
            cuda=self.cuda or "auto",
            policy=policy,
            self_test=not self.skip_self_test,
            segx_version=__version__,
        )
