"""Halves of utterances: together they are the utterance; what is left out is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.errors import InputError
from sdpn.extraction.halves import halve, pair_halves, write_halves
from sdpn.io.kaldi import Utterance, read_data_dir


def test_two_halves_are_the_utterance(voices: Path, tmp_path: Path) -> None:
    utterances = read_data_dir(voices)
    write_halves(tmp_path, halve(utterances).utterances)
    found = {utterance.id: utterance for utterance in read_data_dir(tmp_path)}
    assert found.keys() == {f"{utterance.id}-{half}" for utterance in utterances for half in (1, 2)}
    for utterance in utterances:
        first, second = (found[f"{utterance.id}-{half}"].read() for half in (1, 2))
        assert abs(len(first) - len(second)) <= 2
        whole = utterance.read()
        np.testing.assert_array_equal(np.concatenate([first, second])[: len(whole) - 2], whole[:-2])


def test_segments_are_halved_where_they_lie(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.full(160000, 0.1), 16000)
    (tmp_path / "wav.scp").write_text("rec long.wav\n")
    (tmp_path / "segments").write_text("a rec 1 3\nb rec 4 9.5\nc rec 5 5.5\n")
    found = halve(read_data_dir(tmp_path))
    write_halves(tmp_path / "halves", found.utterances)
    lines = [line.split() for line in (tmp_path / "halves/segments").read_text().splitlines()]
    times = {name: (float(start), float(end)) for name, _, start, end in lines}
    assert times == {"a-1": (1, 2), "a-2": (2, 3), "b-1": (4, 6.75), "b-2": (6.75, 9.5)}
    assert found.left_out == {"c": "shorter than 1 s"}


def test_a_half_is_in_the_channel_of_its_utterance(tmp_path: Path) -> None:
    wave = np.stack([np.full(32000, 0.1), np.full(32000, 0.5)], axis=1)
    soundfile.write(tmp_path / "call.wav", wave, 16000)
    utterances = [Utterance(f"end{channel}", tmp_path / "call.wav", channel=channel) for channel in (0, 1)]
    write_halves(tmp_path, halve(utterances).utterances)
    levels = {one.id: one.read().mean() for one in read_data_dir(tmp_path)}
    expected = {"end0-1": 0.1, "end0-2": 0.1, "end1-1": 0.5, "end1-2": 0.5}
    assert levels == pytest.approx(expected, abs=1e-4)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", np.full(32000, 0.1), 16000)
    (tmp_path / "bad.wav").write_text("no audio")
    utterances = [Utterance(name, tmp_path / f"{name}.wav") for name in ("good", "bad")]
    found = halve(utterances)
    assert [half.id for half in found.utterances] == ["good-1", "good-2"]
    assert found.left_out.keys() == {"bad"} and "bad.wav" in found.left_out["bad"]
    with pytest.raises(InputError, match=r"no utterance can be halved: bad: .*bad\.wav"):
        halve(utterances[1:])


def test_pairs_follow_the_utterances_and_one_without_stands_for_itself() -> None:
    whole = {name: np.array([value, 0.0]) for name, value in (("b", 1.0), ("a", 2.0))}
    halves = {"b-2": np.array([4.0, 0.0]), "b-1": np.array([3.0, 0.0]), "other-1": np.zeros(2)}
    assert pair_halves(whole, halves)[:, :, 0].tolist() == [[3.0, 4.0], [2.0, 2.0]]
    with pytest.raises(
        InputError, match=r"contains no halves of the utterances.*UTT-1 and UTT-2 were expected"
    ):
        pair_halves({"c": np.zeros(2)}, halves)
    with pytest.raises(InputError, match="another dimension"):
        pair_halves({"b": np.zeros(3)}, halves)
