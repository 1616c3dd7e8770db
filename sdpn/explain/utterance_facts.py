"""What utterances sound like in numbers: length, level, noise, band and pitch.

Shapes: M utterances, S samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sdpn.diarization.vad import detect_speech
from sdpn.explain.pitch import track_pitch
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance
from sdpn.people.conditions import measure_conditions

#: Seconds between frames whose pitch is measured: the median of an utterance needs no more.
_HOP_S = 0.04

#: Samples of a frame whose power is measured: 32 ms; and the highest SNR that is told from another.
_FRAME, _MOST_DB = 512, 60.0

#: Name of a fact -> its column heading, and how it is shown.
FACTS = {
    "duration_s": ("duration s", "{:.2f}"),
    "speech_s": ("speech s", "{:.2f}"),
    "level_db": ("level dB", "{:.0f}"),
    "snr_db": ("SNR dB", "{:.0f}"),
    "bandwidth_hz": ("band Hz", "{:.0f}"),
    "pitch_hz": ("pitch Hz", "{:.0f}"),
}


def measure_facts(
    utterances: Sequence[Utterance], *, on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> dict[str, np.ndarray]:
    """Measure every utterance; each is read once.

    Args:
        utterances: M utterances.
        on_progress: called with (done, total).

    Returns:
        float64 (M,) by name: ``duration_s``, ``speech_s`` (what the detector of ``sdpn diarize`` finds),
        ``level_db`` (mean power of the speech, dB of full scale), ``snr_db`` (that power, less the noise,
        over the noise: the quietest tenth of the frames, so that clips cut close to the speech have one as
        well; at most 60), ``bandwidth_hz`` (`sdpn.people.conditions.measure_conditions`), ``pitch_hz``
        (median F0 of voiced frames). NaN where it cannot be measured: without speech.

    Raises:
        InputError: an utterance cannot be read.
    """
    found = {name: np.full(len(utterances), np.nan) for name in FACTS}
    for index, utterance in enumerate(utterances):
        for name, value in _facts(utterance.read()).items():
            found[name][index] = value
        on_progress(index + 1, len(utterances))
    return found


def _facts(wave_S: np.ndarray) -> dict[str, float]:
    spans = [(one.start_s, one.end_s) for one in detect_speech(wave_S)]
    found = {"duration_s": len(wave_S) / RATE_HZ, "speech_s": sum(end - start for start, end in spans)}
    conditions = measure_conditions((wave_S, RATE_HZ), spans)
    if conditions is None:
        return found
    found["bandwidth_hz"] = conditions.bandwidth_hz
    speech_S = np.concatenate(
        [wave_S[round(start * RATE_HZ) : round(end * RATE_HZ)] for start, end in spans]
    ).astype(np.float64)
    power = max(1e-12, float((speech_S**2).mean()))
    found["level_db"] = 10 * np.log10(power)
    found["snr_db"] = _snr_db(wave_S.astype(np.float64), power)
    pitch = track_pitch(speech_S, max(1, int(len(speech_S) / RATE_HZ / _HOP_S)), _HOP_S)
    if pitch.is_voiced.any():
        found["pitch_hz"] = float(np.nanmedian(pitch.f0_hz))
    return found


def _snr_db(wave_S: np.ndarray, speech_power: float) -> float:
    """Power of the speech above that of the quietest tenth of the frames, which speech leaves to the noise.

    Frames that are 60 dB below the speech are digital silence, not noise of the recording.
    """
    whole = max(1, len(wave_S) // _FRAME)
    power_T = (wave_S[: whole * _FRAME].reshape(whole, -1) ** 2).mean(axis=1)
    floor = speech_power * 10 ** (-_MOST_DB / 10)
    noise_T = np.sort(power_T[power_T > floor])
    if not len(noise_T):
        return _MOST_DB
    noise = float(noise_T[: max(1, len(noise_T) // 10)].mean())
    return min(_MOST_DB, 10 * np.log10(max(speech_power - noise, floor) / noise))
