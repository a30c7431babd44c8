"""A bundle on the GPU: right results in the right order, from any thread, and nothing left."""

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from gpu_case import (
    TENSORRT_RTX,
    VERSIONS,
    Arrays,
    GpuCase,
    check_arrays,
    random_feed,
    reference,
    varied_feeds,
)

from runtime.bundle import Bundle, open_bundle
from runtime.errors import EngineError, FeedError
from runtime.gpu.driver import CudaName
from runtime.gpu.model import GpuModel
from runtime.manifest import Variant

RESULTS = {"classes", "confidence"}


@pytest.mark.parametrize("variant", ["classes", "probabilities"])
@pytest.mark.parametrize("cuda", ["cuda-python", "pycuda"])
@pytest.mark.parametrize("version", VERSIONS)
def test_results_are_those_of_the_graphs_on_every_library(
    version: str,
    cuda: CudaName,
    variant: Variant,
    small: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    case = GpuCase.install(monkeypatch, tmp_path, version=version, cuda=cuda)
    names = RESULTS if variant == "classes" else {"probabilities"}
    feeds = varied_feeds(small, 5)
    expected = [reference(small, feed, variant=variant) for feed in feeds]
    with closing(case.open(small, variant=variant, batch=3)) as model:
        for result, right in zip(model.run_many(feeds), expected, strict=True):
            assert set(result) == names
            check_arrays(result, right)
        result = model.run(feeds[1])
        assert set(result) == names
        check_arrays(result, expected[1])
        traced = model.trace(feeds[2])
        assert set(traced) == {spec.name for part in model.parts for spec in part.outputs}
        check_arrays(traced, expected[2])
    assert case.trt.missing == []
    assert case.notes == []
    assert case.left() == {}


def test_a_model_without_satellite_has_two_parts(
    case: GpuCase, write_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_bundle(tmp_path / "single.segx", tile=16, halo=4, satellite=False)
    bundle = open_bundle(path)
    feed = random_feed(bundle)
    with closing(case.open(bundle)) as model:
        check_arrays(model.run(feed), reference(bundle, feed))
        assert [spec.name for spec in model.inputs] == ["aerial"]


def test_the_inputs_are_told_with_the_largest_batch(model: GpuModel) -> None:
    shapes = {spec.name: spec.shape for spec in model.inputs}
    assert shapes["aerial"] == (3, 5, 16, 16)
    assert set(shapes) == {"aerial", "satellite", "date_mask", "days"}


@pytest.mark.parametrize(
    ("precision", "executed"), [("fp32", "fp32"), ("fp16", "fp16"), ("int8", "int8+fp16")]
)
def test_the_precision_is_that_of_the_graphs(
    precision: str,
    executed: str,
    case: GpuCase,
    write_bundle: Callable[..., Path],
    tmp_path: Path,
) -> None:
    path = write_bundle(tmp_path / "p.segx", tile=16, halo=4, window=4, precision=precision)
    with closing(case.open(open_bundle(path))) as model:
        assert model.precision == executed


def test_only_inputs_go_to_the_device_and_only_results_come_back(
    case: GpuCase, model: GpuModel, small: Bundle
) -> None:
    case.gpu.calls.clear()
    model.run(random_feed(small))
    assert len(case.gpu.called("cuMemcpyHtoDAsync")) == 4
    assert len(case.gpu.called("cuMemcpyDtoHAsync")) == len(RESULTS)
    assert case.gpu.called("cuMemcpyDtoDAsync") == []


def test_given_outputs_go_to_the_device_on_the_stream_of_the_parts(
    case: GpuCase, model: GpuModel, small: Bundle
) -> None:
    feed = random_feed(small)
    expected = reference(small, feed)
    given = {"aerial": feed["aerial"], "satellite_logits": expected["satellite_logits"]}
    for _ in range(2):
        check_arrays(model.run(given), expected)  # each slot takes what it needs once
    case.gpu.calls.clear()
    case.trt.calls.clear()
    check_arrays(model.run(given), expected)
    uploads = case.gpu.called("cuMemcpyHtoDAsync")
    runs = case.trt.called("execute_async_v3")
    assert len(uploads) == len(runs) == 2
    assert uploads[1].args[3] == runs[0].args[0] != uploads[0].args[3]
    names = {call.name for call in case.gpu.calls}
    assert not {name for name in names if "Alloc" in name or "Create" in name}


def test_a_part_that_is_not_run_has_no_time(model: GpuModel, small: Bundle) -> None:
    feed = random_feed(small, batch=2)
    logits = reference(small, feed)["satellite_logits"]
    model.run({"aerial": feed["aerial"], "satellite_logits": logits})
    assert list(model.stage_ms) == ["upload", "aerial", "fusion", "download"]
    assert set(model.part_seconds) == {"aerial", "fusion"}


def test_a_result_that_is_given_is_not_given_back(model: GpuModel, small: Bundle) -> None:
    feed = random_feed(small)
    expected = reference(small, feed)
    maps = {name: expected[name] for name in RESULTS}
    assert model.run({**feed, **maps}) == {}
    traced = model.trace({**feed, **maps})
    assert set(traced) == {"aerial_logits", "satellite_logits"}
    check_arrays(traced, expected)


def test_upload_parts_and_download_have_streams_of_their_own(
    case: GpuCase, model: GpuModel, small: Bundle
) -> None:
    case.gpu.calls.clear()
    model.run(random_feed(small))
    up = {call.args[3] for call in case.gpu.called("cuMemcpyHtoDAsync")}
    down = {call.args[3] for call in case.gpu.called("cuMemcpyDtoHAsync")}
    run = {call.args[0] for call in case.trt.called("execute_async_v3")}
    assert len(up) == len(down) == len(run) == 1
    assert len(up | down | run) == 3


def test_nothing_is_allocated_while_running(case: GpuCase, model: GpuModel, small: Bundle) -> None:
    case.gpu.calls.clear()
    for _ in model.run_many(varied_feeds(small, 4)):
        pass
    names = {call.name for call in case.gpu.calls}
    assert not {name for name in names if "Alloc" in name or "Create" in name}


def test_results_of_a_run_belong_to_the_caller(case: GpuCase, small: Bundle) -> None:
    feeds = varied_feeds(small, 2)
    model = case.open(small, batch=3)
    first, traced = model.run(feeds[0]), model.trace(feeds[0])
    model.run(feeds[1])
    model.close()
    check_arrays(first, reference(small, feeds[0]))
    check_arrays(traced, reference(small, feeds[0]))


@pytest.mark.parametrize("batch", [0, 4])
def test_a_feed_of_another_number_of_tiles_is_refused(
    batch: int, model: GpuModel, small: Bundle
) -> None:
    with pytest.raises(FeedError, match=rf"{batch} tiles; expected 1 to 3"):
        model.run(random_feed(small, batch=batch))


def drop(feed: Arrays) -> None:
    del feed["days"]


def retype(feed: Arrays) -> None:
    feed["aerial"] = feed["aerial"].astype(np.float32)


def crop(feed: Arrays) -> None:
    feed["aerial"] = feed["aerial"][:, :, 1:]


def shorten(feed: Arrays) -> None:
    feed["date_mask"] = feed["date_mask"][:1]


def flatten(feed: Arrays) -> None:
    feed["aerial"] = np.array(1, np.uint8)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (drop, "'days' is missing"),
        (retype, "'aerial' is float32"),
        (crop, r"'aerial' has shape \(2, 5, 15, 16\)"),
        (shorten, r"'date_mask' has shape \(1, 12\)"),
        (flatten, r"'aerial' has shape \(\)"),
    ],
)
def test_a_feed_that_does_not_match_is_refused(
    change: Callable[[Arrays], None], found: str, case: GpuCase, model: GpuModel, small: Bundle
) -> None:
    feed = random_feed(small, batch=2)
    change(feed)
    case.gpu.calls.clear()
    for run in (model.run, model.trace, lambda feed: list(model.run_many([feed]))):
        with pytest.raises(FeedError, match=found):
            run(feed)
    assert case.gpu.called("cuMemcpyHtoDAsync") == []
    right = random_feed(small)
    check_arrays(model.run(right), reference(small, right))


def test_arrays_that_no_part_takes_are_passed_over(model: GpuModel, small: Bundle) -> None:
    feed = random_feed(small)
    expected = reference(small, feed)
    check_arrays(model.run({**feed, "more": feed["days"]}), expected)


def test_arrays_of_any_layout_are_taken(model: GpuModel, small: Bundle) -> None:
    feed = random_feed(small, batch=2)
    strided = {name: np.asfortranarray(values) for name, values in feed.items()}
    strided["aerial"] = feed["aerial"][::-1]
    feed["aerial"] = feed["aerial"][::-1].copy()
    check_arrays(model.run(strided), reference(small, feed))


def test_a_run_that_fails_midway_leaves_nothing_on_its_way(
    case: GpuCase, model: GpuModel, small: Bundle
) -> None:
    feed = random_feed(small)
    case.trt.fail("execute_async_v3", returns=False, after=1)
    with pytest.raises(EngineError, match="refused to run part 'satellite'"):
        model.run(feed)
    assert "queued jobs" not in case.gpu.live()
    case.trt.heal()
    check_arrays(model.run(feed), reference(small, feed))


def test_threads_are_served_one_at_a_time_with_their_own_results(
    case: GpuCase, model: GpuModel, small: Bundle
) -> None:
    feeds = varied_feeds(small, 6)
    wrong: list[object] = []

    def work(feed: Arrays) -> None:
        try:
            expected = reference(small, feed)
            for _ in range(5):
                check_arrays(model.run(feed), expected)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(feed,)) for feed in feeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert "pushed contexts" not in case.gpu.live()


def test_another_thread_may_use_and_close_a_model(case: GpuCase, small: Bundle) -> None:
    model = case.open(small)
    feed = random_feed(small)
    results: list[Arrays] = []

    def work() -> None:
        results.append(model.run(feed))
        model.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    check_arrays(results[0], reference(small, feed))
    assert case.left() == {}


def test_the_caller_s_own_context_is_current_afterwards(
    case: GpuCase, model: GpuModel, small: Bundle
) -> None:
    for _ in model.run_many(varied_feeds(small, 3)):
        assert case.gpu.current == 0
    model.run(random_feed(small))
    assert case.gpu.current == 0


def test_a_closed_model_does_not_run(case: GpuCase, small: Bundle) -> None:
    model = case.open(small)
    model.close()
    model.close()
    feed = random_feed(small)
    for call in (model.run, model.trace, lambda feed: list(model.run_many([feed]))):
        with pytest.raises(ValueError, match="closed"):
            call(feed)
    assert case.left() == {}


def test_times_are_added_up_by_stage(model: GpuModel, small: Bundle) -> None:
    assert model.stage_ms == model.part_seconds == {}
    feed = random_feed(small)
    model.run(feed)
    once = dict(model.stage_ms)
    assert list(once) == ["upload", "aerial", "satellite", "fusion", "download"]
    assert min(once.values()) > 0
    # The fake device takes a millisecond for each run of an engine.
    assert model.part_seconds == pytest.approx(dict.fromkeys(list(once)[1:4], 0.001))
    for _ in model.run_many([feed, feed]):
        pass
    model.trace(feed)
    for stage, passed in model.stage_ms.items():
        assert passed == pytest.approx(4 * once[stage], rel=0.01), stage
    assert model.part_seconds["fusion"] == pytest.approx(0.004)


@pytest.mark.parametrize(("version", "contexts"), [("10.3.0", 3), (TENSORRT_RTX, 6)])
def test_contexts_are_doubled_only_where_graphs_are_captured(
    version: str,
    contexts: int,
    small: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    case = GpuCase.install(monkeypatch, tmp_path, version=version)
    case.open(small).close()
    assert len(case.trt.called("create_execution_context")) == contexts
    strategies = [call.args[0] for call in case.trt.called("IRuntimeConfig.cuda_graph_strategy=")]
    assert [item.name for item in strategies] == ["WHOLE_GRAPH_CAPTURE"] * (contexts - 3)
