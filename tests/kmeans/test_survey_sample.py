"""The reservoir: uniform, whatever the order and the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from sdpn.kmeans.survey import UniformSample


def sample_of(rows: np.ndarray, capacity: int, seed: int, *, cuts: list[int] | None = None) -> np.ndarray:
    sample = UniformSample(capacity, seed)
    for block in np.split(rows, cuts or []):
        sample.add(block)
    return sample.rows_MD


def test_every_row_is_as_likely_and_so_is_every_place() -> None:
    rows = np.arange(40, dtype=np.float32)[:, None]
    found = np.stack([sample_of(rows, 8, seed, cuts=[3, 30])[:, 0] for seed in range(2000)])
    assert all(len(set(one)) == 8 for one in found)
    counts = np.bincount(found.astype(int).ravel(), minlength=40)
    assert chisquare(counts).pvalue > 0.001
    early = int((found[:, 0] < 20).sum())  # the first of a sample comes from anywhere in the stream
    assert binomtest(early, 2000).pvalue > 0.001


@pytest.mark.parametrize("cuts", [[1], [39], [5, 6, 7, 20], list(range(1, 40))])
def test_blocks_and_interruptions_do_not_matter(cuts: list[int]) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    sample = UniformSample(6, 1)
    for block in np.split(rows, cuts):
        sample.add(block)
        sample = UniformSample.restore(6, sample.state())
    np.testing.assert_array_equal(sample.rows_MD, sample_of(rows, 6, 1))


def test_fewer_rows_than_it_takes_are_all_there() -> None:
    rows = np.arange(5, dtype=np.float32)[:, None]
    assert sorted(sample_of(rows, 9, 0)[:, 0]) == [0, 1, 2, 3, 4]
    assert UniformSample(9, 0).rows_MD.shape == (0, 0)


def test_samples_of_parts_merge_into_one_of_the_whole() -> None:
    rows = np.arange(60, dtype=np.float32)[:, None]
    found = []
    for seed in range(1500):
        whole = UniformSample(6, 0)
        for part, block in enumerate(np.split(rows, [10])):
            sample = UniformSample(6, [seed, part])
            sample.add(block)
            whole.merge(sample.rows_MD, sample.tags_M)
        found.append(whole.rows_MD[:, 0])
    assert chisquare(np.bincount(np.concatenate(found).astype(int), minlength=60)).pvalue > 0.001
