"""One utterance: its figures, and the warnings that they give."""

from __future__ import annotations

import numpy as np

from sdpn.explain.hearing import Hearing
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.utterance import MapFigures, explain_utterance, utterance_section
from tests.explain.conftest import voice


def test_a_map_that_fails_on_its_utterance_says_so(spectral: ExplainedNetwork) -> None:
    hearing = Hearing("u", voice(0, 1.6, 0), spectral)
    found = explain_utterance(spectral, hearing, methods=["occlusion"])
    assert found.figures["occlusion"].faults == []
    assert utterance_section(found).warnings == []
    found.figures["occlusion"] = MapFigures(0.6, 0.4, 0.5, 1.0, randomised=0.9)
    (warning,) = utterance_section(found).warnings
    assert "is not to be trusted here" in warning and warning.count(";") == 2
    assert MapFigures(0.4, 0.6, 0.5, 1.0, randomised=0.2).faults == []


def test_the_reason_is_in_the_results(spectral: ExplainedNetwork) -> None:
    found = explain_utterance(
        spectral, Hearing("u", voice(1, 1.6, 0), spectral), methods=["cam"], thorough=True
    )
    methods = found.to_dict()["methods"]
    assert isinstance(methods, dict) and methods["cam"]["adversarial"]["score"] <= 1.001
    assert methods["cam"]["adversarial"]["adversarial_score"] < methods["cam"]["adversarial"]["score"]
    assert np.isfinite(methods["cam"]["stability"])
