"""How a recording sounds apart from who speaks: noise beside the speech, and the band that it fills.

Shapes: S samples, T frames, F frequencies.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from sdpn.io.audio import RATE_HZ, Audio, Channel, open_audio
from sdpn.people.voiceprint import RecordingConditions

#: Samples of a frame: 32 ms.
_FRAME = 512
#: Frames of a block, which bounds memory.
_AT_ONCE = 2048
#: Fewest frames of pauses for a level of noise: a third of a second.
_FEWEST = 10
#: The band ends where the spectrum of speech has fallen this far below its peak over a third of an octave.
_FALL_DB = 45.0


def measure_conditions(
    audio: Audio,
    speech: Sequence[tuple[float, float]],
    *,
    channel: Channel = None,
    keep_truncated: bool = False,
) -> RecordingConditions | None:
    """Measure noise and bandwidth of a recording, which is read once, in blocks.

    Args:
        audio: a file or samples.
        speech: start and end of speech in seconds, in order.
        channel: channel to read.
        keep_truncated: read a truncated file as far as it goes.

    Returns:
        None without speech.

    Raises:
        InputError: the audio cannot be read.
    """
    spans_M2 = np.array(speech, dtype=np.float64).reshape(-1, 2)
    power_F, voiced, quiet = np.zeros(_FRAME // 2 + 1), 0, 0
    in_speech, in_pauses = 0.0, 0.0
    with open_audio(audio, channel=channel, keep_truncated=keep_truncated) as stream:
        at, left_S = 0, np.zeros(0, dtype=np.float32)
        for block_S in stream.blocks():
            left_S = np.concatenate([left_S, block_S])
            whole = len(left_S) // _FRAME
            for start in range(0, whole, _AT_ONCE):
                frames = left_S[start * _FRAME : min(start + _AT_ONCE, whole) * _FRAME].reshape(-1, _FRAME)
                starts_T = (at + np.arange(len(frames)) * _FRAME) / RATE_HZ
                at += len(frames) * _FRAME
                speaking_T, pausing_T = _where(starts_T, spans_M2)
                energy_T = np.einsum("ts,ts->t", frames, frames, dtype=np.float64)
                in_speech += float(energy_T[speaking_T].sum())
                in_pauses += float(energy_T[pausing_T].sum())
                voiced, quiet = voiced + int(speaking_T.sum()), quiet + int(pausing_T.sum())
                spectra = np.abs(np.fft.rfft(frames[speaking_T] * np.hanning(_FRAME), axis=1)) ** 2
                power_F += spectra.sum(axis=0)
            left_S = left_S[whole * _FRAME :]
    if not voiced or not in_speech:
        return None
    return RecordingConditions(
        snr_db=_snr_db(in_speech / voiced, in_pauses / quiet) if quiet >= _FEWEST else None,
        bandwidth_hz=_bandwidth_hz(power_F),
    )


def differences(now: RecordingConditions, then: Sequence[RecordingConditions]) -> list[str]:
    """What is clearly worse or other in a recording than in those that people were enrolled with.

    Args:
        now: of the recording.
        then: of the enrolments.

    Returns:
        sentences for a warning; none where the conditions are alike.
    """
    found = []
    bands = [one.bandwidth_hz for one in then]
    if bands and not min(bands) / 1.5 <= now.bandwidth_hz <= max(bands) * 1.5:
        kind = "a telephone's" if now.bandwidth_hz < 4200 else "another"
        found.append(
            f"its band ends at {now.bandwidth_hz / 1000:.1f} kHz, {kind}, and that of the enrolments at "
            f"{min(bands) / 1000:.1f} to {max(bands) / 1000:.1f} kHz"
        )
    ratios = [one.snr_db for one in then if one.snr_db is not None]
    if ratios and now.snr_db is not None and now.snr_db < min(ratios) - 10:
        found.append(
            f"speech is {now.snr_db:.0f} dB above the noise, and {min(ratios):.0f} dB or more in the "
            "enrolments"
        )
    return found


def _where(starts_T: np.ndarray, spans_M2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames that lie in speech, and frames that are farther than 0.2 s from any."""
    if not len(spans_M2):
        return np.zeros(len(starts_T), dtype=bool), np.ones(len(starts_T), dtype=bool)
    ends_T = starts_T + _FRAME / RATE_HZ

    def meets(margin_s: float) -> np.ndarray:
        """Whether a frame shares time with a span that is longer by this on both sides."""
        following = np.searchsorted(spans_M2[:, 1] + margin_s, starts_T, side="right")
        begins = np.append(spans_M2[:, 0] - margin_s, np.inf)
        meeting: np.ndarray = begins[following] < ends_T
        return meeting

    following = np.searchsorted(spans_M2[:, 1], ends_T, side="left")
    inside = np.append(spans_M2[:, 0], np.inf)[following] <= starts_T
    return inside, ~meets(0.2)


def _snr_db(speech: float, pauses: float) -> float:
    """Decibels of the speech without the noise, at most 60: beyond, rounding to 16 bits decides."""
    least = speech * 1e-6
    ratio = max(speech - pauses, least) / max(pauses, least)
    return round(float(10 * np.log10(ratio)), 1)


def _bandwidth_hz(power_F: np.ndarray) -> float:
    """The highest third of an octave whose mean power is at most `_FALL_DB` below that of the strongest."""
    hz = np.arange(len(power_F)) * RATE_HZ / _FRAME
    edges = RATE_HZ / 2 * 2.0 ** (-np.arange(0, 19) / 3)  # 8 kHz, 6.35 kHz, ... 125 Hz
    levels = np.array(
        [
            power_F[(hz > low) & (hz <= high)].mean() if ((hz > low) & (hz <= high)).any() else 0.0
            for high, low in itertools.pairwise(edges)
        ]
    )
    enough = levels >= levels.max() * 10 ** (-_FALL_DB / 10)
    return round(float(edges[int(np.argmax(enough))]), 0)
