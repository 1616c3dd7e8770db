"""Recordings to stretches of speech."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sdpn.adaptation.segments import SegmentConfig, find_recordings, find_segments, write_segments
from sdpn.errors import InputError
from sdpn.io import audio
from sdpn.io.kaldi import Utterance, read_data_dir


def _write(path: Path, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(int(16000 * seconds)), 16000)
    return path


def test_a_folder_and_files(tmp_path: Path) -> None:
    _write(tmp_path / "calls/monday/a b.wav")
    _write(tmp_path / "calls/c.flac")
    extra = _write(tmp_path / "d.wav")
    found = find_recordings(tmp_path / "calls", [extra])
    assert [(entry.id, entry.end_s) for entry in found] == [("c", None), ("monday-a_b", None), ("d", None)]


def test_two_recordings_of_one_name_are_refused(tmp_path: Path) -> None:
    files = [_write(tmp_path / "x/a.wav"), _write(tmp_path / "y/a.wav")]
    with pytest.raises(InputError, match="has the same recording id 'a'"):
        find_recordings(None, files)
    with pytest.raises(InputError, match="has the same recording id 'a'"):
        find_recordings(tmp_path / "x", [tmp_path / "y"])


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such audio file") as caught:
        find_recordings(None, [_write(tmp_path / "a.wav"), tmp_path / "b.wav"])
    assert caught.value.path == str(tmp_path / "b.wav")


def test_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="--data"):
        find_recordings(None, [])


def test_segments_of_a_data_directory_are_speech_and_are_divided(calls: Path) -> None:
    found = find_recordings(calls, [])
    assert len(found) == 48 and found[0].speaker is None
    config = SegmentConfig(longest_s=2.0)
    first = next(iter(find_segments(found, config)))
    assert [(part.start_s, part.end_s) for part in first] == [(0.0, 2.0), (2.0, 4.0)]
    assert [part.id for part in first] == ["call0-0-00000000", "call0-0-00002000"]


def test_short_stretches_are_left_out(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.wav")
    segments = [Utterance("a", path, 0.0, 0.9), Utterance("b", path, 0.0, 1.0)]
    assert [len(found) for found in find_segments(segments, SegmentConfig())] == [0, 1]


def test_silence_and_broken_files_give_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    recordings = [Utterance("silent", _write(tmp_path / "silent.wav", 3.0)), Utterance("broken", broken)]
    with caplog.at_level(logging.WARNING):
        assert list(find_segments(recordings, SegmentConfig())) == [[], []]
    assert "broken.wav" in caplog.text and "silent" not in caplog.text


def test_what_was_found_is_not_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = tmp_path / "speech.jsonl"
    names = ("a", "b", "c")
    recordings = [Utterance(name, _write(tmp_path / f"{name}.wav", 3.0)) for name in names]
    listened = []

    def detect(wave: np.ndarray, _config: Any) -> list[tuple[float, float]]:
        listened.append(len(wave))
        return [(0.25, 1.75)]

    monkeypatch.setattr("sdpn.adaptation.segments.detect_speech", detect)
    whole = list(find_segments(recordings, SegmentConfig()))
    listened.clear()
    search = find_segments(recordings, SegmentConfig(), notes=notes)
    assert [next(search), next(search)] == whole[:2]
    search.close()
    notes.write_bytes(notes.read_bytes()[:-7])  # stopped while it wrote
    assert list(find_segments(recordings, SegmentConfig(), notes=notes)) == whole
    assert len(listened) == 2 + 2
    assert list(find_segments(recordings, SegmentConfig(), notes=notes)) == whole
    assert len(listened) == 2 + 2


def test_speech_between_silences_is_found(shared_data: Path, tmp_path: Path) -> None:
    source = sorted((shared_data / "librispeech_excerpt/train").rglob("*.opus"))[0]
    speech = audio.read(source)[: 8 * 16000]
    path = tmp_path / "call.wav"
    quiet = np.zeros(5 * 16000, np.float32)
    soundfile.write(path, np.concatenate([quiet, speech, quiet]), 16000)
    [segments] = find_segments([Utterance("call", path)], SegmentConfig())
    ends = [(segment.start_s, segment.end_s) for segment in segments]
    assert ends and all(end_s is not None and 4.5 <= start_s < end_s <= 13.5 for start_s, end_s in ends)
    assert sum((end_s or 0) - start_s for start_s, end_s in ends) > 4.0


def test_segments_are_written_and_read(calls: Path, tmp_path: Path) -> None:
    segments = [
        part for found in find_segments(find_recordings(calls, []), SegmentConfig()) for part in found
    ]
    write_segments(tmp_path / "out", segments)
    read = read_data_dir(tmp_path / "out")
    assert [(part.id, part.path, part.start_s, part.end_s) for part in read] == [
        (part.id, part.path, part.start_s, part.end_s) for part in segments
    ]


def test_whole_files_need_no_segments(tmp_path: Path) -> None:
    write_segments(tmp_path / "out", [Utterance("a", _write(tmp_path / "a.wav"))])
    assert not (tmp_path / "out/segments").exists()
    assert [entry.end_s for entry in read_data_dir(tmp_path / "out")] == [None]
