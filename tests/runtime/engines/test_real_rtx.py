"""TensorRT-RTX itself, which builds on a machine without a GPU."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import pytest
from build_case import GRAPHS, make_part, write_part

import segx
from runtime.bundle import Bundle, open_bundle
from runtime.engines.build import BuildRequest, Built, build_engine
from runtime.engines.options import BuildOptions
from runtime.engines.profiles import batch_profile
from runtime.engines.target import ANY_GPU, Target, here_platform
from runtime.errors import EngineError
from runtime.manifest import PartSpec, Precision

if find_spec("tensorrt_rtx") is None:
    pytest.skip(
        "TensorRT-RTX is not installed (pip install tensorrt-rtx-cu13)", allow_module_level=True
    )

TOY = Path(segx.__file__).with_name("toy.segx")
PARTS = ("aerial", "satellite", "fusion", "fusion_probabilities")


def installed() -> str:
    for package in ("tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    raise AssertionError("tensorrt_rtx is there, and no package that brings it")


@pytest.fixture(scope="module")
def toy() -> Bundle:
    return open_bundle(TOY)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real library, whatever else is put before it."""
    monkeypatch.delenv("PYTHONPATH", raising=False)


def build(
    onnx: Path, part: PartSpec, folder: Path, capability: str = "8.6", *, most: int = 1
) -> tuple[Built, Path, list[int]]:
    target = Target(
        builder="tensorrt-rtx",
        builder_version=installed(),
        compute_capability=capability,
        gpu=ANY_GPU,
        platform=here_platform(),
    )
    request = BuildRequest(
        onnx=onnx,
        part=part,
        target=target,
        profile=batch_profile(part, opt=most, most=most),
        options=BuildOptions(optimization_level=0),
        timing_cache=folder / "timing.cache",
    )
    out, percents = folder / "part.engine", list[int]()
    built = build_engine(request, out, on_progress=lambda done, *_: percents.append(done))
    return built, out, percents


def part_of(toy: Bundle, name: str) -> PartSpec:
    (part,) = [part for part in toy.manifest.parts if part.name == name]
    return part


@pytest.mark.parametrize("name", PARTS)
def test_every_part_of_the_packaged_bundle_builds(name: str, toy: Bundle, tmp_path: Path) -> None:
    part = part_of(toy, name)
    built, out, percents = build(toy.file(part), part, tmp_path)
    assert built.size_bytes == out.stat().st_size > 100_000
    assert built.notes == ()
    assert [path.name for path in tmp_path.iterdir()] == ["part.engine"]
    assert len(percents) > 10, "the builder tells how far it is"


@pytest.mark.parametrize("capability", ["8.9", "12.0"])
def test_a_part_builds_for_gpus_that_are_not_there(
    capability: str, toy: Bundle, tmp_path: Path
) -> None:
    part = part_of(toy, "fusion")
    built, out, _ = build(toy.file(part), part, tmp_path, capability, most=8)
    assert built.size_bytes == out.stat().st_size > 100_000
    assert built.notes == ()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_lower_precisions_build(precision: Precision, tmp_path: Path) -> None:
    text = GRAPHS[precision]
    if precision == "fp16":
        text = text.replace("(half_tile, weights)", "(half_tile, half)").replace(
            "half_logits =", "half = Cast <to = 10> (weights) half_logits ="
        )
    folder = tmp_path / "out"
    folder.mkdir()
    onnx = write_part(tmp_path / "part.onnx", text)
    built, out, _ = build(onnx, make_part(precision), folder, most=4)
    assert built.size_bytes == out.stat().st_size


def test_what_its_parser_says_names_node_and_operator(tmp_path: Path) -> None:
    text = GRAPHS["fp32"].replace("Cast <to = 1> (tile)", "Transpose (tile)")
    onnx = write_part(tmp_path / "part.onnx", text)
    with pytest.raises(
        EngineError, match=r"for sm_86 \(In node 0 .* operator: Transpose"
    ) as caught:
        build(onnx, make_part(), tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "part.engine").exists()


def test_a_gpu_that_it_does_not_build_for_is_refused(tmp_path: Path) -> None:
    onnx = write_part(tmp_path / "part.onnx", GRAPHS["fp32"])
    with pytest.raises(EngineError, match=r"compute capability 9.0 without such a GPU; expected"):
        build(onnx, make_part(), tmp_path, "9.0")
