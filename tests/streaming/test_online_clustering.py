"""Speakers of a stream, on embeddings whose speakers are known."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.clustering.merging import Merging
from sdpn.errors import InputError
from sdpn.streaming.online_clustering import Change, OnlineClustering, OnlineConfig, _best_path
from tests.clustering.conversations import conversation


def followed(
    emb_ND: np.ndarray, times_N2: np.ndarray, *, delay: int = 2, max_speakers: int | None = None
) -> tuple[np.ndarray, np.ndarray, list[Change], OnlineClustering]:
    """Labels as decided ``delay`` windows later, and after all changes."""
    online = OnlineClustering(Merging(), OnlineConfig(), hop_s=0.75, max_speakers=max_speakers)
    first_N, last_N = np.full((2, len(emb_ND)), -1)
    changes: list[Change] = []
    for at, (embedding_D, (start_s, end_s)) in enumerate(zip(emb_ND, times_N2, strict=True)):
        for change in online.add(embedding_D, start_s, end_s):
            centres_N = times_N2[:at].mean(axis=1)
            inside_N = (centres_N > change.start_s) & (centres_N < change.end_s)
            hit_N = np.flatnonzero(inside_N & (last_N[:at] == change.was))
            last_N[hit_N] = change.now
            changes.append(change)
        if at >= delay:
            first_N[at - delay] = last_N[at - delay] = online.decide(at - delay)
    for at in range(len(emb_ND) - delay, len(emb_ND)):
        first_N[at] = last_N[at] = online.decide(at)
    return first_N, last_N, changes, online


def share_right(labels_N: np.ndarray, truth_N: np.ndarray) -> float:
    """Share of windows that have the label that most windows of their speaker have."""
    right = sum(np.bincount(labels_N[truth_N == who]).max() for who in np.unique(truth_N))
    return right / len(truth_N)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_speakers_are_found_and_keep_their_labels(seed: int) -> None:
    emb_ND, times_N2, truth_N = conversation([60, 50, 40], within=0.6, between=0.15, seed=seed)
    first_N, last_N, changes, _ = followed(emb_ND, times_N2)
    assert share_right(first_N, truth_N) > 0.85
    assert share_right(last_N, truth_N) > 0.95
    assert len(np.unique(last_N)) == 3
    # what was never reported as changed is as it was decided
    touched_N = np.zeros(len(truth_N), dtype=bool)
    for change in changes:
        centres_N = times_N2.mean(axis=1)
        touched_N |= (centres_N > change.start_s) & (centres_N < change.end_s)
    np.testing.assert_array_equal(first_N[~touched_N], last_N[~touched_N])


def test_one_speaker_is_one() -> None:
    emb_ND, times_N2, _ = conversation([120], within=0.5, between=0.1, seed=3)
    _, last_N, _, _ = followed(emb_ND, times_N2)
    assert len(np.unique(last_N)) == 1


def test_a_maximum_is_never_exceeded() -> None:
    emb_ND, times_N2, _ = conversation([40, 40, 40, 40], within=0.6, between=0.1, seed=4)
    first_N, last_N, _, _ = followed(emb_ND, times_N2, max_speakers=2)
    assert len(np.unique(first_N)) <= 2
    assert len(np.unique(last_N)) <= 2


def test_memory_is_bounded_and_labels_outlast_it() -> None:
    config = OnlineConfig(recent=60, older=40)
    online = OnlineClustering(Merging(), config, hop_s=0.75)
    emb_ND, times_N2, truth_N = conversation([500, 500], within=0.6, between=0.15, seed=5)
    labels_N = np.full(len(emb_ND), -1)
    for at, (embedding_D, (start_s, end_s)) in enumerate(zip(emb_ND, times_N2, strict=True)):
        online.add(embedding_D, start_s, end_s)
        labels_N[at] = online.decide(at)
        assert online.num_in_memory <= 60 + 40 + 20
    assert online.num_windows == 1000
    assert share_right(labels_N[200:], truth_N[200:]) > 0.98  # with the labels of the beginning
    assert len(np.unique(labels_N[200:])) == 2


def test_best_path_against_every_path() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores_PS, start_S, price = rng.normal(size=(5, 3)), rng.normal(size=3), rng.uniform(0, 1)
        paths = np.array(np.meshgrid(*[range(3)] * 5)).reshape(5, -1).T
        totals = (
            scores_PS[np.arange(5), paths].sum(axis=1)
            + start_S[paths[:, 0]]
            - price * (np.diff(paths, axis=1) != 0).sum(axis=1)
        )
        np.testing.assert_array_equal(_best_path(scores_PS, start_S, price), paths[totals.argmax()])


@pytest.mark.parametrize(
    "wrong",
    [{"new_speaker": 2.0}, {"stay": -1.0}, {"first_s": 0.0}, {"every_s": float("inf")}, {"recent": 3}],
)
def test_wrong_settings(wrong: dict[str, float]) -> None:
    with pytest.raises((ValueError, InputError), match=next(iter(wrong))):
        OnlineConfig(**wrong)  # type: ignore[arg-type]
