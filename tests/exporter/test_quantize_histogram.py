import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from exporter.quantize_histogram import BINS, Histogram, entropy_threshold, merge_histogram

WIDTHS = st.lists(st.floats(2.0**-20, 2.0**20), min_size=1, max_size=8)


def values(widths: list[float], seed: int = 0) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return [(w * rng.uniform(-1, 1, 300)).astype(np.float32) for w in widths]


def counted(samples: list[NDArray[np.float32]]) -> Histogram:
    limit = float(np.abs(samples[0]).max())
    counts, edges = np.histogram(samples[0], BINS, range=(-limit, limit))
    found: Histogram = (counts, edges, samples[0].min(), samples[0].max(), limit)
    for sample in samples[1:]:
        found = merge_histogram(
            found, sample, sample.min(), sample.max(), float(np.abs(sample).max())
        )
    return found


@given(WIDTHS)
def test_every_value_is_counted_in_a_fixed_number_of_bins(widths: list[float]) -> None:
    samples = values(widths)
    counts, edges, low, high, limit = counted(samples)
    everything = np.concatenate(samples)
    assert (len(counts), len(edges)) == (BINS, BINS + 1)
    assert counts.sum() == everything.size
    assert (low, high) == (everything.min(), everything.max())
    assert np.abs(everything).max() <= limit


@given(WIDTHS)
def test_bins_are_those_of_one_pass_over_the_final_range(widths: list[float]) -> None:
    samples = values(widths)
    counts, _, _, _, limit = counted(samples)
    expected, _ = np.histogram(np.concatenate(samples), BINS, range=(-limit, limit))
    # A value on an edge may be rounded into the bin beside it.
    assert np.abs(np.cumsum(counts) - np.cumsum(expected)).max() <= 3


def test_a_blank_first_sample_costs_nothing() -> None:
    samples = [np.zeros(300, dtype=np.float32), *values([1e-30, 5.0])]
    counts, _, _, _, limit = counted(samples)
    assert len(counts) == BINS
    assert counts.sum() == 900
    assert 2.5 < limit < 10.0


def threshold(numbers: NDArray[np.float64]) -> float:
    limit = float(np.abs(numbers).max())
    return entropy_threshold(np.histogram(numbers, BINS, range=(-limit, limit))[0], limit)


DRAWN = np.random.default_rng(7).normal(size=200_000)


@pytest.mark.parametrize(
    "numbers",
    [np.linspace(-3.0, 3.0, 100_001), np.clip(4 * DRAWN, 0.0, 6.0)],
    ids=["flat", "relu6"],
)
def test_numbers_without_a_tail_are_not_cut(numbers: NDArray[np.float64]) -> None:
    assert threshold(numbers) == np.abs(numbers).max()


def test_a_long_tail_is_cut_and_a_normal_distribution_hardly() -> None:
    assert 0.8 * np.abs(DRAWN).max() < threshold(DRAWN) <= np.abs(DRAWN).max()
    tail = np.append(DRAWN, [100.0])
    assert 4.0 < threshold(tail) < 20.0


def test_zeros_after_a_relu_do_not_move_the_range() -> None:
    positive = np.abs(DRAWN)
    padded = np.append(positive, np.zeros(10 * len(positive)))
    assert threshold(padded) == pytest.approx(threshold(positive), rel=0.02)


@pytest.mark.parametrize("factor", [1e-6, 0.3, 1e5])
def test_the_range_scales_with_the_numbers(factor: float) -> None:
    numbers = DRAWN[:5000]
    counts = np.histogram(numbers, BINS, range=(-5.0, 5.0))[0]
    assert entropy_threshold(counts, 5.0 * factor) == pytest.approx(
        factor * entropy_threshold(counts, 5.0)
    )


def test_the_sign_does_not_matter() -> None:
    counts = np.histogram(np.append(DRAWN, [30.0] * 9), BINS, range=(-30.0, 30.0))[0]
    assert entropy_threshold(counts, 30.0) == entropy_threshold(counts[::-1], 30.0)


def test_nothing_but_zeros_has_the_whole_range() -> None:
    counts = np.zeros(BINS, dtype=np.int64)
    counts[BINS // 2] = 5
    assert entropy_threshold(counts, 0.5) == 0.5
