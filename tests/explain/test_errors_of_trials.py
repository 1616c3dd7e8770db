"""The worst errors of a trial list."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.explain.errors_of_trials import error_sections, errors_as_csv, explain_trials
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.page import ExplainPage
from sdpn.io.trials import read_trials
from tests.explain.conftest import write_voices


def test_a_given_threshold_and_given_embeddings_decide(spectral: ExplainedNetwork, tmp_path: Path) -> None:
    utterances = write_voices(tmp_path, [0, 2], 2, seconds=0.5)
    vectors = {
        one.id: np.array([1.0, place], dtype=np.float32)
        for one, place in zip(utterances, (0.0, 0.5, 1.0, 2.0), strict=True)
    }
    names = [one.id for one in utterances]
    lines = [f"{int(a[:2] == b[:2])} {a} {b}\n" for a, b in itertools.combinations(names, 2)]
    (tmp_path / "trials").write_text("".join(lines))
    labels = {"language": np.array(["fi", "fi", "fi", ""])}
    found = explain_trials(
        spectral,
        read_trials(tmp_path / "trials"),
        utterances,
        worst=0,
        listed=2,
        threshold=0.7,
        vectors=vectors,
        labels=labels,
    )
    # cosines by hand: targets 0.894 and 0.949; the others 0.707, 0.447, 0.949 and 0.8
    assert found.num_errors == (3, 0) and found.num_trials == (4, 2)
    assert [round(one.score, 3) for one in found.errors] == [0.949, 0.8]
    assert found.errors[0].utterances == (names[1], names[2]) and found.errors[0].labels == {
        "language": ("fi", "fi")
    }
    nearest, cosine, speaker = found.errors[0].neighbours[1][0]
    assert (nearest, speaker) in {(names[1], "v0"), (names[3], "v2")} and cosine == pytest.approx(
        0.949, abs=1e-3
    )
    assert {name: (wrong, of) for name, _, wrong, of in found.involved}[names[2]] == (2, 3)
    table = list(csv.DictReader(io.StringIO(errors_as_csv(found.errors))))
    assert table[1]["utterance 2"] == names[3] and table[1]["language 2"] == ""
    with pytest.raises(InputError, match=f"{names[3]}' has no embedding"):
        explain_trials(
            spectral,
            read_trials(tmp_path / "trials"),
            utterances,
            vectors={name: vectors[name] for name in names[:3]},
        )


def test_the_worst_errors_are_explained(spectral: ExplainedNetwork, tmp_path: Path) -> None:
    utterances = write_voices(tmp_path, [0, 2, 4], 3, seconds=1.0)
    names = [utterance.id for utterance in utterances]
    pairs = [(a, b) for a in names for b in names if a < b]
    right = [f"{int(a[:2] == b[:2])} {a} {b}\n" for a, b in pairs]
    right[0] = f"0 {' '.join(pairs[0])}\n"  # the same voice, which the list denies
    (tmp_path / "trials").write_text("".join(right))
    found = explain_trials(spectral, read_trials(tmp_path / "trials"), utterances, worst=1)
    accept = next(one for one in found.errors if one.kind == "false accept")
    assert accept.score >= found.threshold and set(accept.utterances) == set(pairs[0])
    assert accept.pair is not None and len(found.explained) <= 2
    assert accept.facts["duration_s"] == pytest.approx((1.0, 1.0))
    assert any("1 trials contradict the speakers" in note for note in found.notes)
    assert accept.neighbours[0][0][1] >= accept.neighbours[0][1][1]
    page = ExplainPage("error", error_sections(accept, found.threshold)).html()
    assert "Nearest to" in page and "False accept" in page
    (tmp_path / "trials").write_text("1 v0-0 v0-1\n0 v0-0 stranger\n")
    with pytest.raises(InputError, match="'stranger'"):
        explain_trials(spectral, read_trials(tmp_path / "trials"), utterances)
