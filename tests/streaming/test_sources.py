"""Raw samples on pipes that stall and break off, files, and a microphone."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sdpn.errors import InputError
from sdpn.streaming import sources
from sdpn.streaming.sources import SAMPLE_FORMATS, Arrived, file_blocks, microphone_blocks, pcm_blocks


def joined(blocks: Iterator[Arrived | None]) -> np.ndarray:
    return np.concatenate([block.samples for block in blocks if block is not None])


@pytest.mark.parametrize("name", SAMPLE_FORMATS)
@pytest.mark.parametrize("num_channels", [1, 3])
def test_every_sample_format(name: str, num_channels: int) -> None:
    kind = np.dtype(SAMPLE_FORMATS[name])
    expected = np.arange(300).reshape(-1, num_channels).astype(kind)
    found = joined(
        pcm_blocks(
            io.BytesIO(expected.tobytes()), rate_hz=8000, sample_format=name, num_channels=num_channels
        )
    )
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("can_be_asked", [True, False])
def test_a_pipe_that_stalls_and_breaks_off(
    can_be_asked: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on Windows, where nobody can ask a pipe whether there is something to read."""
    if not can_be_asked:
        in_a_thread = sources._arriving_in_a_thread
        monkeypatch.setattr(sources, "_arriving", lambda stream, name: in_a_thread(stream.fileno(), name))
    samples = np.arange(-500, 500, dtype="<i2")
    data = samples.tobytes() + b"\x07"
    reading, writing = os.pipe()

    def write() -> None:
        for begin in range(0, len(data), 333):  # also in the middle of a sample
            os.write(writing, data[begin : begin + 333])
        time.sleep(0.7)
        os.write(writing, samples.tobytes()[:1] + b"")
        os.close(writing)

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reading, "rb", buffering=0) as stream:
        blocks = list(pcm_blocks(stream, rate_hz=16000))
    thread.join()
    assert None in blocks
    found = joined(iter(blocks))
    np.testing.assert_array_equal(found[: len(samples), 0], samples)
    assert len(found) == len(samples) + 1  # the two bytes around the stall make a sample
    assert not caplog.records


def test_bytes_that_are_left_over(caplog: pytest.LogCaptureFixture) -> None:
    assert len(joined(pcm_blocks(io.BytesIO(bytes(7)), rate_hz=16000))) == 3
    assert "ended within a sample: 1 byte is" in caplog.text
    assert len(joined(pcm_blocks(io.BytesIO(bytes(3)), rate_hz=16000))) == 1
    assert list(pcm_blocks(io.BytesIO(b""), rate_hz=16000)) == []


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"RIFF\0\0\0\0WAVE", {}, "begins like a WAV file"),
        (b"OggS....", {}, "begins like an Ogg file"),
        (b"", {"rate_hz": 5}, "sampling rate is 5"),
        (b"", {"sample_format": "s24"}, "unknown sample format 's24'"),
        (b"", {"num_channels": 0}, "0 channels"),
    ],
)
def test_what_is_no_raw_audio(data: bytes, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(pcm_blocks(io.BytesIO(data), **{"rate_hz": 16000, **options}))


def test_a_file_is_its_samples(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (50_000, 2))
    soundfile.write(tmp_path / "a.flac", samples, 16000)
    written, _ = soundfile.read(tmp_path / "a.flac", dtype="float32")
    np.testing.assert_allclose(joined(file_blocks(tmp_path / "a.flac")), written.mean(axis=1), atol=1e-7)
    np.testing.assert_array_equal(joined(file_blocks(tmp_path / "a.flac", channel=1)), written[:, 1])


def test_a_microphone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine of ours has one: sounddevice's part is played by a stand-in with its interface."""
    opened: dict[str, Any] = {}

    class InputStream:
        def __init__(self, callback: Callable[..., None], **options: Any) -> None:
            opened.update(options)
            self.callback = callback

        def __enter__(self) -> None:
            for number in range(3):
                status = types.SimpleNamespace(input_overflow=number == 1)
                self.callback(np.full((1600, 1), number / 10, dtype=np.float32), 1600, None, status)

        def __exit__(self, *_: object) -> None:
            opened["closed"] = True

    class PortAudioError(Exception):
        pass

    stand_in = types.SimpleNamespace(InputStream=InputStream, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", stand_in)  # type: ignore[arg-type]
    blocks = microphone_blocks("3", rate_hz=48000)
    heard = [next(blocks) for _ in range(4)]
    assert [block and block.lost for block in heard] == [False, True, False, None]
    assert heard[2] is not None
    np.testing.assert_allclose(heard[2].samples, 0.2, atol=1e-6)
    assert (opened["device"], opened["samplerate"], opened["channels"]) == (3, 48000, 1)
    blocks.close()  # type: ignore[attr-defined]
    assert opened["closed"]


def test_without_sounddevice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(InputError, match="microphone needs sounddevice"):
        next(microphone_blocks())
