"""Mixing of a conversation from its manifest line.

All computations of a manifest are in float64: rounding differences between machines are then about 10^11
times smaller than a 16-bit step, and do not affect the result. Training, which keeps no manifest, mixes in
float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sdpn.augmentation.rooms import simulate_room, trim_room
from sdpn.errors import InputError
from sdpn.simulation.manifest import Conversation, Kind, SimulatedRoom, SourceFile

#: Loads an audio file of a conversation: (S,) at 16 kHz.
Load = Callable[[Kind, SourceFile], np.ndarray]

#: Half the length of the fades at both ends of a phrase, in samples (10 ms). They are centred on the ends and
#: complement each other, so that phrases that follow each other in their utterance join without a trace.
_HALF_FADE = 160

#: Cross-fade between clips of noise, in samples (20 ms).
_NOISE_FADE = 320

#: Maximum sample of a conversation; louder ones are attenuated as a whole.
_PEAK = 0.95


def mix(conversation: Conversation, load: Load) -> np.ndarray:
    """Mix a conversation.

    Args:
        conversation: the conversation.
        load: loads its recordings.

    Returns:
        (num_samples,) int16.

    Raises:
        InputError: a recording cannot be read or is shorter than its phrases, or a room response is silent.
    """
    speech, *noises = mix_layers(conversation, load)
    mixed = sum(noises, speech)
    mixed *= min(1.0, _PEAK / max(float(np.abs(mixed).max()), 1e-9))
    return np.round(mixed * 32768.0).astype(np.int16)


def mix_layers(
    conversation: Conversation, load: Load, dtype: type[np.floating[Any]] = np.float64
) -> list[np.ndarray]:
    """The layers whose sum is the mixture, (num_samples,) each: speech, ambience and, if any, recorded noise.

    Args:
        conversation: the conversation; at least one phrase, which the levels of noise refer to.
        load: loads its recordings.
        dtype: of the computation and the result. float32 takes half the time.

    Raises:
        InputError: as for `mix`.
    """
    speech = np.zeros(conversation.num_samples, dtype)
    for number, speaker in enumerate(conversation.speakers):
        dry = _dry(conversation, number, load, dtype)
        speech += dry if speaker.room is None else _reverberate(dry, _room(speaker.room, load))
    power = _speech_power(conversation, speech)
    layers = [speech, _ambience(conversation, power, dtype)]
    if conversation.noise is not None:
        clips = [load("noise", clip).astype(dtype) for clip in conversation.noise.clips]
        recorded = _loop(clips, len(speech), dtype)
        layers.append(recorded * _gain(recorded, power, conversation.noise.snr_db))
    return layers


def _dry(conversation: Conversation, speaker: int, load: Load, dtype: type[np.floating[Any]]) -> np.ndarray:
    """The dry signal of one speaker."""
    dry = np.zeros(conversation.num_samples, dtype)
    loaded: dict[int, np.ndarray] = {}
    for phrase in conversation.phrases:
        utterance = conversation.utterances[phrase.utterance]
        if utterance.speaker != speaker:
            continue
        if phrase.utterance not in loaded:
            loaded[phrase.utterance] = load("utterance", utterance.file).astype(dtype)
        samples = loaded[phrase.utterance]
        if phrase.end > len(samples):
            raise InputError(
                f"utterance {utterance.file.path!r} ends at sample {len(samples)}, inside a phrase"
            )
        # fades extend beyond the phrase, within utterance and conversation
        before = min(_HALF_FADE, phrase.start, phrase.onset)
        after = min(
            _HALF_FADE, len(samples) - phrase.end, len(dry) - (phrase.onset + phrase.end - phrase.start)
        )
        length = before + phrase.end - phrase.start + after
        weight = np.full(length, 10 ** (phrase.gain_db / 20), dtype)
        faded = min(length, 2 * _HALF_FADE)  # of both ends: between them, the weight is the gain
        for edge in (np.arange(faded), np.arange(max(faded, length - faded), length)):
            at = edge - before + 0.5
            rise = np.clip((at / _HALF_FADE + 1) / 2, 0.0, 1.0)
            fall = np.clip(((phrase.end - phrase.start - at) / _HALF_FADE + 1) / 2, 0.0, 1.0)
            weight[edge] *= np.sin(np.pi / 2 * np.minimum(rise, fall)) ** 2
        start = phrase.onset - before
        dry[start : start + length] += weight * samples[phrase.start - before : phrase.end + after]
    return dry


def _room(room: SourceFile | SimulatedRoom, load: Load) -> np.ndarray:
    if isinstance(room, SimulatedRoom):
        return simulate_room(room.rt60_s, np.random.default_rng(room.seed))
    response = load("room", room)
    if not np.any(response):
        raise InputError(f"room {room.path!r} is silent")
    return trim_room(response)


def _reverberate(dry: np.ndarray, room: np.ndarray) -> np.ndarray:
    from scipy.signal import oaconvolve

    wet: np.ndarray = oaconvolve(dry, room.astype(dry.dtype))[: len(dry)]
    return wet


def _speech_power(conversation: Conversation, speech: np.ndarray) -> float:
    """Mean power during speech."""
    spoken = np.zeros(len(speech), dtype=bool)
    for phrase in conversation.phrases:
        spoken[phrase.onset : phrase.onset + phrase.end - phrase.start] = True
    return float(np.mean(speech[spoken] ** 2))


def _ambience(conversation: Conversation, speech_power: float, dtype: type[np.floating[Any]]) -> np.ndarray:
    """Stationary noise that falls by 6 dB per octave above some 300 Hz, as that of rooms does."""
    from scipy.signal import lfilter

    rng = np.random.default_rng(conversation.ambience.seed)
    white: np.ndarray = rng.standard_normal(conversation.num_samples, dtype)
    noise: np.ndarray = lfilter(np.array([1.0], dtype), np.array([1.0, -0.9], dtype), white)
    return noise * _gain(noise, speech_power, conversation.ambience.snr_db)


def _gain(noise: np.ndarray, speech_power: float, snr_db: float) -> float:
    return float(np.sqrt(speech_power * 10 ** (-snr_db / 10) / max(float(np.mean(noise**2)), 1e-20)))


def _loop(clips: Sequence[np.ndarray], num_samples: int, dtype: type[np.floating[Any]]) -> np.ndarray:
    """Concatenate clips with cross-fades, repeating from the first."""
    clips = [clip for clip in clips if len(clip) > 2 * _NOISE_FADE]
    if not clips:
        return np.zeros(num_samples, dtype)
    ramp = np.sin(np.pi / 2 * (np.arange(_NOISE_FADE) + 0.5) / _NOISE_FADE)
    noise = np.zeros(num_samples + max(map(len, clips)), dtype)
    at = number = 0
    while at < num_samples:
        clip = clips[number % len(clips)].copy()
        clip[:_NOISE_FADE] *= ramp
        clip[-_NOISE_FADE:] *= ramp[::-1]
        noise[at : at + len(clip)] += clip
        at += len(clip) - _NOISE_FADE
        number += 1
    return noise[:num_samples]
