"""sdpn.io.audio: every usual file reads alike; every broken one is refused in one clear line."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from sdpn.errors import InputError
from sdpn.io import audio, sndfile

#: How each format is asked for, and how far a lossy one may be from the original.
FORMATS = {
    "wav": ({}, 1e-4),
    "flac": ({}, 1e-4),
    "aiff": ({}, 1e-4),
    "au": ({}, 1e-4),
    "w64": ({}, 1e-4),
    "rf64": ({"format": "RF64"}, 1e-4),
    "ogg": ({}, 0.05),
    "opus": ({"format": "OGG", "subtype": "OPUS"}, 0.05),
    "mp3": ({}, 0.05),
}


def sine(
    rate_hz: int, *, frequency_hz: float = 440.0, duration_s: float = 2.0, level: float = 0.5
) -> np.ndarray:
    times_s = np.arange(round(rate_hz * duration_s)) / rate_hz
    return (level * np.sin(2 * np.pi * frequency_hz * times_s)).astype(np.float32)


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats_read_alike_whole_and_in_part(tmp_path: Path, suffix: str) -> None:
    options, tolerance = FORMATS[suffix]
    path = tmp_path / f"tone.{suffix}"
    wave = sine(16000)
    soundfile.write(path, wave, 16000, **options)
    header = audio.info(path)
    assert (header.rate_hz, header.num_channels, header.num_frames) == (16000, 1, 32000)
    assert header.duration_s == 2.0
    whole = audio.read(path)
    assert whole.dtype == np.float32
    assert whole.shape == (32000,)
    np.testing.assert_allclose(whole[800:-800], wave[800:-800], atol=tolerance)
    part = audio.read(path, start_s=1.25, duration_s=0.5)  # seeking is where lossy formats go wrong
    np.testing.assert_allclose(part, whole[20000:28000], atol=1e-6)


def test_a_range_is_cut_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, sine(16000), 16000)
    assert audio.read(path, start_s=1.5, duration_s=10).shape == (8000,)
    assert audio.read(path, start_s=5).shape == (0,)
    assert audio.read(path, duration_s=0).shape == (0,)


def test_files_longer_than_a_block_are_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stereo.wav"
    noise = np.random.default_rng(0).uniform(-1, 1, (5000, 2)).astype(np.float32)
    soundfile.write(path, noise, 16000, subtype="FLOAT")
    monkeypatch.setattr(sndfile, "BLOCK", 1024)
    np.testing.assert_array_equal(audio.read(path, channel=1), noise[:, 1])
    np.testing.assert_allclose(audio.read(path), (noise[:, 0] + noise[:, 1]) / 2, atol=1e-7)


@pytest.mark.parametrize(("rate_hz", "num_channels"), [(8000, 1), (44100, 2), (48000, 1), (11025, 3)])
def test_other_rates_and_channels_become_the_same_tone(
    tmp_path: Path, rate_hz: int, num_channels: int
) -> None:
    path = tmp_path / "tone.wav"
    wave = sine(rate_hz, frequency_hz=1000, duration_s=3, level=0.5)
    soundfile.write(path, np.repeat(wave[:, None], num_channels, axis=1), rate_hz, subtype="FLOAT")
    read = audio.read(path)
    assert read.shape == (48000,)
    expected = sine(16000, frequency_hz=1000, duration_s=3, level=0.5)
    # Away from the ends the same frequency, phase and level: 40 dB below the tone and less
    np.testing.assert_allclose(read[1600:-1600], expected[1600:-1600], atol=5e-3)
    spectrum = np.abs(np.fft.rfft(read[:16000]))
    assert int(spectrum.argmax()) == 1000  # 1 Hz per bin
    assert np.sqrt(np.mean(read[1600:-1600] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=2e-3)


def test_what_lies_above_the_new_band_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "whistle.wav"
    soundfile.write(path, sine(48000, frequency_hz=12000), 48000, subtype="FLOAT")  # would alias to 4 kHz
    assert np.abs(audio.read(path)[1600:-1600]).max() < 0.01


def test_channels_are_averaged_or_chosen(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    left, right = sine(16000), sine(16000, frequency_hz=900, level=0.25)
    soundfile.write(path, np.stack([left, right], axis=1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(audio.read(path), (left + right) / 2, atol=1e-7)
    np.testing.assert_array_equal(audio.read(path, channel=0), left)
    np.testing.assert_array_equal(audio.read(path, channel=1), right)
    with pytest.raises(InputError, match="has no channel 2, only 2"):
        audio.read(path, channel=2)


def test_short_and_silent_files_are_fine_here(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, sine(16000, duration_s=0.1), 16000)
    assert audio.read(path).shape == (1600,)
    soundfile.write(path, np.zeros(16000, dtype=np.float32), 16000)
    np.testing.assert_array_equal(audio.read(path), np.zeros(16000, dtype=np.float32))


def test_missing_empty_and_foreign_files_are_refused(tmp_path: Path) -> None:
    empty, letter, folder = tmp_path / "empty.wav", tmp_path / "letter.wav", tmp_path / "folder.wav"
    empty.touch()
    letter.write_text("Dear Sir or Madam,\n" * 100)
    folder.mkdir()
    headerless = tmp_path / "samples.raw"
    headerless.write_bytes(bytes(1000))
    for path, message in {
        tmp_path / "absent.wav": "no such audio file",
        empty: "empty .0 bytes",
        letter: "is not readable audio",
        folder: "is a folder",
        headerless: "it has no header",
    }.items():
        for function in (audio.info, audio.read):
            with pytest.raises(InputError, match=message) as caught:
                function(path)
            assert caught.value.path == str(path)
            assert "\n" not in str(caught.value)


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "header.wav"
    soundfile.write(path, np.zeros(0, dtype=np.float32), 16000)
    with pytest.raises(InputError, match="contains no samples"):
        audio.info(path)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.95, 0.5, 0.2])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 80000)
    soundfile.write(path, noise, 16000, **FORMATS[suffix][0])
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"truncated|is not readable audio"):
        audio.read(path)


@pytest.mark.parametrize("coding", ["ULAW", "PCM_16"])
@pytest.mark.parametrize("channels", [1, 2])
def test_truncated_sphere_is_refused(tmp_path: Path, coding: str, channels: int) -> None:
    path = tmp_path / "call.sph"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (8000, channels))
    soundfile.write(path, noise, 8000, coding, format="NIST")
    assert audio.info(path).num_frames == 8000
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"call.sph: is truncated: 9\d\.\d % of the size in its header"):
        audio.read(path)


def test_appended_bytes_do_not_make_a_file_truncated(tmp_path: Path) -> None:
    for suffix in ("wav", "ogg", "opus"):
        path = tmp_path / f"tagged.{suffix}"
        soundfile.write(path, sine(16000), 16000, **FORMATS[suffix][0])
        with open(path, "ab") as stream:
            stream.write(b"TAG" + bytes(125))  # ID3v1
        assert audio.read(path).shape == (32000,)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_wav_from_a_pipe_has_no_length_and_is_read(tmp_path: Path, size: int) -> None:
    path = tmp_path / "streamed.wav"
    samples = (sine(16000) * 32767).astype("<i2").tobytes()
    chunks = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    path.write_bytes(b"RIFF" + struct.pack("<I", size) + chunks + b"data" + struct.pack("<I", size) + samples)
    assert audio.read(path).shape == (32000,)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    path = tmp_path / "broken.wav"
    wave = sine(16000)
    wave[100:103] = value
    soundfile.write(path, wave, 16000, subtype="FLOAT")
    with pytest.raises(InputError, match="contains 3 NaN or infinite samples of 32000"):
        audio.read(path)
    assert audio.read(path, start_s=1).shape == (16000,)


@pytest.mark.parametrize("rate_hz", [1, 999, 2_000_000_000])
def test_an_absurd_rate_is_a_damaged_header(tmp_path: Path, rate_hz: int) -> None:
    path = tmp_path / "rate.wav"
    soundfile.write(path, sine(16000), 16000)
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", rate_hz)
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"rate of {rate_hz} Hz|is not readable audio"):
        audio.read(path)


def test_names_with_blanks_and_letters_of_all_kinds(tmp_path: Path) -> None:
    path = tmp_path / "der König – 1.wav"
    soundfile.write(tmp_path / "plain.wav", sine(16000), 16000)
    shutil.copy(tmp_path / "plain.wav", path)
    assert audio.read(path).shape == (32000,)


def _read_or_refuse(path: Path) -> None:
    for function in (audio.info, audio.read):
        try:
            function(path)
        except InputError as error:
            assert str(path) in str(error)


@given(content=st.binary(max_size=300), suffix=st.sampled_from(sorted(FORMATS)))
def test_random_bytes_are_read_or_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"random.{suffix}"
    path.write_bytes(content)
    _read_or_refuse(path)


@given(data=st.data())
def test_files_with_a_few_wrong_bytes_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from(["wav", "flac", "aiff", "ogg", "opus", "au", "w64", "rf64"]))
    path = tmp_path / f"damaged.{suffix}"
    soundfile.write(path, sine(16000, duration_s=0.05), 16000, **FORMATS[suffix][0])
    content = bytearray(path.read_bytes())
    header = min(len(content), 120)  # where a wrong byte does most
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, header - 1), st.integers(0, 255)), max_size=4)
    ):
        content[at] = value
    path.write_bytes(content)
    _read_or_refuse(path)
