"""A small model of each family of networks in FP16 and INT8, and its engines.

Attention is what most tests of the exporter convert; here are convolutions, some of them dilated,
and transposed ones. A graph of a few such nodes: test_quantize.py.
"""

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
import pytest

from exporter.calibrate import CalibrationData
from exporter.convert import Converted, convert
from exporter.export import export
from exporter.options import ConvertOptions, ExportOptions
from runtime.engines.build import BuildRequest, build_engine
from runtime.engines.options import BuildOptions
from runtime.engines.profiles import batch_profile
from runtime.engines.target import ANY_GPU, Target, here_platform
from runtime.manifest import PartSpec, Precision
from trainkit.aerial_config import CseUNetConfig, MultiResUNetConfig
from trainkit.checkpoint import Checkpoint

pytestmark = [pytest.mark.matrix, pytest.mark.usefixtures("warm_converter")]

CONVOLUTION = CseUNetConfig(widths=(16, 16, 16, 16, 32))
TRANSPOSED = MultiResUNetConfig(widths=(32, 32, 32, 32, 32), path_lengths=(1, 1, 1, 1))
# ModelOpt leaves convolutions of fewer than 16 channels as they are.
FAMILIES = {"convolution": "aerial", "transposed convolution": "aerial_2"}
"""Name of the part that stands for a family."""

OPTIONS = ConvertOptions(
    segx_version="0.1.0", precision="fp16", parity_samples=1, calibration_method="max"
)

Bundles = dict[Precision, Converted]

every_family = pytest.mark.parametrize("name", FAMILIES.values(), ids=FAMILIES)


@pytest.fixture(scope="module")
def bundles(
    checkpoint_of: Callable[..., Checkpoint],
    patches: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundles:
    """Both families in one bundle, in both lower precisions; read them, do not change them."""
    folder = tmp_path_factory.mktemp("families")
    checkpoint = checkpoint_of("small", CONVOLUTION, TRANSPOSED)
    options = ExportOptions(segx_version="0.1.0", parity_samples=1)
    source = export(checkpoint, folder / "small.segx", options).bundle
    data = CalibrationData(dataset=patches, samples=2)
    lower: tuple[Precision, ...] = ("fp16", "int8")
    return {
        precision: convert(
            source,
            folder / f"small-{precision}.segx",
            replace(OPTIONS, precision=precision),
            calibration=data,
        )
        for precision in lower
    }


def part_of(made: Converted, name: str) -> PartSpec:
    (part,) = [part for part in made.bundle.manifest.parts if part.name == name]
    return part


@every_family
def test_its_work_is_done_in_the_precision_that_was_asked_for(name: str, bundles: Bundles) -> None:
    shares = {
        precision: {part.spec.name: part.shares for part in made.parts}[name]
        for precision, made in bundles.items()
    }
    assert shares["fp16"].fp16 == 1.0
    assert shares["int8"].int8 > 0.9


@every_family
def test_only_convolutions_that_are_not_transposed_are_quantised(
    name: str, bundles: Bundles
) -> None:
    made = bundles["int8"]
    graph = onnx.load(made.bundle.file(part_of(made, name))).graph
    dequantised = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    quantised = {node.op_type for node in graph.node if dequantised.intersection(node.input)}
    assert "Conv" in quantised
    assert "ConvTranspose" not in quantised


@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is not installed")
@every_family
def test_tensorrt_rtx_builds_its_engine(
    name: str, bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    made = bundles["int8"]
    part = part_of(made, name)
    target = Target(
        builder="tensorrt-rtx",
        builder_version=version("tensorrt-rtx-cu13"),
        compute_capability="8.6",
        gpu=ANY_GPU,
        platform=here_platform(),
    )
    request = BuildRequest(
        onnx=made.bundle.file(part),
        part=part,
        target=target,
        profile=batch_profile(part, opt=1, most=1),
        options=BuildOptions(optimization_level=0),
        timing_cache=None,
    )
    built = build_engine(request, tmp_path / "part.engine", on_progress=lambda *_: None)
    assert built.size_bytes == (tmp_path / "part.engine").stat().st_size > 10_000
    assert built.notes == ()
