"""The fake TensorRT has exactly the names of its version, and builds what the real one builds."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import fake_tensorrt
import numpy as np
import pytest
from fake_gpu import FakeGpu
from fake_graphs import HALF, write_graph
from fake_tensorrt import FakeTensorRT, Messages, build_plan, make_tensorrt, surface_versions
from fake_trt_surface import Touch, load_surface

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

VERSIONS = surface_versions()
OLD, NEW, RTX = "10.3.0", "11.4.0.106", "1.7.1.116"


@pytest.fixture(params=VERSIONS)
def trt(request: pytest.FixtureRequest) -> FakeTensorRT:
    return make_tensorrt(request.param, gpu=FakeGpu())


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "part.onnx")


def names(trt: FakeTensorRT) -> Any:
    """The module as code under test sees it: without types."""
    return trt


# Names.


def test_all_names_of_the_surface_are_there_and_no_behaviour_has_a_wrong_name(
    trt: FakeTensorRT,
) -> None:
    surface = trt.surface
    for name, members in surface.classes.items():
        kind = getattr(trt, name)
        assert all(hasattr(kind, member) for member in members), name
    for name, values in surface.enums.items():
        if "." not in name:
            assert {k: int(v) for k, v in getattr(trt, name).__members__.items()} == values
    assert all(hasattr(trt, name) for name in surface.functions)
    assert not trt.probes
    everywhere = [load_surface(version).classes for version in VERSIONS]
    for name, template in fake_tensorrt.TEMPLATES.items():
        known = {member for classes in everywhere for member in classes.get(name, ())}
        assert {member for member in vars(template) if member[0] != "_"} <= known, name


def test_touching_a_name_that_the_version_lacks_is_an_error_and_recorded() -> None:
    trt = names(make_tensorrt(NEW, gpu=FakeGpu()))
    with pytest.raises(AttributeError, match="module 'tensorrt' has no attribute 'IInt8Calib"):
        trt.IInt8Calibrator  # noqa: B018
    with pytest.raises(AttributeError, match=r"tensorrt\.BuilderFlag' has no 'FP16'"):
        trt.BuilderFlag.FP16  # noqa: B018
    config = trt.Builder(trt.Logger()).create_builder_config()
    with pytest.raises(AttributeError, match="'IBuilderConfig' object has no attribute"):
        config.int8_calibrator = None
    missing = ("IInt8Calibrator", "BuilderFlag.FP16", "IBuilderConfig.int8_calibrator")
    assert trt.missing == [Touch(name, __name__) for name in missing]
    assert trt.probes == []


def test_asking_whether_a_name_is_there_is_recorded_apart() -> None:
    trt = names(make_tensorrt(NEW, gpu=FakeGpu()))
    assert not hasattr(trt.BuilderFlag, "INT8")
    assert getattr(trt, "ComputeCapability", None) is None
    assert trt.missing == []
    assert trt.probes == [Touch(n, __name__) for n in ("BuilderFlag.INT8", "ComputeCapability")]


def test_a_name_of_the_surface_without_behaviour_says_so() -> None:
    trt = names(make_tensorrt(OLD, gpu=FakeGpu()))
    with pytest.raises(NotImplementedError, match=r"the fake has no Builder\.gpu_allocator"):
        trt.Builder(trt.Logger()).gpu_allocator  # noqa: B018
    with pytest.raises(NotImplementedError, match="no behaviour for Refitter"):
        trt.Refitter(None, trt.Logger())


def test_classes_are_made_as_pybind11_makes_them(trt: FakeTensorRT) -> None:
    module = names(trt)

    class Careless(module.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None: ...

    with pytest.raises(TypeError, match=r"ILogger\.__init__\(\) must be called"):
        Careless()
    with pytest.raises(TypeError, match="IBuilderConfig: No constructor defined!"):
        module.IBuilderConfig()
    assert module.DataType.HALF != 1
    assert int(module.DataType.HALF) == 1
    assert str(module.Logger.ERROR) == "Severity.ERROR"
    assert module.float16 is module.DataType.HALF
    assert module.nptype(module.uint8) is np.uint8
    assert module.Dims((1, 2)) == (1, 2)


# Building.


def test_a_graph_that_cannot_be_read_is_an_error_of_the_parser(
    trt: FakeTensorRT, tmp_path: Path
) -> None:
    module, messages = names(trt), Messages(trt)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"garbage" * 9)
    for path, text in ((broken, "Failed to parse the ONNX"), (tmp_path / "no", "cannot be found")):
        parser = module.OnnxParser(
            module.Builder(messages.logger).create_network(), messages.logger
        )
        assert not parser.parse_from_file(str(path))
        assert text in str(parser.get_error(0))
        assert text in messages.errors()


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        (HALF.replace("uint8", "uint16"), "Failed to convert ONNX date type"),
        (
            HALF.replace("cast = Cast <to = 10>", "t = Transpose").replace("(cast", "(t"),
            "has type UInt8",
        ),
    ],
)
def test_inputs_that_tensorrt_does_not_take_are_refused(
    trt: FakeTensorRT, tmp_path: Path, graph: str, text: str
) -> None:
    module, messages = names(trt), Messages(trt)
    parser = module.OnnxParser(module.Builder(messages.logger).create_network(), messages.logger)
    path = write_graph(tmp_path / "part.onnx", graph)
    assert not parser.parse_from_file(str(path))
    assert text in str(parser.get_error(0))


def built(trt: FakeTensorRT, onnx: Path, *shapes: Any, workspace_mib: int = 64) -> Any:
    """Build with one profile of these shapes, or with none; the plan and the messages."""
    module, messages = names(trt), Messages(trt)
    builder = module.Builder(messages.logger)
    network = builder.create_network()
    assert module.OnnxParser(network, messages.logger).parse_from_file(str(onnx))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    if shapes:
        profile = builder.create_optimization_profile()
        profile.set_shape("pixels", *shapes)
        config.add_optimization_profile(profile)
    return builder.build_serialized_network(network, config), messages


def test_a_build_without_a_fitting_profile_fails(trt: FakeTensorRT, onnx_file: Path) -> None:
    plan, messages = built(trt, onnx_file)
    assert plan is None
    assert "no optimization profile has been defined" in messages.errors()
    cases = {
        "axis 2, profile has min=8, opt=8, max=16 but tensor": ((1, 3, 8, 8),) * 2
        + ((1, 3, 16, 8),),
        "pixels has 4 dimensions but profile 0 has 3": ((1, 3, 8),) * 3,
        "satisfy MIN<=OPT<=MAX": ((2, 3, 8, 8),) * 2 + ((1, 3, 8, 8),),
    }
    for text, shapes in cases.items():
        plan, messages = built(trt, onnx_file, *shapes)
        assert plan is None
        assert text in messages.errors()


def test_a_build_runs_out_of_memory_above_a_workspace(trt: FakeTensorRT, onnx_file: Path) -> None:
    trt.out_of_memory_above_mib = 32
    shapes = [(1, 3, 8, 8)] * 3
    plan, messages = built(trt, onnx_file, *shapes, workspace_mib=64)
    assert plan is None
    assert "Error Code 2: OutOfMemory (Requested size was 67108864 bytes.)" in messages.errors()
    plan, _ = built(trt, onnx_file, *shapes, workspace_mib=32)
    assert plan.nbytes == len(bytes(plan))


def test_a_progress_monitor_sees_the_phases_and_can_stop_the_build(
    trt: FakeTensorRT, onnx_file: Path
) -> None:
    module, messages, seen = names(trt), Messages(trt), []

    class Monitor(module.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self, goes_on: bool) -> None:
            module.IProgressMonitor.__init__(self)
            self.goes_on = goes_on

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            seen.append((phase_name, parent_phase))

        def phase_finish(self, phase_name: str) -> None:
            seen.append((phase_name, "finished"))

        def step_complete(self, phase_name: str, step: int) -> bool:
            return self.goes_on

    for goes_on in (True, False):
        seen.clear()
        builder = module.Builder(messages.logger)
        network, config = builder.create_network(), builder.create_builder_config()
        module.OnnxParser(network, messages.logger).parse_from_file(str(onnx_file))
        profile = builder.create_optimization_profile()
        profile.set_shape("pixels", *[(1, 3, 8, 8)] * 3)
        config.add_optimization_profile(profile)
        config.progress_monitor = Monitor(goes_on)
        assert (builder.build_serialized_network(network, config) is not None) is goes_on
        assert seen[0] == ("Building engine", None)
        assert seen[-1] == ("Building engine", "finished")
    assert "Build canceled by user" in messages.errors()


def test_without_a_gpu_only_tensorrt_rtx_builds(onnx_file: Path) -> None:
    for version in VERSIONS:
        trt = make_tensorrt(version)
        if version == RTX:
            assert build_plan(trt, onnx_file)
        else:
            with pytest.raises(TypeError, match="factory function returned nullptr"):
                names(trt).Builder(names(trt).Logger())


def test_a_timing_cache_of_somebody_else_is_refused(trt: FakeTensorRT) -> None:
    module, messages = names(trt), Messages(trt)
    config = module.Builder(messages.logger).create_builder_config()
    no_op = pytest.warns(DeprecationWarning, match="Timing cache operations are no-ops")
    with no_op if trt.builds_ahead_of_time else nullcontext():
        garbage = config.create_timing_cache(b"garbage")
        own = config.create_timing_cache(b"")
        foreign = config.create_timing_cache(b'{"made_on": "another", "entries": {}}')
    assert (garbage is None) is (trt.major == 10)
    assert config.set_timing_cache(own, ignore_mismatch=False)
    assert not config.set_timing_cache(foreign, ignore_mismatch=False)
    assert config.set_timing_cache(foreign, ignore_mismatch=True)
