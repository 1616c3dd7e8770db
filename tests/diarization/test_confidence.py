"""Confidence of turns: what it must do, on conversations whose truth is known."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from sdpn.clustering.recording_model import fit_recording
from sdpn.clustering.registry import CLUSTERERS, make_clusterer
from sdpn.diarization.confidence import FEATURES, RIGHT_ODDS, turn_confidence, turn_features, windows_of
from sdpn.diarization.embedded import EmbeddedRecording
from sdpn.diarization.forecast import FEATURES as FORECAST_FEATURES
from sdpn.diarization.forecast import MEAN, SCALE, WEIGHTS, forecast_der, recording_features
from sdpn.diarization.pipeline import label_recording, labelled_by
from sdpn.diarization.timeline import LabelledSpan, label_speech
from sdpn.verification.similarity import cosine
from tests.editing.test_edit import recording

PEOPLE = [0, 1, 0, 2, 1, 0, 2, 1]


def confidence_of(embedded: EmbeddedRecording, people: list[int]) -> list[float]:
    """Of turns with these speakers."""
    labels_N = np.array(people)[embedded.windows.segment_N]
    spans = label_speech(embedded.speech, embedded.windows, labels_N, max_pause_s=0.3)
    return turn_confidence(turn_features(embedded, labels_N, spans, None))


def test_numbers_fit_the_features() -> None:
    assert RIGHT_ODDS.shape == (len(FEATURES),) and RIGHT_ODDS.any()
    assert WEIGHTS.shape == MEAN.shape == SCALE.shape == (len(FORECAST_FEATURES),)


def test_a_wrong_turn_is_the_least_sure() -> None:
    embedded = recording(PEOPLE)
    right = confidence_of(embedded, PEOPLE)
    assert min(right) > 0.8
    wrong = [*PEOPLE]
    wrong[3] = 0  # said by 2
    sure = confidence_of(embedded, wrong)
    assert np.argmin(sure) == 3 and sure[3] < 0.5 < min(sure[:3] + sure[4:])


def test_voices_that_are_alike_are_less_sure() -> None:
    rng = np.random.default_rng(1)
    clear = recording(PEOPLE)
    noisy = replace(clear, emb_ND=clear.emb_ND + 0.3 * rng.standard_normal(clear.emb_ND.shape))
    assert np.mean(confidence_of(noisy, PEOPLE)) < np.mean(confidence_of(clear, PEOPLE))


def test_the_scale_of_embeddings_plays_no_part() -> None:
    embedded = recording(PEOPLE)
    again = replace(embedded, emb_ND=embedded.emb_ND * 32)
    np.testing.assert_allclose(confidence_of(again, PEOPLE), confidence_of(embedded, PEOPLE), rtol=1e-6)


@pytest.mark.parametrize("method", CLUSTERERS)
def test_every_clusterer_gives_confidence(method: str) -> None:
    labelled = label_recording(recording(PEOPLE), make_clusterer(method))
    tracks = [track for _, track in labelled.annotation.itertracks()]
    assert sorted(labelled.confidence) == sorted(tracks)
    assert all(0.0 < chance < 1.0 for chance in labelled.confidence.values())
    assert (
        labelled.forecast is not None
        and labelled.forecast.low <= labelled.forecast.der <= labelled.forecast.high
    )


@pytest.mark.parametrize("people", [[0], [0, 0, 0], [0, 1]])
def test_little_to_compare_with(people: list[int]) -> None:
    """One turn, one speaker, two turns: no NaN, and no certainty."""
    embedded = recording(people)
    labelled = labelled_by(embedded, np.array(people)[embedded.windows.segment_N], counts=None)
    assert all(0.0 < chance < 1.0 for chance in labelled.confidence.values())
    assert labelled.forecast is not None and np.isfinite(labelled.forecast.high)


def test_windows_of_turns() -> None:
    times_N2 = np.array([[0.0, 1.5], [0.75, 2.25], [1.5, 3.0], [5.0, 6.5]])
    first_S, last_S = windows_of(times_N2, np.array([[0.0, 2.0], [2.0, 3.0], [3.5, 4.0], [5.0, 6.5]]))
    assert first_S.tolist() == [0, 2, 2, 3] and last_S.tolist() == [2, 3, 3, 4]


def test_how_steady_a_turn_is_by_hand() -> None:
    """A turn of one label, one of which a window is another's, and one that has a single window."""
    embedded = recording(PEOPLE)
    times_N2, rows_ND = embedded.windows.times_N2, cosine(embedded.emb_ND).features_NF
    labels_N = np.array(PEOPLE)[embedded.windows.segment_N]
    second = np.flatnonzero(embedded.windows.segment_N == 1)
    labels_N[second[2]] = 0
    spans = [
        LabelledSpan(start, end, label)
        for start, end, label in ((0.0, 6.0, 0), (7.0, 13.0, 1), (14.0, 14.9, 0))
    ]
    features_SF = turn_features(embedded, labels_N, spans, None)
    model = fit_recording(cosine(embedded.emb_ND), times_N2)
    for span, row_F in zip(spans, features_SF, strict=True):
        centres_N = times_N2.mean(axis=1)
        (inside,) = np.nonzero((span.start_s <= centres_N) & (centres_N < span.end_s))
        cosines = [
            rows_ND[one] @ rows_ND[other]
            for one, other in itertools.pairwise(inside)
            if labels_N[one] == labels_N[other]
        ]
        mean = np.mean(cosines) if cosines else model.within
        unsteady = (model.within - mean) / (model.within - model.between)
        assert row_F[FEATURES.index("unsteady")] == pytest.approx(np.clip(unsteady, -1.0, 3.0))


def test_a_recording_that_is_unlike_all_others_is_warned_of() -> None:
    embedded = recording(PEOPLE)
    labels_N = np.array(PEOPLE)[embedded.windows.segment_N]
    spans = label_speech(embedded.speech, embedded.windows, labels_N, max_pause_s=0.3)
    features_SF = turn_features(embedded, labels_N, spans, None)
    sure = turn_confidence(features_SF)
    usual_F = recording_features(embedded, spans, features_SF, sure, None)
    assert np.isfinite(usual_F).all() and usual_F[0] == 1.0
    # sixty hours of which a minute is speech, 60 dB above the pauses
    strange = replace(
        embedded,
        duration_s=216_000.0,
        level_db_T=np.where(np.arange(5000) % 9 < 4, 0, -120).astype(np.int8),
    )
    found = forecast_der(strange, spans, features_SF, sure, None)
    assert found.unusual > forecast_der(embedded, spans, features_SF, sure, None).unusual
    assert found.warning is None or "is unlike" in found.warning
