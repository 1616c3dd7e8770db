"""What there is to work on: names, folders, channels, and what cannot be read."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sdpn.errors import InputError
from sdpn.io.inputs import by_channel, find_utterances, recordings


def test_recordings_of_folders_and_files(recordings_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    single = recordings_folder.parent / "one more.wav"
    found = recordings([recordings_folder, single, Path("-")])
    assert found == {
        "a": recordings_folder / "a.wav",
        "day_1-b": recordings_folder / "day 1" / "b.flac",
        "one_more": single,
        "stdin": Path("-"),
    }
    assert "skipped 1 files without an audio suffix" in caplog.text
    with pytest.raises(InputError, match=r"has the same recording id 'a' as .*a\.wav"):
        recordings([recordings_folder, Path("elsewhere/a.mp3")])


def test_every_channel_is_a_recording(recordings_folder: Path) -> None:
    found = by_channel(recordings([recordings_folder]), "separate")
    assert [(one.id, one.channel) for one in found] == [("a_ch0", 0), ("a_ch1", 1), ("day_1-b", 0)]
    assert [(one.id, one.channel) for one in by_channel(recordings([recordings_folder]), 1)] == [
        ("a", 1),
        ("day_1-b", 1),
    ]
    assert [one.channel for one in by_channel(recordings([recordings_folder]), "mix")] == [None, None]
    with pytest.raises(InputError, match="standard input can be read only once"):
        by_channel(recordings([Path("-")]), "separate")
    (recordings_folder / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"bad\.wav"):
        by_channel(recordings([recordings_folder]), "separate")
    failures: list[InputError] = []
    assert len(by_channel(recordings([recordings_folder]), "separate", failures)) == 3
    assert [failure.path for failure in failures] == [str(recordings_folder / "bad.wav")]


def test_utterances_of_a_data_directory_and_of_a_folder(recordings_folder: Path) -> None:
    assert [one.id for one in find_utterances(recordings_folder, [])] == ["a", "day_1-b"]
    (recordings_folder / "wav.scp").write_text("x a.wav\n")
    (recordings_folder / "segments").write_text("u x 0 1\nv x 0 1 0\n")
    found = find_utterances(recordings_folder, [], channel=1)
    assert [(one.id, one.channel) for one in found] == [("u", 1), ("v", 0)]
    for data, paths in ((None, []), (recordings_folder, [recordings_folder])):
        with pytest.raises(InputError, match="either --data DIR or recordings"):
            find_utterances(data, paths)
    with pytest.raises(InputError, match="no such audio file"):
        find_utterances(None, [recordings_folder / "absent.wav"])
