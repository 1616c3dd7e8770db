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

#: Rates beyond these are a damaged header, and resampling from them would need filters without end.
_RATES_HZ = range(1000, 768001)

#: Samples (frames times channels) read at once: a broken header may promise more than memory holds.
_BLOCK = 1 << 24

#: These decoders remember: a sample depends, if only a little, on where decoding began. So that a range is
#: the same however it is asked for, they begin at multiples of 20 s, a second early to have settled by then.
_REMEMBERING = {"MPEG_LAYER_III", "OPUS"}
_ANCHOR_S = 20
_LEAD_S = 1

#: Zero crossings of scipy's polyphase filter on each side.
_FILTER_REACH = 10

#: From here on a size is what streaming writers (sox, ffmpeg) leave when they never learn the true length.
_UNKNOWN_SIZE = 0x7FFFF000

#: Size in the header against what the file holds, as libsndfile logs it for wav, aiff, w64 and au.
_LOGGED_SIZE = re.compile(
    r"^ *(?:data|SSND|riff|Data Size)\s*: (\d+) \(should be (\d+)\)", flags=re.MULTILINE
)
#: The same for rf64: frames there, frames promised.
_LOGGED_FRAMES = re.compile(r"Calculated frame count (\d+) does not match value from 'ds64' chunk of (\d+)")

_REPAIR = "copy it again, or re-encode it to accept it as it is"

#: Longest page of an Ogg stream, in bytes.
_OGG_PAGE = 65307


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
        start, wanted = _stretch(file, start_s, duration_s)
        mono = _decode(file, path, start, wanted, channel)
        return resample(mono, file.samplerate, rate_hz)


def num_samples(
    path: str | os.PathLike[str],
    *,
    rate_hz: int = RATE_HZ,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> int:
    """Samples that `read` gives, from the file's header alone.

    Raises:
        InputError: the file is missing, empty, truncated or not audio.
    """
    with _open(path) as file:
        up, down = _ratio(file.samplerate, rate_hz)
        return -(-_stretch(file, start_s, duration_s)[1] * up // down)


def read_range(
    path: str | os.PathLike[str],
    first: int,
    count: int,
    *,
    rate_hz: int = RATE_HZ,
    channel: int | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> np.ndarray:
    """Samples ``first`` … ``first + count - 1`` of what `read` gives, without decoding the rest.

    They are the same, bit for bit: what resampling and lossy decoders need around the range is read with it.

    Args:
        path: any file that libsndfile reads.
        first: first sample, at ``rate_hz``.
        count: how many.
        rate_hz: as for `read`.
        channel: as for `read`.
        start_s: as for `read`.
        duration_s: as for `read`.

    Returns:
        (count,) float32; fewer where the end comes first.

    Raises:
        InputError: as `read`, as far as the range shows it.
    """
    with _open(path) as file:
        start, available = _stretch(file, start_s, duration_s)
        up, down = _ratio(file.samplerate, rate_hz)
        reach = 0 if up == down else _FILTER_REACH * max(up, down)
        # whole periods of the polyphase filter, so that each sample meets the phase that it has in the whole
        period = max(0, (first * down - reach) // (up * down))
        begin = min(period * down, available)
        end = min(available, -(-((first + count) * down + reach) // up))
        mono = _decode(file, path, start + begin, max(0, end - begin), channel)
        skip = first - period * up
        return resample(mono, file.samplerate, rate_hz)[skip : skip + count]


def _stretch(file: soundfile.SoundFile, start_s: float, duration_s: float | None) -> tuple[int, int]:
    """First frame of a stretch, and how many frames of it there are."""
    start = round(start_s * file.samplerate)
    end = file.frames if duration_s is None else start + round(duration_s * file.samplerate)
    return start, max(0, min(end, file.frames) - start)


def _decode(
    file: soundfile.SoundFile,
    path: str | os.PathLike[str],
    start: int,
    wanted: int,
    channel: int | None,
) -> np.ndarray:
    """Frames ``start`` … ``start + wanted - 1`` as mono, at the file's rate."""
    if channel is not None and not 0 <= channel < file.channels:
        raise InputError(
            f"has no channel {channel}: it holds {file.channels}",
            path=path,
            hint="channels are counted from 0",
        )
    try:
        first, *further = _parts(file, start, wanted)
        parts = [_read_mono(file, *first, channel)]
        for part in further:
            with soundfile.SoundFile(os.fspath(path)) as fresh:  # seeking alone does not make it forget
                parts.append(_read_mono(fresh, *part, channel))
    except soundfile.LibsndfileError as error:
        raise InputError(
            f"cannot be decoded ({_reason(error)}): the file is damaged or truncated",
            path=path,
            hint="copy or convert it again",
        ) from error
    mono = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if len(mono) < wanted:
        raise _truncated(path, len(mono), wanted)
    bad = mono.size - int(np.isfinite(mono).sum())
    if bad:
        raise InputError(
            f"holds {bad} NaN or infinite samples of {mono.size}",
            path=path,
            hint="float files must hold finite numbers in [-1, 1]",
        )
    return mono


def _parts(file: soundfile.SoundFile, start: int, wanted: int) -> list[tuple[int, int, int]]:
    """What to read for a range: (where decoding begins, frames to drop, frames to keep)."""
    if file.subtype not in _REMEMBERING:
        return [(min(start, file.frames), 0, wanted)]
    step, lead = _ANCHOR_S * file.samplerate, _LEAD_S * file.samplerate
    parts: list[tuple[int, int, int]] = []
    at = start
    while at < start + wanted or not parts:
        anchor = at // step * step
        begin, end = max(0, anchor - lead), min(start + wanted, anchor + step)
        parts.append((min(begin, file.frames), at - begin, end - at))
        at = end
    return parts


def _read_mono(
    file: soundfile.SoundFile, begin: int, drop: int, keep: int, channel: int | None
) -> np.ndarray:
    """Up to ``keep`` frames after ``drop`` from ``begin`` on, of one channel or averaged over all."""
    if begin != file.tell():
        file.seek(begin)
    take = 0 if file.channels == 1 else channel
    wanted = drop + keep
    blocks = []
    while wanted > 0:
        frames = file.read(min(wanted, _BLOCK // file.channels), dtype="float32", always_2d=True)
        if not len(frames):
            break
        wanted -= len(frames)
        blocks.append(frames.mean(axis=1) if take is None else np.ascontiguousarray(frames[:, take]))
    if not blocks:
        return np.zeros(0, dtype=np.float32)
    return (blocks[0] if len(blocks) == 1 else np.concatenate(blocks))[drop:]


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

    resampled: np.ndarray = resample_poly(samples, *_ratio(from_hz, to_hz))
    return resampled.astype(np.float32, copy=False)


def _ratio(from_hz: int, to_hz: int) -> tuple[int, int]:
    """(up, down) of a change of rate, without a common divisor."""
    divisor = gcd(from_hz, to_hz)
    return to_hz // divisor, from_hz // divisor


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
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: headerless .raw, rate unknown
        reason = _reason(error) if isinstance(error, soundfile.LibsndfileError) else "it has no header"
        raise InputError(
            f"is not audio that can be read ({reason})",
            path=path,
            hint="expected wav, flac, ogg, opus or mp3",
        ) from error
    try:
        if file.samplerate not in _RATES_HZ:
            raise InputError(
                f"its header says {file.samplerate} samples per second", path=path, hint="is it damaged?"
            )
        _refuse_truncated(file, path)
        if file.frames == 0:
            raise InputError("the audio file holds no samples", path=path)
    except InputError:
        file.close()
        raise
    return file


def _refuse_truncated(file: soundfile.SoundFile, path: str | os.PathLike[str]) -> None:
    """Libsndfile reads a cut file without a word, but its log knows: half a meeting is no meeting."""
    held = promised = 0
    if match := _LOGGED_SIZE.search(file.extra_info):
        promised, held = int(match[1]), int(match[2])
    elif match := _LOGGED_FRAMES.search(file.extra_info):
        held, promised = int(match[1]), int(match[2])
    if held < promised < _UNKNOWN_SIZE:
        raise _truncated(path, held, promised)
    if file.format == "OGG" and _lacks_ogg_end(path):
        raise InputError("is truncated: the end of its Ogg stream is missing", path=path, hint=_REPAIR)


def _lacks_ogg_end(path: str | os.PathLike[str]) -> bool:
    """Whether the last page is cut or is not marked as the last (RFC 3533, section 6)."""
    with open(path, "rb") as stream:
        stream.seek(max(0, os.path.getsize(path) - _OGG_PAGE))
        tail = stream.read()
    at = tail.rfind(b"OggS")
    if at < 0:
        return False  # something else was appended
    if len(tail) < at + 27:
        return True
    sizes = tail[at + 27 : at + 27 + tail[at + 26]]
    return not tail[at + 5] & 4 or len(tail) < at + 27 + tail[at + 26] + sum(sizes)


def _truncated(path: str | os.PathLike[str], held: int, promised: int) -> InputError:
    return InputError(
        f"is truncated: {100 * held / promised:.1f} % of what its header promises is there",
        path=path,
        hint=_REPAIR,
    )


def _reason(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).strip().removeprefix("Error :").strip().rstrip(".")
