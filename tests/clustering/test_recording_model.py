"""The model of a recording from windows that touch."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.clustering.recording_model import fit_recording, touching_similarities
from sdpn.clustering.two_gaussians import fit_to_pairs
from sdpn.verification.similarity import cosine
from tests.clustering.conversations import conversation


def test_touching_windows_share_no_sample_and_follow_within_a_second() -> None:
    """Windows of 1.5 s every 0.75 s, then one after a pause of 2 s: by hand."""
    times = np.array([[0.0, 1.5], [0.75, 2.25], [1.5, 3.0], [2.25, 3.75], [5.75, 7.25]])
    rows = np.eye(5)
    rows[2] = rows[0]  # touches window 0
    rows[3] = [0.0, 0.6, 0.0, 0.8, 0.0]  # touches window 1, and begins 0.75 s after window 0
    assert touching_similarities(rows, times) == pytest.approx([1.0, 0.6, 0.0])


def test_the_similarity_within_a_speaker_where_the_mixture_cannot_find_it() -> None:
    """Many speakers whose similarities overlap, as over a telephone: within 0.66, between 0.52."""
    emb, times, truth = conversation([30] * 6, within=0.66, between=0.52, seed=0)
    found = fit_recording(cosine(emb), times)
    similarity = cosine(emb).matrix()
    apart = np.abs(np.subtract.outer(np.arange(len(emb)), np.arange(len(emb)))) > 1
    same = truth[:, None] == truth
    within, between = similarity[same & apart].mean(), similarity[~same].mean()
    assert found.within == pytest.approx(within, abs=0.04)
    assert found.between == pytest.approx(between, abs=0.06)


def test_without_times_it_is_the_mixture() -> None:
    emb, times, _ = conversation([40, 40], within=0.6, between=0.1, seed=1)
    fit = fit_to_pairs(cosine(emb), iterations=200)
    for found in (fit_recording(cosine(emb), None), fit_recording(cosine(emb[:6]), 100 * times[:6])):
        assert found.within - found.between >= 0.1 - 1e-12
    assert fit_recording(cosine(emb), None).within == pytest.approx(fit.high_mean)


def test_one_speaker_is_taken_for_one_by_what_two_usually_are() -> None:
    """The lower half of his pairs is no second speaker: the prior says how far one would be."""
    emb, times, _ = conversation([80], within=0.6, between=0.1, seed=2)
    found = fit_recording(cosine(emb), times)
    usual = (found.within - 0.38) / (1 - 0.38)
    assert found.between == pytest.approx(usual, abs=0.05)
    lower_half = fit_to_pairs(cosine(emb), iterations=200).low_mean
    assert found.within - found.between > 1.5 * (found.within - lower_half)
