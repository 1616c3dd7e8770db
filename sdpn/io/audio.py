"""Audio files to mono float32 arrays, with a clear error for everything that is not speech-ready.

Whatever libsndfile reads is accepted (wav, flac, ogg/opus, mp3, ...), at any rate and with any
number of channels.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import soundfile

from sdpn.errors import InputError

#: Sampling rate of everything inside sdpn, in Hz.
RATE_HZ = 16000

#: WAV sizes that streaming writers leave when they never learn the true length.
_UNKNOWN_SIZES = {0, 0x7FFFFFFF, 0xFFFFFFFF}


@dataclass(frozen=True, kw_only=True)
class AudioInfo:
    """What the header of an audio file says.

    Attributes:
        path: the file.
        rate_hz: samples per second and channel.
        num_frames: samples per channel.
        num_channels: number of channels.
    """

    path: Path
    rate_hz: int
    num_frames: int
    num_channels: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_frames / self.rate_hz


def info(path: str | os.PathLike[str]) -> AudioInfo:
    """Read the header of an audio file.

    Raises:
        InputError: the file is missing, empty, truncated or not audio.
    """
    with _open(path) as file:
        return AudioInfo(
            path=Path(path),
            rate_hz=file.samplerate,
            num_frames=file.frames,
            num_channels=file.channels,
        )


def read(
    path: str | os.PathLike[str],
    *,
    rate_hz: int = RATE_HZ,
    channel: int | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> np.ndarray:
    """Read (a part of) an audio file as mono float32 in [-1, 1].

    Args:
        path: any file that libsndfile reads.
        rate_hz: rate of the result; the file is resampled (polyphase) when its own differs.
        channel: channel to take, counted from 0; None averages all channels.
        start_s: where to start, in seconds.
        duration_s: how much to read, in seconds; None reads to the end.

    Returns:
        samples (S,), float32. A range that ends after the file is cut at its end.

    Raises:
        InputError: the file is missing, empty, truncated, not audio, holds NaN or infinite
            samples, or has no such channel.
    """
    with _open(path) as file:
        if channel is not None and not 0 <= channel < file.channels:
            raise InputError(
                f"has no channel {channel}: it holds {file.channels}",
                path=path,
                hint="channels are counted from 0",
            )
        start = round(start_s * file.samplerate)
        count = -1 if duration_s is None else round(duration_s * file.samplerate)
        wanted = max(0, file.frames - start if count < 0 else min(count, file.frames - start))
        try:
            if start:
                file.seek(min(start, file.frames))
            samples = file.read(count, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise InputError(
                f"cannot be decoded ({_reason(error)}): the file is damaged or truncated",
                path=path,
                hint="copy or convert it again",
            ) from error
        if len(samples) < wanted:
            raise _truncated(path, wanted / file.samplerate, len(samples) / file.samplerate)
        file_rate_hz = file.samplerate
    mono = samples.mean(axis=1) if channel is None else np.ascontiguousarray(samples[:, channel])
    bad = mono.size - int(np.isfinite(mono).sum())
    if bad:
        raise InputError(
            f"holds {bad} NaN or infinite samples of {mono.size}",
            path=path,
            hint="float files must hold finite numbers in [-1, 1]",
        )
    return resample(mono, file_rate_hz, rate_hz)


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Change the sampling rate with scipy's polyphase filter.

    Args:
        samples: (S,) float32.
        from_hz: rate of ``samples``.
        to_hz: rate of the result.

    Returns:
        (ceil(S * to_hz / from_hz),) float32.
    """
    if from_hz == to_hz:
        return samples
    from scipy.signal import resample_poly  # imports half of scipy: only when it is needed

    divisor = gcd(from_hz, to_hz)
    resampled: np.ndarray = resample_poly(samples, to_hz // divisor, from_hz // divisor)
    return resampled.astype(np.float32, copy=False)


def _open(path: str | os.PathLike[str]) -> soundfile.SoundFile:
    """Open for reading, or say what is wrong with the file."""
    if not os.path.exists(path):
        raise InputError("no such audio file", path=path)
    if os.path.isdir(path):
        raise InputError("is a folder; an audio file was expected", path=path)
    if os.path.getsize(path) == 0:
        raise InputError("the audio file is empty (0 bytes)", path=path)
    try:
        file = soundfile.SoundFile(os.fspath(path))
    except soundfile.LibsndfileError as error:
        raise InputError(
            f"is not audio that can be read ({_reason(error)})",
            path=path,
            hint="expected wav, flac, ogg, opus or mp3",
        ) from error
    if file.frames == 0:
        file.close()
        raise InputError("the audio file holds no samples", path=path)
    _refuse_truncated(file, path)
    return file


def _refuse_truncated(file: soundfile.SoundFile, path: str | os.PathLike[str]) -> None:
    """Libsndfile reads a cut file without a word, but its log knows: half a meeting is no meeting."""
    log = file.extra_info
    match = re.search(r"^data\s*: (\d+) \(should be (\d+)\)", log, flags=re.MULTILINE)
    if match and (size := int(match[1])) not in _UNKNOWN_SIZES and size > int(match[2]):
        seconds = file.frames / file.samplerate
        file.close()
        raise _truncated(path, seconds * size / int(match[2]), seconds)
    if "lacks an end-of-stream" in log:
        seconds = file.frames / file.samplerate
        file.close()
        raise InputError(
            f"is truncated: the last page of the Ogg stream is missing after {seconds:.2f} s",
            path=path,
            hint="copy it again, or re-encode it to accept it as it is",
        )


def _truncated(path: str | os.PathLike[str], promised_s: float, held_s: float) -> InputError:
    return InputError(
        f"is truncated: its header promises {promised_s:.2f} s, {held_s:.2f} s are there",
        path=path,
        hint="copy it again, or re-encode it to accept it as it is",
    )


def _reason(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).strip().removeprefix("Error :").strip().rstrip(".")
