"""What there is to work on: names, folders, channels, and what cannot be read."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.errors import InputError
from sdpn.io.inputs import by_channel, find_utterances, recordings

NOISE = np.random.default_rng(0).standard_normal((20000, 2)) * 0.1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings at two depths, of one and two channels, and files that are none."""
    folder = tmp_path / "recordings"
    (folder / "day 1").mkdir(parents=True)
    soundfile.write(folder / "day 1" / "b.flac", NOISE[:, 0], 16000)
    soundfile.write(folder / "a.wav", NOISE, 16000)
    (folder / "notes.txt").write_text("nothing to hear")
    (folder / ".hidden.wav").touch()
    return folder


def test_recordings_of_folders_and_files(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    single = folder.parent / "one more.wav"
    found = recordings([folder, single, Path("-")])
    assert found == {
        "a": folder / "a.wav",
        "day_1-b": folder / "day 1" / "b.flac",
        "one_more": single,
        "stdin": Path("-"),
    }
    assert "skipped 1 files without an audio suffix" in caplog.text
    with pytest.raises(InputError, match=r"has the same recording id 'a' as .*a\.wav"):
        recordings([folder, Path("elsewhere/a.mp3")])


def test_every_channel_is_a_recording(folder: Path) -> None:
    found = by_channel(recordings([folder]), "separate")
    assert [(one.id, one.channel) for one in found] == [("a_ch0", 0), ("a_ch1", 1), ("day_1-b", 0)]
    assert [(one.id, one.channel) for one in by_channel(recordings([folder]), 1)] == [
        ("a", 1),
        ("day_1-b", 1),
    ]
    assert [one.channel for one in by_channel(recordings([folder]), "mix")] == [None, None]
    with pytest.raises(InputError, match="standard input can be read only once"):
        by_channel(recordings([Path("-")]), "separate")
    (folder / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"bad\.wav"):
        by_channel(recordings([folder]), "separate")
    failures: list[InputError] = []
    assert len(by_channel(recordings([folder]), "separate", failures)) == 3
    assert [failure.path for failure in failures] == [str(folder / "bad.wav")]


def test_utterances_of_a_data_directory_and_of_a_folder(folder: Path) -> None:
    assert [one.id for one in find_utterances(folder, [])] == ["a", "day_1-b"]
    (folder / "wav.scp").write_text("x a.wav\n")
    (folder / "segments").write_text("u x 0 1\nv x 0 1 0\n")
    found = find_utterances(folder, [], channel=1)
    assert [(one.id, one.channel) for one in found] == [("u", 1), ("v", 0)]
    for data, paths in ((None, []), (folder, [folder])):
        with pytest.raises(InputError, match="either --data DIR or recordings"):
            find_utterances(data, paths)
    with pytest.raises(InputError, match="no such audio file"):
        find_utterances(None, [folder / "absent.wav"])
