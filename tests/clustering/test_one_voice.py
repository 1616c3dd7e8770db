"""What is known of an embedding: one person alone stays one, and two who are similar stay two."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.clustering.merging import Merging, count_posterior
from sdpn.clustering.one_voice import WEIGHTS, OneVoice, Shares, tells_voices_apart, two_voices
from sdpn.clustering.recording_model import fit_recording
from sdpn.verification.similarity import cosine
from tests.clustering.conversations import conversation

KNOWN = Merging(same_cosine=0.6, different_cosine=0.0)


def person_of_two_rooms(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows of one person who moves half way: within each half cosines are 0.6, and 0.48 between them."""
    emb, times, _ = conversation([30, 30], within=0.6, between=0.48, seed=seed, turn=30)
    return emb, times


def test_one_person_alone_stays_one() -> None:
    divided = 0
    for seed in range(6):
        emb, times = person_of_two_rooms(seed)
        divided += Merging().fit_predict(emb, times_N2=times).num_speakers > 1
        assert KNOWN.fit_predict(emb, times_N2=times).num_speakers == 1
    assert divided > 3  # the recording itself cannot say so


@pytest.mark.parametrize("windows", [[30, 30], [60, 12], [30, 30, 30], [25, 40, 15, 30]])
@pytest.mark.parametrize("between", [0.0, 0.1, 0.2])
def test_people_who_are_similar_stay_apart(windows: list[int], between: float) -> None:
    emb, times, truth = conversation(windows, within=0.6, between=between, seed=3)
    labels = KNOWN.fit_predict(emb, times_N2=times).labels_N
    assert len(set(labels.tolist())) == len(windows)
    assert (labels[:, None] == labels)[truth[:, None] == truth].mean() > 0.95


def test_shares() -> None:
    known = OneVoice(same=0.6, different=0.1)
    assert known.shares(0.1, 0.6) == pytest.approx(Shares(of_own=0.0, of_usual=0.0))
    assert known.shares(0.6, 0.6) == pytest.approx(Shares(of_own=1.0, of_usual=1.0))
    # in noise, where one voice is 0.35 similar to itself, 0.35 is one voice, but half a usual one
    assert known.shares(0.35, 0.35) == pytest.approx(Shares(of_own=1.0, of_usual=0.5))
    assert known.shares(0.15, 0.1).of_own == pytest.approx(0.5)  # windows hardly alike


def test_log_odds_fall_with_similarity_and_most_from_one_to_two() -> None:
    share = np.linspace(-0.5, 1.5, 21)
    further, second = (two_voices(share, share, is_second) for is_second in (False, True))
    assert (np.diff(further) < 0).all()
    assert (np.diff(second) < np.diff(further)).all()
    assert (second < further).all()
    # far from both bends: the constant, and straight lines with the slopes of the weights
    assert two_voices(-9.0, -9.0, True) == pytest.approx(WEIGHTS.constant, abs=1e-3)
    slope = two_voices(7.0, 0.0, False) - two_voices(8.0, 0.0, False)
    assert slope == pytest.approx(1 / WEIGHTS.by_own, rel=1e-3)


def test_the_posterior_has_them_added_to_what_the_recording_says() -> None:
    emb, times, _ = conversation([30, 45, 20], within=0.55, between=0.15, seed=5)
    model = fit_recording(cosine(emb), times)
    levels, usual = KNOWN.levels(emb, times, model), Merging().levels(emb, times, model)
    for number, level in levels.items():
        np.testing.assert_array_equal(level.labels_N, usual[number].labels_N)
        assert usual[number].shares is None
    ratio = np.diff(np.log(count_posterior(levels, 0.0))) - np.diff(np.log(count_posterior(usual, 0.0)))
    for number in range(2, max(levels) + 1):
        shares = levels[number].shares
        assert shares is not None
        assert ratio[number - 2] == pytest.approx(two_voices(*shares, number == 2), abs=1e-6)
    # at two speakers, the mean cosine between them
    labels, rows = levels[2].labels_N, cosine(emb).features_NF
    similar = float((rows[labels == 0] @ rows[labels == 1].T).mean())
    assert levels[2].shares == pytest.approx(OneVoice(0.6, 0.0).shares(similar, model.within))


def test_equal_input_gives_equal_labels() -> None:
    emb, times, _ = conversation([20, 30, 9, 4], within=0.5, between=0.2, seed=1)
    first, second = (KNOWN.fit_predict(emb, times_N2=times) for _ in range(2))
    np.testing.assert_array_equal(first.labels_N, second.labels_N)
    np.testing.assert_array_equal(first.count_posterior_K, second.count_posterior_K)


def test_a_given_number_is_obeyed() -> None:
    emb, times = person_of_two_rooms(0)
    assert KNOWN.fit_predict(emb, times_N2=times, num_speakers=3).num_speakers == 3
    assert KNOWN.fit_predict(emb, times_N2=times, min_speakers=2).num_speakers == 2


@pytest.mark.parametrize(
    ("same", "different", "said"),
    [
        (0.5, None, "both or neither"),
        (None, 0.1, "both or neither"),
        (0.2, 0.2, "larger"),
        (1.2, 0.1, "larger"),
    ],
)
def test_settings_out_of_range(same: float | None, different: float | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Merging(same_cosine=same, different_cosine=different)


def test_a_network_that_tells_nobody_apart_says_nothing() -> None:
    assert not tells_voices_apart({})
    assert not tells_voices_apart({"same_cosine": 0.6})
    assert not tells_voices_apart({"same_cosine": 0.99, "different_cosine": 0.98})
    assert tells_voices_apart({"same_cosine": 0.385, "different_cosine": 0.008, "ahc_threshold": 0.2})
