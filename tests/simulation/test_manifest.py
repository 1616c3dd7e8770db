"""Manifests read back what was written, and name the line that makes no sense."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdpn.errors import InputError
from sdpn.io.rttm import Turn
from sdpn.simulation.manifest import (
    Ambience,
    Conversation,
    Noise,
    PlacedPhrase,
    SimulatedRoom,
    SourceFile,
    Speaker,
    SpeakerUtterance,
    file_digest,
    read_manifest,
    write_manifest,
)

CONVERSATION = Conversation(
    recording="sim0",
    num_samples=32000,
    speakers=(
        Speaker("corpus-Zoë", SourceFile("hall/left.flac", "0123456789abcdef")),
        Speaker("corpus-B", SimulatedRoom(0.3, 7)),
        Speaker("corpus-C", None),
    ),
    utterances=(
        SpeakerUtterance(0, SourceFile("Zoë/my file.wav", "ff")),
        SpeakerUtterance(1, SourceFile("B/b.wav", "ee")),
        SpeakerUtterance(2, SourceFile("C/c.wav", "dd")),
    ),
    phrases=(
        PlacedPhrase(0, 100, 8100, 0, -3.25),
        PlacedPhrase(0, 9000, 12200, 11200, -3.25),  # 0.2 s later: the same turn
        PlacedPhrase(1, 0, 1600, 14400, 4.0),
        PlacedPhrase(0, 0, 4800, 18400, 0.5),  # 0.25 s later: another turn
        PlacedPhrase(2, 500, 4500, 28000, 0.0),
    ),
    noise=Noise(snr_db=12.5, clips=(SourceFile("rain/r.flac", "aa"),)),
    ambience=Ambience(snr_db=40.0, seed=3),
    sha256="beef",
    sketch=(10000, -20000),
)


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    plain = Conversation(
        **{**vars(CONVERSATION), "recording": "sim1", "noise": None, "sha256": None, "sketch": None}
    )
    write_manifest(path, [CONVERSATION, plain])
    assert read_manifest(path) == [CONVERSATION, plain]
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


def test_mixed_again_it_is_equal_rounded_different_or_unknown(tmp_path: Path) -> None:
    again = replace(CONVERSATION, sha256="f00d")
    assert CONVERSATION.compared_with(replace(again, sha256="beef")) == "equal"
    assert replace(CONVERSATION, sha256=None).compared_with(again) == "equal"  # it was never mixed
    # of 22361 = sqrt(10000² + 20000²), 22 is just within a thousandth
    assert CONVERSATION.compared_with(replace(again, sketch=(10000, -20022))) == "rounded"
    assert CONVERSATION.compared_with(replace(again, sketch=(10000, -20023))) == "different"
    assert CONVERSATION.compared_with(replace(again, sketch=(10000, -20000, 0))) == "different"
    path = tmp_path / "old.jsonl"
    path.write_text(json.dumps({**LINE, "sha256": "beef"}) + "\n")
    (old,) = read_manifest(path)  # format 1
    assert old.sketch is None
    assert old.compared_with(again) == "unknown"
    assert old.compared_with(replace(again, sha256="beef")) == "equal"


def test_the_reference_by_hand() -> None:
    assert CONVERSATION.turns() == [
        Turn("sim0", 0.0, pytest.approx(0.9), "corpus-Zoë"),
        Turn("sim0", 0.9, 0.1, "corpus-B"),
        Turn("sim0", 1.15, 0.3, "corpus-Zoë"),
        Turn("sim0", 1.75, 0.25, "corpus-C"),
    ]
    assert CONVERSATION.duration_s == 2.0


def test_digest_is_the_beginning_of_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_digest(tmp_path / "abc") == "ba7816bf8f01cfea"  # FIPS 180-4, example of SHA-256
    with pytest.raises(InputError, match="cannot be read"):
        file_digest(tmp_path / "missing")


def broken(**changes: Any) -> str:
    return json.dumps({**LINE, **changes})


LINE: dict[str, Any] = {
    "format": 1,
    "recording": "sim0",
    "num_samples": 32000,
    "speakers": [["A", None]],
    "utterances": [[0, "A/a.wav", "ff"]],
    "phrases": [[0, 0, 16000, 0, 0.0]],
    "noise": None,
    "ambience": {"snr_db": 40.0, "seed": 1},
    "sha256": None,
}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[]", "an object"),
        ("{}", "KeyError: 'format'"),
        (broken(format=3), "its format is 3, expected 1 or 2"),
        (broken(format=2), "KeyError: 'sketch'"),
        (broken(format=2, sketch=[1.5]), "the sketch is not a list of integers"),
        (broken(format=2, sketch=[2**40]), "the sketch is not a list of integers"),
        (broken(format=2, sketch=3), "TypeError"),
        (broken(phrases=[]), "the conversation is empty"),
        (broken(phrases=[[1, 0, 16000, 0, 0.0]]), "there is no utterance 1"),
        (broken(phrases=[[0, 0, 16000, 16001, 0.0]]), "not inside the conversation"),
        (broken(phrases=[[0, 16000, 16000, 0, 0.0]]), "not inside the conversation"),
        (broken(phrases=[[0, 0, 16000, -1, 0.0]]), "not inside the conversation"),
        (broken(phrases=[[0, 0, 16000]]), "ValueError"),
        (broken(utterances=[[1, "A/a.wav", "ff"]]), "there is no speaker 1"),
        (broken(speakers=[["A", {"rt60_s": 0, "seed": 1}]]), "a simulated room needs"),
        (broken(noise={"snr_db": 3.0, "clips": []}), "noise needs clips"),
        (broken(ambience={"snr_db": 40.0, "seed": -1}), "ambience needs a seed"),
        (broken(recording="a b"), "'a b' is not a valid id"),
        (broken(recording="../elsewhere"), "'../elsewhere' is not a valid id"),
        (broken(speakers=[["", None]]), "'' is not a valid id"),
        (json.dumps(LINE), "recording 'sim0' occurs twice"),
    ],
)
def test_lines_that_make_no_sense(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n{line}\n")
    with pytest.raises(InputError, match=message) as caught:
        read_manifest(path)
    assert caught.value.path == str(path)
    assert caught.value.line == 2


def test_no_conversations(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError, match="contains no conversations"):
        read_manifest(tmp_path / "empty.jsonl")
