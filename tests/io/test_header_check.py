"""sdpn.io.header_check: bad files are named before any work."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.errors import InputError
from sdpn.io.header_check import require_audio


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Thirty of them."""
    paths = [tmp_path / f"{number:02}.wav" for number in range(30)]
    for path in paths:
        soundfile.write(path, np.zeros(800), 16000)
    return paths


def test_sound_files_pass(files: list[Path]) -> None:
    require_audio(files, 3)
    require_audio([], 3)


def test_one_bad_file_is_named(files: list[Path]) -> None:
    files[7].write_bytes(files[7].read_bytes()[:900])
    with pytest.raises(InputError) as caught:
        require_audio(files, 3)
    assert caught.value.path == str(files[7])


def test_of_many_bad_files_twenty_are_named(files: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    for path in files[4:]:
        path.write_text("no audio")
    with caplog.at_level(logging.WARNING), pytest.raises(InputError, match="26 of 30 audio files") as caught:
        require_audio(files, 3)
    assert str(files[4]) in str(caught.value)
    assert [
        str(path) in record.message for path, record in zip(files[4:24], caplog.records, strict=True)
    ] == [True] * 20
