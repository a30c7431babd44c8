"""A small part in every precision, and builds of it by a fake TensorRT in a child process."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from runtime.engines.build import BuildRequest, Built, build_engine
from runtime.engines.options import BuildOptions
from runtime.engines.profiles import batch_profile
from runtime.engines.target import ANY_GPU, Target
from runtime.manifest import PartSpec, Precision, TensorSpec

FAKES = Path(__file__).parent
RTX = "1.7.1.116"
GPU = "Fake RTX 4090"

_HEAD = '<ir_version: 10, opset_import: ["" : 20]> part '
GRAPHS: dict[Precision, str] = {
    "fp32": _HEAD
    + """(uint8[N,3,8,8] tile) => (float[N,2,8,8] logits) {
        float_tile = Cast <to = 1> (tile)
        logits = Conv (float_tile, weights)
    }""",
    "fp16": _HEAD
    + """(uint8[N,3,8,8] tile) => (float[N,2,8,8] logits) {
        half_tile = Cast <to = 10> (tile)
        half_logits = Conv (half_tile, weights)
        logits = Cast <to = 1> (half_logits)
    }""",
    "int8": _HEAD
    + """(uint8[N,3,8,8] tile) => (float[N,2,8,8] logits) {
        float_tile = Cast <to = 1> (tile)
        scale = Constant <value_float = 0.5> ()
        zero = Constant <value: tensor = int8 {0}> ()
        levels = QuantizeLinear (float_tile, scale, zero)
        again = DequantizeLinear (levels, scale, zero)
        logits = Conv (again, weights)
    }""",
}


def make_part(precision: Precision = "fp32") -> PartSpec:
    """The part as its manifest describes it."""
    return PartSpec(
        name="aerial",
        role="aerial",
        file="aerial.onnx",
        precision=precision,
        inputs=(TensorSpec(name="tile", dtype="uint8", shape=("N", 3, 8, 8)),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("N", 2, 8, 8)),),
    )


def write_part(path: Path, text: str, *, dtype: Any = np.float32) -> Path:
    """Write a graph in ONNX's text form, with `weights` of shape (2, 3, 1, 1)."""
    model = onnx.parser.parse_model(text)
    weights: NDArray[Any] = np.arange(6).reshape(2, 3, 1, 1).astype(dtype)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "weights"))
    onnx.save(model, path)
    return path


@dataclass
class BuildCase:
    """One build after the other in a folder, by one version."""

    folder: Path
    version: str
    progress: list[tuple[int, int, str]] = field(default_factory=list)

    @property
    def out(self) -> Path:
        """Where the engine goes, alone."""
        made = self.folder / "engines"
        made.mkdir(exist_ok=True)
        return made / "aerial.engine"

    @property
    def log(self) -> Path:
        """What the fake writes of its calls."""
        return self.folder / "calls.json"

    @property
    def environment(self) -> dict[str, str]:
        """What lets a child process find the fake."""
        return {
            "PYTHONPATH": f"{FAKES / 'path'}:{FAKES}",
            "FAKE_TENSORRT": self.version,
            "FAKE_TENSORRT_LOG": str(self.log),
        }

    def target(self, **changes: Any) -> Target:
        """The fake's own device; for TensorRT-RTX, one that is not there."""
        rtx = self.version == RTX
        fields = {
            "builder": "tensorrt-rtx" if rtx else "tensorrt",
            "builder_version": self.version,
            "compute_capability": "8.9",
            "gpu": ANY_GPU if rtx else GPU,
            "platform": "linux-x86_64",
        }
        return Target(**{**fields, **changes})

    def build(
        self,
        part: PartSpec | None = None,
        *,
        graph: str | None = None,
        timing_cache: Path | None = None,
        target: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Built:
        """Build a part; its own graph by default."""
        part = part or make_part()
        half = np.float16 if part.precision == "fp16" and graph is None else np.float32
        request = BuildRequest(
            onnx=write_part(
                self.folder / "aerial.onnx", graph or GRAPHS[part.precision], dtype=half
            ),
            part=part,
            target=self.target(**(target or {})),
            profile=batch_profile(part, opt=2, most=4),
            options=BuildOptions(**options),
            timing_cache=timing_cache,
        )
        return build_engine(request, self.out, on_progress=lambda *told: self.progress.append(told))

    def calls(self, name: str) -> list[tuple[str, str]]:
        """Arguments of the calls of `Class.method`, or of `method` in any class."""
        calls = json.loads(self.log.read_text(encoding="utf-8"))["calls"]
        return [
            (args, kwargs)
            for called, args, kwargs in calls
            if name in (called, called.rpartition(".")[2])
        ]

    def missing(self) -> list[tuple[str, str]]:
        """Names that the version lacks and that were touched, with who touched them."""
        return [tuple(m) for m in json.loads(self.log.read_text(encoding="utf-8"))["missing"]]

    def left(self) -> list[str]:
        """Files in the folder of the engine."""
        return sorted(path.name for path in self.out.parent.iterdir())
