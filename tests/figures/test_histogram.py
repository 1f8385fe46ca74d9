"""Quantiles from few numbers: how far off they are, and that they add up."""

import math
import random

import pytest

from mcp_platform.contracts.figures import Histogram


def nearest_rank(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


@pytest.mark.parametrize("middle", [0.5, 20, 1_500, 40_000])
@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_a_quantile_is_at_most_a_tenth_from_the_true_one(middle: float, share: float) -> None:
    chance = random.Random(f"{middle} {share}")
    values = [chance.lognormvariate(math.log(middle), 0.8) for _ in range(3_000)]
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    told = histogram.quantile(share)
    assert told == pytest.approx(nearest_rank(values, share), rel=0.1)
    assert len(histogram.counts) <= 60


def test_what_several_processes_counted_adds_up_to_what_one_would_have_counted() -> None:
    chance = random.Random(5)
    values = [chance.expovariate(1 / 80) for _ in range(1_000)]
    whole, parts = Histogram(), [Histogram() for _ in range(4)]
    for number, value in enumerate(values):
        whole.observe(value)
        parts[number % 4].observe(value)
    added = Histogram()
    for part in parts:
        added.add(Histogram.read(part.stored()))
    assert added.stored() == whole.stored()


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9, -1.0])
def test_what_is_faster_or_slower_than_any_call_counts_at_the_ends(value: float) -> None:
    histogram = Histogram()
    histogram.observe(value)
    told = histogram.quantile(0.5)
    assert told is not None
    assert 0 < told < 2 * 3_600_000


def test_without_calls_there_is_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None
