import json
from dataclasses import replace
from pathlib import Path

import pytest
from build_case import GPU, GRAPHS, RTX, BuildCase, make_part
from fake_tensorrt import surface_versions
from fake_trt_plan import Plan

from runtime.engines.build import Built
from runtime.errors import BackendError, EngineError
from runtime.manifest import Precision

VERSIONS = surface_versions()
OLD = "10.3.0"


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildCase:
    """A build by TensorRT 10.3, in the environment of this process."""
    return case_of(OLD, tmp_path, monkeypatch)


def case_of(version: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> BuildCase:
    made = BuildCase(folder=folder, version=version)
    for key, value in made.environment.items():
        monkeypatch.setenv(key, value)
    return made


@pytest.fixture(scope="module", params=VERSIONS)
def done(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[BuildCase, Built]:
    """A finished build of an FP16 part by each version."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        made = case_of(request.param, tmp_path_factory.mktemp("done"), monkeypatch)
        timings = made.folder / "timing.cache"
        built = made.build(
            make_part("fp16"), timing_cache=timings, workspace_mib=512, optimization_level=2
        )
    return made, built


def test_every_version_builds_a_strongly_typed_engine_for_its_target(
    done: tuple[BuildCase, Built],
) -> None:
    case, built = done
    plan = Plan.from_bytes(case.out.read_bytes())
    assert plan.strongly_typed
    assert plan.version == case.version
    assert plan.compute_capabilities == ["8.9"]
    assert plan.profiles == [{"tile": [[1, 3, 8, 8], [2, 3, 8, 8], [4, 3, 8, 8]]}]
    assert built.size_bytes == case.out.stat().st_size
    assert (built.workspace_mib, built.notes) == (512, ())
    assert 0 < built.seconds < 60


def test_the_options_reach_every_builder(done: tuple[BuildCase, Built]) -> None:
    case, _ = done
    ((pool, _),) = case.calls("set_memory_pool_limit")
    assert "MemoryPoolType.WORKSPACE" in pool
    assert str(512 << 20) in pool
    assert case.calls("builder_optimization_level=") == [("(2,)", "{}")]
    assert "ProfilingVerbosity.DETAILED" in case.calls("profiling_verbosity=")[0][0]


def test_no_builder_may_round_fp32_to_tf32(done: tuple[BuildCase, Built]) -> None:
    case, _ = done
    ((flag, _),) = case.calls("clear_flag")
    assert "BuilderFlag.TF32" in flag


def test_nothing_makes_engines_for_other_versions_or_devices(
    done: tuple[BuildCase, Built],
) -> None:
    case, _ = done
    assert case.calls("set_flag") == []
    assert case.calls("hardware_compatibility_level=") == []


def test_no_code_of_ours_touches_a_name_that_a_version_lacks(
    done: tuple[BuildCase, Built],
) -> None:
    case, _ = done
    assert [touch for touch in case.missing() if not touch[1].startswith("polygraphy")] == []


def test_timings_are_kept_where_there_are_timings_and_never_asked_for_elsewhere(
    done: tuple[BuildCase, Built],
) -> None:
    case, _ = done
    kept = (case.folder / "timing.cache").exists()
    asked = bool(case.calls("create_timing_cache") + case.calls("set_timing_cache"))
    assert kept == asked == (case.version != RTX)
    assert bool(case.calls("get_timing_cache")) == kept


def test_layers_are_told_where_the_engine_can_be_opened(done: tuple[BuildCase, Built]) -> None:
    case, built = done
    if case.version == RTX:
        assert built.summary is None
        return
    assert built.summary is not None
    assert built.summary.weighted == {"fp16": 1}
    assert built.summary.tensors == {"tile": "uint8", "logits": "fp32"}


def test_progress_rises_from_nothing_to_all(done: tuple[BuildCase, Built]) -> None:
    case, _ = done
    percents = [percent for percent, _, _ in case.progress]
    assert percents == sorted(set(percents))
    assert (percents[0], percents[-1]) == (0, 100)
    assert {total for _, total, _ in case.progress} == {100}
    assert "Optimizing graph" in [note for _, _, note in case.progress]


def test_nothing_but_progress_reaches_the_one_who_listens(
    case: BuildCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr("runtime.engines.build._Attempts._hear", lambda _, line: lines.append(line))
    case.build()
    assert [json.loads(line) for line in lines] == [
        [0, "Building engine"],
        [25, "Optimizing graph"],
        [50, "Optimizing graph"],
    ]


def test_tensorrt_rtx_looks_at_the_layers_where_the_gpu_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of(RTX, tmp_path, monkeypatch)
    monkeypatch.setenv("FAKE_TENSORRT_GPU", f"9.0 {GPU}")
    built = case.build(target={"gpu": GPU, "compute_capability": "9.0"})
    assert built.summary is not None
    assert built.summary.weighted == {"fp32": 1}
    assert "ComputeCapability.CURRENT" in case.calls("set_compute_capability")[0][0]


def test_an_int8_part_computes_in_int8(case: BuildCase) -> None:
    built = case.build(make_part("int8"))
    assert built.summary is not None
    assert built.summary.weighted == {"int8": 1}


@pytest.mark.parametrize(("asked", "given"), [("fp16", "fp32"), ("int8", "fp32"), ("fp32", "fp16")])
def test_an_engine_in_another_precision_than_its_part_is_refused_and_leaves_nothing(
    asked: Precision, given: Precision, case: BuildCase
) -> None:
    graph = GRAPHS[given].replace("(half_tile, weights)", "(half_tile, half)")
    graph = graph.replace("half_logits = ", "half = Cast <to = 10> (weights) half_logits = ")
    with pytest.raises(EngineError, match=f"is {asked} .* 1 in {given}; expected {asked} to be"):
        case.build(make_part(asked), graph=graph)
    assert case.left() == []


def test_a_graph_with_other_outputs_than_the_manifest_is_refused(case: BuildCase) -> None:
    part = make_part()
    (logits,) = part.outputs
    with pytest.raises(EngineError, match=r"reads part 'aerial' with the output 'logits' as FLOAT"):
        case.build(replace(part, outputs=(replace(logits, dtype="uint8"),)))
    assert case.left() == []


def test_what_the_parser_says_is_told_in_one_line(case: BuildCase) -> None:
    graph = GRAPHS["fp32"].replace("Cast <to = 1> (tile)", "Transpose (tile)")
    with pytest.raises(EngineError) as caught:
        case.build(graph=graph)
    message = str(caught.value)
    assert message.startswith("tensorrt 10.3.0 cannot read part 'aerial' for sm_89 (In node")
    assert "operator: Transpose" in message
    assert "; expected a graph of operators and types that it has; " in message
    assert "\n" not in message
    assert case.left() == []


FAILURES = {
    "the builder's words": (
        "build_serialized_network:Error Code 9: Internal Error (Skipped: no tactic)",
        "cannot build part 'aerial' for sm_89 (Error Code 9: Internal Error (Skipped: no tactic)); "
        "expected an engine; see `segx doctor`",
    ),
    "too little workspace": (
        "build_serialized_network:Could not find any implementation for node a due to insufficient "
        "workspace. See verbose log for requested sizes.",
        "; expected more than 4096 MiB of workspace; give more with `segx export BUNDLE --engine "
        "tensorrt --workspace MIB`",
    ),
    "no words": (
        "build_serialized_network",
        "cannot build part 'aerial' for sm_89 (Invalid Engine. Please ensure the engine was built "
        "correctly); expected an engine",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_the_builder_says_is_told_in_one_line(
    failure: str, case: BuildCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails, message = FAILURES[failure]
    monkeypatch.setenv("FAKE_TENSORRT_FAIL", fails)
    with pytest.raises(EngineError) as caught:
        case.build()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert case.left() == []


def test_without_a_gpu_tensorrt_says_so(case: BuildCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_GPU", "none")
    with pytest.raises(EngineError, match="CUDA initialization failure with error: 35"):
        case.build()


def test_another_version_than_the_engine_is_for_is_refused(case: BuildCase) -> None:
    with pytest.raises(EngineError, match=r"tensorrt 10.3.0 is installed; expected 10.4.0, which"):
        case.build(target={"builder_version": "10.4.0"})


def test_a_builder_that_is_not_installed_is_named(case: BuildCase) -> None:
    with pytest.raises(BackendError, match=r"tensorrt_rtx cannot be imported .*; expected"):
        case.build(target={"builder": "tensorrt-rtx"})


def test_a_target_that_the_builder_does_not_have_is_refused(case: BuildCase) -> None:
    with pytest.raises(EngineError, match="builds for the GPU that it runs on; expected a build"):
        case.build(target={"gpu": "any"})


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("create_engine_inspector", "TensorRT gave no inspector"),
        ("get_engine_information", "TensorRT's description of an engine"),
    ],
)
def test_layers_that_cannot_be_read_are_a_note(
    call: str, why: str, case: BuildCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_FAIL", call)
    built = case.build()
    assert built.summary is None
    (note,) = built.notes
    assert note.startswith(f"the engine's layers are not known: {why}")


def test_an_engine_that_cannot_be_opened_on_its_own_gpu_is_a_note(
    case: BuildCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_FAIL", "deserialize_cuda_engine:OutOfMemory")
    built = case.build()
    assert built.summary is None
    assert built.notes == ("the engine's layers are not known: OutOfMemory",)
    assert case.left() == ["aerial.engine"]


def test_damaged_timings_are_a_note_and_not_the_cause_of_what_fails_later(
    case: BuildCase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    timings = case.folder / "timing.cache"
    timings.write_bytes(b"damaged")
    monkeypatch.setenv("FAKE_TENSORRT_FAIL", "build_serialized_network:Error Code 9: the cause")
    with pytest.raises(EngineError, match=r"for sm_89 \(Error Code 9: the cause\); expected"):
        case.build(timing_cache=timings)
    monkeypatch.delenv("FAKE_TENSORRT_FAIL")
    (note,) = case.build(timing_cache=timings).notes
    assert note.startswith(f"timings are started anew: {timings} cannot be used (")
    assert "The timing cache will not be used!" in note
    assert note in caplog.text
    assert timings.read_bytes() != b"damaged"
    assert case.left() == ["aerial.engine"]
