"""sdpn.io.audio: whatever Python users hand in as a recording gives the same samples, or a clear refusal."""

from __future__ import annotations

import io
import os
import struct
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from sdpn.errors import InputError
from sdpn.io import audio
from tests.io.encoding import encode, speechlike

RATE_HZ = 16000
LEFT, RIGHT = speechlike(RATE_HZ, 1.0)[0], speechlike(RATE_HZ, 1.0)[0][::-1].copy()
STEREO = np.stack([LEFT, RIGHT])
MEAN = STEREO.mean(axis=0)
PCM = np.round(LEFT * 32767).astype(np.int16)

ALIKE: dict[str, tuple[Any, np.ndarray]] = {
    "samples and rate": ((LEFT, RATE_HZ), LEFT),
    "rate and samples": ((RATE_HZ, LEFT), LEFT),
    "float64": ((LEFT.astype(np.float64), RATE_HZ), LEFT),
    "channels first": ((STEREO, RATE_HZ), MEAN),
    "channels last": ((STEREO.T, RATE_HZ), MEAN),
    "not contiguous": ((np.repeat(LEFT, 2)[::2], RATE_HZ), LEFT),
    "big-endian": ((LEFT.astype(">f4"), RATE_HZ), LEFT),
    "one channel first": ((LEFT[None], RATE_HZ), LEFT),
    "one channel last": ((LEFT[:, None], RATE_HZ), LEFT),
    "int16": ((PCM, RATE_HZ), PCM / 32768),
    "int32": ((PCM.astype(np.int32) * 65536, RATE_HZ), PCM / 32768),
    "uint8": (((PCM // 256 + 128).astype(np.uint8), RATE_HZ), (PCM // 256) / 128),
    "float rate": ((LEFT, 16000.0), LEFT),
    "numpy rate": ((LEFT, np.int64(16000)), LEFT),
    "tensor": ((torch.from_numpy(LEFT), RATE_HZ), LEFT),
    "tensor with grad": ((torch.from_numpy(LEFT).requires_grad_(), RATE_HZ), LEFT),
    "tensor, transposed": ((torch.from_numpy(STEREO).t(), RATE_HZ), MEAN),
    "pyannote, waveform": ({"waveform": torch.from_numpy(STEREO), "sample_rate": RATE_HZ}, MEAN),
    "pyannote, one channel": ({"waveform": LEFT[None], "sample_rate": RATE_HZ, "uri": "x"}, LEFT),
}


@pytest.mark.parametrize("name", ALIKE)
def test_arrays_and_tensors(name: str) -> None:
    given, expected = ALIKE[name]
    assert audio.is_audio(given)
    read = audio.read(given)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, expected, atol=1e-6)
    with audio.open_audio(given) as stream:
        assert stream.path is None
        assert stream.duration_s == 1.0
        np.testing.assert_array_equal(np.concatenate(list(stream.blocks(0.3))), read)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_of_other_precision(dtype: torch.dtype) -> None:
    np.testing.assert_allclose(audio.read((torch.from_numpy(LEFT).to(dtype), RATE_HZ)), LEFT, atol=5e-3)


def test_channels_of_arrays() -> None:
    np.testing.assert_array_equal(audio.read((STEREO, RATE_HZ), channel=1), RIGHT)
    np.testing.assert_array_equal(audio.read((STEREO.T, RATE_HZ), channel=0), LEFT)
    np.testing.assert_allclose(audio.read((STEREO, RATE_HZ), channel="mix"), MEAN, atol=1e-7)
    given = {"waveform": STEREO, "sample_rate": RATE_HZ, "channel": 1}
    np.testing.assert_array_equal(audio.read(given), RIGHT)
    with pytest.raises(InputError, match="has no channel 2, only 2"):
        audio.read((STEREO, RATE_HZ), channel=2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((np.zeros((2, 2)), 16000), r"shape \(2, 2\): the time axis"),
        ((np.zeros((1, 2, 100)), 16000), r"shape \(1, 2, 100\)"),
        ((np.zeros((100, 90)), 16000), r"shape \(100, 90\) would have 90 channels"),
        ((np.zeros((0, 100)), 16000), r"shape \(0, 100\) has no samples"),
        ((np.zeros(()), 16000), r"shape \(\)"),
        ((np.zeros(0), 16000), r"shape \(0,\) has no samples"),
        ((np.zeros(100), 0), "sampling rate is 0"),
        ((np.zeros(100), -16000), "sampling rate is -16000"),
        ((np.zeros(100), 16000.5), "sampling rate is 16000.5"),
        ((np.zeros(100), float("nan")), "sampling rate is nan"),
        ((np.array([0, np.nan, np.inf] * 9), 16000), "18 NaN or infinite samples of 27"),
        ((PCM.astype(np.float32), 16000), "divide 16-bit PCM by 32768"),
        ((np.zeros(100, dtype=np.int64), 16000), "int64"),
        ((np.zeros(100, dtype=complex), 16000), "complex"),
        ((np.zeros(100, dtype=bool), 16000), "bool"),
        ((np.array(["a"]), 16000), "U1"),
        ((np.array([None]), 16000), "object"),
        (([0.0] * 100, 16000), "type list"),
        ({"waveform": np.zeros((500, 2)), "sample_rate": 16000}, r"shape \(500, 2\); expected \(channels"),
        ({"waveform": np.zeros((2, 500))}, "no 'sample_rate'"),
        ({"wave": np.zeros((2, 500)), "sample_rate": 16000}, "expected 'waveform'"),
        ({}, "a mapping of nothing"),
        (np.zeros(100), "without a sampling rate"),
        (io.StringIO("RIFF"), "opened in text mode"),
        (io.BytesIO(), "is empty"),
        (io.BytesIO(b"nothing that sounds"), "is not readable audio"),
        (("a.wav", "b.wav"), "give several recordings as a list"),
        (3, "type int"),
        (None, "type NoneType"),
    ],
)
def test_what_is_no_recording_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        audio.read(given)
    assert "\n" not in str(caught.value)


def test_several_recordings_are_not_one() -> None:
    for several in ([LEFT, RIGHT], ("a.wav", "b.wav"), ["a.wav"], []):
        assert not audio.is_audio(several)


#: suffix -> what writes a file of that kind; the first three are decoded as they come, the others spooled
PIPED = {
    "wav": {},
    "flac": {},
    "au": {},
    "ogg": {},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": None,
    "m4a": None,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each kind, of two channels at 44.1 kHz."""
    folder = tmp_path_factory.mktemp("piped")
    wave = speechlike(44100, 22.0, 2)
    found = {}
    for suffix, options in PIPED.items():
        found[suffix] = folder / f"a b.{suffix}"
        if options is None:
            encode(found[suffix], {"mp3": "libmp3lame", "m4a": "aac"}[suffix], wave, 44100)
        else:
            rate_hz = 48000 if suffix == "opus" else 44100
            soundfile.write(found[suffix], wave.T, rate_hz, **options)
    return found


@pytest.mark.parametrize(
    "suffix",
    [
        suffix if suffix in ("wav", "opus", "m4a") else pytest.param(suffix, marks=pytest.mark.slow)
        for suffix in PIPED
    ],
)
def test_file_objects_pipes_and_standard_input_give_what_the_file_gives(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = files[suffix]
    expected = audio.read(path)
    temporary = tmp_path / "temporary"  # its own: tests that run beside this one have files in the usual one
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with open(path, "rb") as stream:
        stream.seek(100)
        for _ in range(2):  # again from the start
            np.testing.assert_array_equal(audio.read(stream), expected)
    np.testing.assert_array_equal(audio.read(io.BytesIO(path.read_bytes())), expected)
    given = {"audio": io.BytesIO(path.read_bytes()), "channel": 1}
    np.testing.assert_array_equal(audio.read(given), audio.read(path, channel=1))

    fifo = tmp_path / "pipe.wav"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(path.read_bytes()))
    writer.start()
    with audio.open_audio(fifo) as opened:
        assert opened.name == "pipe"
        np.testing.assert_array_equal(np.concatenate(list(opened.blocks(3.0))), expected)
    writer.join()

    for name in ("-", Path("-"), "/dev/stdin"):
        reading, writing = os.pipe()
        feeder = threading.Thread(target=_feed, args=(writing, path.read_bytes()))
        feeder.start()
        with open(reading, "rb") as pipe:
            monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": pipe}))
            with audio.open_audio(name) as opened:
                assert opened.name == "stdin"
                np.testing.assert_array_equal(np.concatenate(list(opened.blocks())), expected)
        feeder.join()
    assert not list(temporary.iterdir())


def _feed(descriptor: int, content: bytes) -> None:
    with open(descriptor, "wb") as pipe:
        pipe.write(content)


def test_a_truncated_pipe_is_reported(files: dict[str, Path]) -> None:
    for suffix in ("wav", "flac", "mp3", "ogg"):
        content = files[suffix].read_bytes()
        half = io.BytesIO(content[: len(content) // 2 + 7])
        half.name = "half"
        with pytest.raises(InputError, match=r"half: .*truncated"):
            audio.read(half)
        with audio.open_audio(half, keep_truncated=True) as stream:
            assert 8 < sum(map(len, stream.blocks())) / 16000 < 14


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_through_a_pipe_needs_no_size(size: int) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, LEFT, RATE_HZ, format="WAV")
    content = bytearray(buffer.getvalue())
    content[40:44] = struct.pack("<I", size)
    np.testing.assert_allclose(audio.read(io.BytesIO(content)), LEFT, atol=1e-4)


def test_a_stream_is_read_once() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, LEFT, RATE_HZ, format="WAV")
    with audio.open_audio(buffer) as stream:
        assert stream.duration_s is None
        assert len(np.concatenate(list(stream.blocks()))) == 16000
        with pytest.raises(InputError, match="only once"):
            list(stream.blocks())


def test_channels_that_cancel_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opposite = tmp_path / "opposite.wav"
    soundfile.write(opposite, np.stack([LEFT, -0.95 * LEFT], axis=1), RATE_HZ)
    np.testing.assert_allclose(audio.read(opposite), 0.025 * LEFT, atol=1e-4)
    assert f"{opposite}: its 2 channels cancel each other" in caplog.text
    assert "--channel 0" in caplog.text
    caplog.clear()
    audio.read(opposite)  # once is enough
    audio.read(opposite, channel=0)
    for name, channels in {
        "one silent": [LEFT, 0 * LEFT],
        "two voices": [LEFT, RIGHT],
        "alike": [LEFT, LEFT],
        "one of six": [LEFT, *[0 * LEFT] * 5],
        "silence": [0 * LEFT, 0 * LEFT],
    }.items():
        soundfile.write(tmp_path / f"{name}.wav", np.stack(channels, axis=1), RATE_HZ)
        audio.read(tmp_path / f"{name}.wav")
    assert not caplog.text


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 48000, 44101, 96000, 1000])
def test_blocks_of_any_rate_and_length_are_the_whole(rate_hz: int) -> None:
    rng = np.random.default_rng(0)
    wave = rng.uniform(-0.5, 0.5, round(3.77 * rate_hz)).astype(np.float32)
    whole = audio.read((wave, rate_hz))
    for block_s in (0.01 if rate_hz != 44101 else 1.5, 1.0, 100.0):
        with audio.open_audio((wave, rate_hz)) as stream:
            blocks = list(stream.blocks(block_s))
        assert {len(block) for block in blocks[:-1]} <= {round(block_s * 16000)}
        np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_blocks_need_no_memory_for_the_whole(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 44100, 1) as file:
        for _ in range(10):
            file.write(np.zeros(44100 * 90, dtype=np.int16))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with audio.open_audio(path) as stream:
        total = sum(map(len, stream.blocks()))
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    assert total == 900 * 16000
    assert grown_kb < 80_000  # the whole would be 159 MB, and more while it is resampled


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_U8"])
def test_a_source_that_restarts_with_another_header_is_reported(
    subtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Odd numbers of bytes have one more behind them."""
    content = []
    for samples, rate_hz in ((LEFT[:8001], 16000), (LEFT[:4000], 8000)):
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, rate_hz, format="WAV", subtype=subtype)
        content.append(buffer.getvalue())
    once = audio.read(io.BytesIO(content[0]))
    assert not caplog.records
    np.testing.assert_array_equal(audio.read(io.BytesIO(b"".join(content))), once)
    assert "another WAV recording follows the first, and is not read" in caplog.text
