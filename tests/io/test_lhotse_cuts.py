"""sdpn.io.lhotse_cuts: cuts are the samples that lhotse itself loads."""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from lhotse import AudioSource, CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.cut import MultiCut

from sdpn.cli.main import main
from sdpn.data.pack import pack
from sdpn.errors import InputError
from sdpn.io import lhotse_cuts
from sdpn.io.inputs import find_utterances
from sdpn.io.kaldi import read_data_dir, read_utt2spk


@pytest.fixture
def recordings(tmp_path: Path) -> list[Recording]:
    """Of one and two channels."""
    rng = np.random.default_rng(0)
    made = []
    for number, channels in enumerate((1, 1, 2)):
        path = tmp_path / f"r{number}.wav"
        soundfile.write(path, rng.uniform(-0.5, 0.5, (32000, channels)), 16000)
        made.append(Recording.from_file(path, recording_id=f"r{number}"))
    return made


def _cut(recording: Recording, key: str, start: float, duration: float, channel: int = 0) -> MonoCut:
    speaker = SupervisionSegment(key, recording.id, 0.0, duration, channel, speaker=f"of-{recording.id}")
    return MonoCut(key, start, duration, channel, [speaker], recording=recording)


def _write(cuts: list[object], path: Path) -> Path:
    CutSet.from_items(cuts).to_file(path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_the_samples_that_lhotse_loads(recordings: list[Recording], tmp_path: Path, suffix: str) -> None:
    cuts = [
        _cut(recordings[0], "a", 0.0, 2.0),
        _cut(recordings[1], "b", 0.25, 0.5),
        _cut(recordings[2], "c", 1.0, 1.0, channel=1),
    ]
    path = _write(cuts, tmp_path / f"cuts{suffix}")
    utterances = read_data_dir(path)
    assert [(one.id, one.speaker) for one in utterances] == [
        ("a", "of-r0"),
        ("b", "of-r1"),
        ("c", "of-r2"),
    ]
    assert utterances[0].end_s is None and utterances[2].channel == 1
    for one, cut in zip(utterances, cuts, strict=True):
        np.testing.assert_allclose(one.read(), cut.load_audio()[0], atol=1e-6)
    assert read_utt2spk(path) == {one.id: one.speaker for one in utterances}
    assert [one.id for one in find_utterances(path, [])] == ["a", "b", "c"]


def test_all_channels_together_are_their_mean(recordings: list[Recording], tmp_path: Path) -> None:
    cut = MultiCut("all", 0.5, 1.0, [0, 1], [], recording=recordings[2])
    (one,) = read_data_dir(_write([cut], tmp_path / "cuts.jsonl"))
    assert one.channel is None
    np.testing.assert_allclose(one.read(), cut.load_audio().mean(0), atol=1e-6)


def test_they_are_packed_as_a_data_directory_is(recordings: list[Recording], tmp_path: Path) -> None:
    path = _write([_cut(recordings[0], "a", 0.5, 1.0), _cut(recordings[1], "b", 0, 2)], tmp_path / "c.jsonl")
    done = pack([path], tmp_path / "pack")
    assert (done.num_utterances, done.num_speakers) == (2, 2)
    for one, other in zip(read_data_dir(path), read_data_dir(tmp_path / "pack"), strict=True):
        assert (one.id, one.speaker) == (other.id, other.speaker)
        np.testing.assert_array_equal(one.read(), other.read())


def test_cuts_that_are_no_stretch_of_a_file(recordings: list[Recording], tmp_path: Path) -> None:
    plain = _cut(recordings[0], "a", 0.0, 1.0)
    two_channels = _cut(recordings[2], "two", 0.0, 1.0)
    printed = replace(recordings[0], sources=[AudioSource("command", [0], "cat r0.wav")])
    cases = {
        "is a MixedCut": plain.mix(_cut(recordings[1], "b", 0, 1), snr=10),
        "PaddingCut": plain.pad(duration=2.0).tracks[1].cut,
        "that lhotse changes while reading": plain.perturb_speed(1.1),
        "whose sources are not one file": _cut(printed, "a", 0.0, 1.0),
        "has no recording": MonoCut("none", 0.0, 1.0, 0, []),
    }
    assert two_channels.channel == 0
    for number, (message, cut) in enumerate(cases.items()):
        path = _write([_cut(recordings[1], "first", 0, 1), cut], tmp_path / f"{number}.jsonl")
        with pytest.raises(InputError, match=message) as caught:
            read_data_dir(path)
        assert str(path) in str(caught.value) and caught.value.hint
        assert message == "PaddingCut" or str(caught.value).startswith(f"{path}:2: ")  # lhotse refuses it


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "contains no cuts|is not a file of lhotse's cuts"),
        (b"{}\n", "is not a file of lhotse's cuts"),
        (b"hello\n", "is not a file of lhotse's cuts"),
        (
            b'{"id": "r", "sources": [], "sampling_rate": 16000, "num_samples": 1, "duration": 1}\n',
            "Recording",
        ),
    ],
)
def test_files_that_hold_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "cuts.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_data_dir(path)
    assert str(path) in str(caught.value)


def test_cuts_that_are_truncated_twice_or_without_their_audio(
    recordings: list[Recording], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _write([_cut(recordings[0], "a", 0, 1), _cut(recordings[1], "a", 0, 1)], tmp_path / "twice.jsonl")
    with pytest.raises(InputError, match="cut 'a' occurs a second time") as caught:
        read_data_dir(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    path = _write([_cut(recordings[0], f"a{n}", 0, 1) for n in range(200)], tmp_path / "cuts.jsonl.gz")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()))[:-200])
    with pytest.raises(InputError, match="is not a file of lhotse's cuts"):
        read_data_dir(path)
    Path(recordings[1].sources[0].source).unlink()
    path = _write([_cut(recordings[1], "gone", 0, 1)], tmp_path / "gone.jsonl")
    assert main(["train", "--data", str(path), "--out", str(tmp_path / "exp")]) == 2
    error = capsys.readouterr().err
    assert f"{path}:1: cut 'gone': no such audio file" in error and "Traceback" not in error


def test_plain_cuts_are_what_lhotse_reads(
    recordings: list[Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = [
        _cut(recordings[0], "a", 0, 2),
        _cut(recordings[2], "b", 0.125, 0.1, channel=1),
        MultiCut("c", 0.5, 1.0, [0, 1], [], recording=recordings[2]),
        replace(_cut(recordings[1], "d", 0.5, 1.5), custom={"dialect": "Austrian", "age": 31}),
        MonoCut("e", 0.0, 2.0, 0, [], recording=recordings[1]),
    ]
    path = _write(cuts, tmp_path / "cuts.jsonl.gz")
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "lhotse", None)  # an import of it fails
        patched.setitem(sys.modules, "lhotse.serialization", None)
        plain = read_data_dir(path)
    with monkeypatch.context() as patched:
        patched.setattr(lhotse_cuts, "_PLAIN", msgspec.json.Decoder(int))  # which no cut is
        assert read_data_dir(path) == plain
    assert [one.id for one in plain] == list("abcde")


def test_what_is_not_plain_is_for_lhotse(
    recordings: list[Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _write(
        [_cut(recordings[0], "a", 0.0, 1.0), _cut(recordings[0], "b", 0.0, 1.0)], tmp_path / "c.jsonl"
    )
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{second.replace('MonoCut', 'Cut')}\n")  # as before its version 0.8
    with pytest.warns(UserWarning, match="version earlier than v0.8"):
        assert [one.id for one in read_data_dir(path)] == ["a", "b"]
    monkeypatch.setitem(sys.modules, "lhotse.serialization", None)
    with pytest.raises(InputError, match="need the package lhotse") as caught:
        read_data_dir(path)
    assert "sdpn[lhotse]" in str(caught.value)


@pytest.mark.parametrize(("start", "duration"), [(-0.5, 1.0), (0.0, 0.0), (0.0, -1.0), (0.0, float("nan"))])
def test_times_that_are_none(
    recordings: list[Recording], tmp_path: Path, start: float, duration: float
) -> None:
    path = tmp_path / "cuts.jsonl"
    cut = _cut(recordings[0], "a", 0.0, 1.0).to_dict() | {"start": start, "duration": duration}
    path.write_text(json.dumps(cut) + "\n")
    with pytest.raises(InputError, match=f"cut 'a' begins at {start} s and lasts {duration} s") as caught:
        read_data_dir(path)
    assert str(caught.value).startswith(f"{path}:1: ")
