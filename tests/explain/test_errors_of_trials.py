"""The worst errors of a trial list."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdpn.errors import InputError
from sdpn.explain.errors_of_trials import error_sections, explain_trials
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.page import ExplainPage
from sdpn.io.trials import read_trials
from tests.explain.conftest import write_voices


def test_the_worst_errors_are_explained(spectral: ExplainedNetwork, tmp_path: Path) -> None:
    utterances = write_voices(tmp_path, [0, 2, 4], 3, seconds=1.0)
    names = [utterance.id for utterance in utterances]
    pairs = [(a, b) for a in names for b in names if a < b]
    right = [f"{int(a[:2] == b[:2])} {a} {b}\n" for a, b in pairs]
    right[0] = f"0 {' '.join(pairs[0])}\n"  # the same voice, which the list denies
    (tmp_path / "trials").write_text("".join(right))
    found = explain_trials(spectral, read_trials(tmp_path / "trials"), utterances, worst=1)
    accept = next(one for one in found.errors if one.kind == "false accept")
    assert accept.score >= found.threshold
    assert {side.hearing.name for side in (accept.pair.first, accept.pair.second)} == set(pairs[0])
    assert accept.neighbours[0][0][1] >= accept.neighbours[0][1][1]
    page = ExplainPage("error", error_sections(accept, found.threshold)).html()
    assert "Nearest to" in page and "False accept" in page
    (tmp_path / "trials").write_text("1 v0-0 v0-1\n0 v0-0 stranger\n")
    with pytest.raises(InputError, match="'stranger'"):
        explain_trials(spectral, read_trials(tmp_path / "trials"), utterances)
