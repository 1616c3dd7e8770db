"""Confusions of a diarization: which stretches they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.explain.confusions import confused_spans, explain_confusions
from sdpn.explain.network import ExplainedNetwork
from sdpn.io.rttm import Turn
from tests.explain.conftest import voice


def _turns(*spans: tuple[float, float, str]) -> list[Turn]:
    return [Turn("m", start_s, end_s - start_s, name) for start_s, end_s, name in spans]


REFERENCE = _turns(
    (0, 4, "ann"), (4, 8, "bob"), (8, 9, "ann"), (9, 9.6, "bob"), (20, 21, "ann"), (20, 21, "bob")
)
HYPOTHESIS = _turns((0, 4, "x"), (4, 6, "y"), (6, 9, "x"), (9, 9.6, "x"), (20, 21, "x"))


def test_spans_are_the_longest_first() -> None:
    spans = confused_spans(REFERENCE, HYPOTHESIS)
    assert [(round(a, 3), round(b, 3), c, d) for a, b, c, d in spans] == [
        (6, 8, "bob", "ann"),
        (9, 9.6, "bob", "ann"),
    ]


def test_a_confusion_is_explained(spectral: ExplainedNetwork, tmp_path: Path) -> None:
    wave_S = np.concatenate([voice(0, 4, 1), voice(3, 4, 2), voice(0, 1, 3), voice(3, 1, 4)])
    soundfile.write(tmp_path / "m.wav", wave_S, 16000)
    reference = [turn for turn in REFERENCE if turn.onset_s < 20]
    first, second = explain_confusions(spectral, tmp_path / "m.wav", reference, HYPOTHESIS[:4])
    assert (first.start_s, first.end_s) == pytest.approx((6, 8))
    assert first.speaker == "bob" and first.similarity > first.similarity_to_other
    assert first.explained.target == "bob rather than ann"
    assert second.end_s - second.start_s == pytest.approx(0.6)
