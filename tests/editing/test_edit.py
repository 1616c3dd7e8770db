"""Corrections of a diarized recording propagate, are kept, and add up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sdpn.diarization.pipeline import EmbeddedRecording
from sdpn.diarization.speech import Segment
from sdpn.diarization.windows import sliding_windows
from sdpn.editing.corrections import constraints_of, parse_correction
from sdpn.editing.edit import correct
from sdpn.io.rttm import Turn, from_annotation


def recording(people: list[int], *, seed: int = 0, apart: float = 1.0) -> EmbeddedRecording:
    """A turn of six seconds of each, with embeddings around the direction of the person."""
    rng = np.random.default_rng(seed)
    speech = [Segment(7.0 * k, 7.0 * k + 6.0) for k in range(len(people))]
    windows = sliding_windows(
        speech, window_s=1.5, hop_s=0.75, min_window_s=0.5, duration_s=7.0 * len(people)
    )
    means_KD = np.linalg.qr(rng.standard_normal((32, 32)))[0][: max(people) + 1]
    of_window = np.array(people)[windows.segment_N]
    emb_ND = apart * means_KD[of_window] + 0.12 * rng.standard_normal((len(of_window), 32))
    return EmbeddedRecording(
        recording="m",
        path=None,
        duration_s=7.0 * len(people),
        speech=speech,
        max_pause_s=0.3,
        windows=windows,
        emb_ND=emb_ND.astype(np.float32),
    )


def turns_of(people: list[str]) -> list[Turn]:
    return [Turn("m", 7.0 * k, 6.0, name) for k, name in enumerate(people)]


def speakers(embedded: EmbeddedRecording, turns: list[Turn], *lines: str) -> list[str]:
    constraints = constraints_of([parse_correction(line.split()) for line in lines], turns)
    labelled, _ = correct(embedded, turns, constraints)
    found = from_annotation(labelled.exclusive, "m")
    return [next(t.speaker for t in found if t.onset_s <= 7.0 * k + 3 < t.end_s) for k in range(len(turns))]


def test_one_correction_divides_a_speaker_everywhere() -> None:
    """Two people were taken for one: of eight turns one is corrected, and the others follow."""
    people = [0, 1, 0, 1, 1, 0, 2, 2]
    before = turns_of(["A", "A", "A", "A", "A", "A", "C", "C"])
    found = speakers(recording(people), before, "is 10 New")
    assert found == ["A", "New", "A", "New", "New", "A", "C", "C"]
    found = speakers(recording(people), before, "different 3 10")
    assert found == ["A", "A-2", "A", "A-2", "A-2", "A", "C", "C"]


def test_two_are_one() -> None:
    found = speakers(recording([0, 0, 1, 1]), turns_of(["A", "B", "C", "C"]), "same A B")
    assert found == ["A", "A", "C", "C"]


def test_what_nobody_complains_about_stays() -> None:
    """Turns of C are in truth of D, but no correction concerns them."""
    people = [0, 1, 0, 2, 3, 3]
    before = turns_of(["A", "A", "A", "C", "C", "C"])
    found = speakers(recording(people), before, "is 10 B")
    assert found == ["A", "B", "A", "C", "C", "C"]


def test_a_stated_turn_keeps_its_speaker_whatever_it_sounds_like() -> None:
    labelled, moved_s = correct(
        recording([0, 0, 0, 1, 1]),
        turns_of(["A", "A", "A", "B", "B"]),
        constraints_of([parse_correction(["is", "10", "B"])], turns_of(["A", "A", "A", "B", "B"])),
    )
    found = from_annotation(labelled.exclusive, "m", confidence=labelled.exclusive_confidence)
    stated = next(turn for turn in found if turn.onset_s == 7.0)
    assert stated.speaker == "B" and stated.confidence == 1.0
    assert 5.0 < moved_s < 7.0


def test_a_document_keeps_its_corrections(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sdpn.cli.main import main

    clip = shared_data.parent / "cases" / "speech8.wav"
    assert main(["diarize", str(clip), "--out", str(tmp_path), "--format", "json", "--quiet"]) == 0
    path = tmp_path / "speech8.json"
    document = json.loads(path.read_text())
    turn = document["exclusive_turns"][0]
    middle = (turn["start_s"] + turn["end_s"]) / 2
    words = ["edit", str(path), "--out", str(tmp_path / "new"), "--quiet"]
    assert main([*words, "--is", str(middle), "Anna Lee", "--format", "json,rttm"]) == 0
    edited = json.loads((tmp_path / "new/speech8.json").read_text())
    found = next(one for one in edited["turns"] if one["start_s"] <= middle < one["end_s"])
    assert found["speaker"] == "Anna Lee" and found["confidence"] == 1.0
    assert edited["corrections"] == [["is", str(middle), "Anna Lee"]]
    assert edited["receipt"] == document["receipt"]
    # a name that a user gives is one that 'sdpn link' keeps
    identities = {one["speaker"]: one.get("identity", {}).get("name") for one in edited["speakers"]}
    assert identities == {name: "Anna Lee" if name == "Anna Lee" else None for name in identities}
    assert "Anna_Lee" in (tmp_path / "new/speech8.rttm").read_text()
    # a second edit adds to the first
    words = ["edit", str(tmp_path / "new/speech8.json"), "--out", str(tmp_path / "new"), "--quiet"]
    assert main([*words, "--same", "Anna Lee", turn["speaker"]]) == 0
    again = json.loads((tmp_path / "new/speech8.json").read_text())
    assert len(again["corrections"]) == 2 and again["uncorrected"] == edited["uncorrected"]
    assert {one["speaker"] for one in again["turns"]} == {
        "Anna Lee" if one["speaker"] == turn["speaker"] else one["speaker"] for one in document["turns"]
    }
    # audio of another length is another recording
    other = shared_data / "ami_excerpt" / "trn09.flac"
    assert main([*words, "--is", str(middle), "Anna Lee", "--audio", str(other)]) == 2
    assert "is it another recording?" in capsys.readouterr().err
    # an edited document says so
    assert main(["verify-receipt", str(tmp_path / "new/speech8.json"), "--quiet"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no correction is given"),
        (("--is", "soon", "A"), "'soon' is not a time"),
        (("--is", "0", "A"), "no such file"),
    ],
)
def test_bad_input(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sdpn.cli.main import main

    assert main(["edit", str(tmp_path / "none.json"), "--out", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err
