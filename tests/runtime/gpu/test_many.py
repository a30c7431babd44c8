"""Feeds in a row: in order, overlapping, and safe to break off."""

from collections.abc import Iterator

import pytest
from fake_gpu import FakeGpu
from gpu_case import Arrays, GpuCase, check_arrays, random_feed, reference, varied_feeds

from runtime.bundle import Bundle
from runtime.gpu.model import GpuModel

RESULTS = {"classes", "confidence"}


def run_ahead(gpu: FakeGpu) -> None:
    """Do all that is enqueued, as a real device would meanwhile."""
    for stream in list(gpu.scheduler.streams.values()):
        gpu.scheduler.drain(stream)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_many_feeds_give_their_results_in_order(count: int, model: GpuModel, small: Bundle) -> None:
    feeds = varied_feeds(small, count)
    results = [
        {name: values.copy() for name, values in result.items()}
        for result in model.run_many(iter(feeds))
    ]
    assert len(results) == count
    for result, feed in zip(results, feeds, strict=True):
        check_arrays(result, reference(small, feed))


def test_a_result_stays_while_the_next_feed_is_computed(
    case: GpuCase, model: GpuModel, small: Bundle
) -> None:
    feeds = varied_feeds(small, 5)
    for feed, result in zip(feeds, model.run_many(feeds), strict=True):
        run_ahead(case.gpu)
        check_arrays(result, reference(small, feed))


def test_a_feed_is_read_before_the_next_one_is_asked_for(model: GpuModel, small: Bundle) -> None:
    feeds = varied_feeds(small, 4)
    expected = [reference(small, feed) for feed in feeds]

    def one_buffer() -> Iterator[Arrays]:
        for feed in feeds:
            yield feed
            for values in feed.values():
                values.fill(0)

    for right, result in zip(expected, model.run_many(one_buffer()), strict=True):
        check_arrays(result, right)


def test_a_result_is_waited_for_only_when_the_next_feed_is_on_its_way(
    case: GpuCase, model: GpuModel, small: Bundle
) -> None:
    feeds = varied_feeds(small, 5)
    names = [spec.name for spec in model.inputs]
    case.gpu.calls.clear()
    for _ in model.run_many(feeds):
        pass
    order = [call.name for call in case.gpu.calls]
    uploads = [at for at, name in enumerate(order) if name == "cuMemcpyHtoDAsync"]
    downloads = [at for at, name in enumerate(order) if name == "cuMemcpyDtoHAsync"]
    waits = [at for at, name in enumerate(order) if name == "cuEventSynchronize"]
    assert len(waits) == len(feeds)
    assert len(uploads) == len(names) * len(feeds)
    for feed, wait in enumerate(waits[:-1]):
        assert uploads[len(names) * (feed + 2) - 1] < wait, f"upload {feed + 1}"
        assert downloads[len(RESULTS) * (feed + 2) - 1] < wait, f"download {feed + 1}"
    assert "cuStreamSynchronize" not in order


def test_an_error_in_the_feeds_leaves_a_model_that_runs(
    case: GpuCase, model: GpuModel, small: Bundle
) -> None:
    feeds = varied_feeds(small, 4)

    def broken() -> Iterator[Arrays]:
        yield from feeds[:3]
        raise ZeroDivisionError

    results = model.run_many(broken())
    for feed in feeds[:2]:
        check_arrays(next(results), reference(small, feed))
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert "queued jobs" not in case.gpu.live()
    for feed, result in zip(feeds, model.run_many(feeds), strict=True):
        check_arrays(result, reference(small, feed))


def test_results_that_nobody_takes_leave_a_model_that_runs(
    case: GpuCase, model: GpuModel, small: Bundle
) -> None:
    feeds = varied_feeds(small, 4)
    stream = model.run_many(feeds)
    next(stream)
    assert "queued jobs" in case.gpu.live()
    del stream
    assert "queued jobs" not in case.gpu.live()
    check_arrays(model.run(feeds[3]), reference(small, feeds[3]))


def test_a_run_amid_many_is_refused_rather_than_mixed_up(model: GpuModel, small: Bundle) -> None:
    feeds = varied_feeds(small, 3)
    stream = model.run_many(feeds)
    check_arrays(next(stream), reference(small, feeds[0]))
    for call in (model.run, model.trace, lambda feed: next(model.run_many([feed]))):
        with pytest.raises(ValueError, match="run_many has all slots"):
            call(feeds[0])
    check_arrays(next(stream), reference(small, feeds[1]))
    check_arrays(next(stream), reference(small, feeds[2]))
    assert next(stream, None) is None
    check_arrays(model.run(feeds[0]), reference(small, feeds[0]))


def test_closing_waits_for_what_is_on_its_way(case: GpuCase, small: Bundle) -> None:
    model = case.open(small)
    feeds = [random_feed(small, seed=seed) for seed in range(3)]
    stream = model.run_many(feeds)
    next(stream)
    case.gpu.calls.clear()
    model.close()
    order = [call.name for call in case.gpu.calls]
    waits = [at for at, name in enumerate(order) if name == "cuStreamSynchronize"]
    gone = [at for at, name in enumerate(order) if "Free" in name or "Destroy" in name]
    assert len(waits) == 3
    assert max(waits) < min(gone)
    assert case.left() == {}
    case.gpu.calls.clear()
    with pytest.raises(ValueError, match="closed"):
        next(stream)
    assert case.gpu.calls == []
