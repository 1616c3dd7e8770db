"""espeak-ng through ctypes, from the shared library that ``espeakng-loader`` carries.

The library keeps hidden state (oscillator phases, flutter) from one utterance to the next, and it is not
thread-safe. A synthesiser is therefore created once per process; reproducing samples requires the same
utterances in the same order in a new process.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ, resample

# names and values from espeak-ng's speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_POS_CHARACTER = 1

#: The default of 100 drives several voices into the limiter.
_VOLUME_PERCENT = 25

#: Accents of English, as language names of espeak-ng.
ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc")

#: Variants that are not distinct speakers: whispers that speech detection misses (silero-vad finds
#: 20 % and 43 % of them), and one of each two whose average spectra differ least.
_LEFT_OUT = {
    "whisper",
    "whisperf",
    "steph3",
    "klatt2",
    "klatt5",
    "klatt6",
    "RicishayMax3",
    "anikaRobot",
    "robosoft3",
}

_PHONEME_EVENTS = 1
_END, _WORD, _PHONEME = 0, 1, 7


class _Name(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Name),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A synthetic voice.

    Attributes:
        variant: name of an espeak-ng voice variant.
        accent: one of `ACCENTS`.
        pitch: 0 to 100; 50 is the variant's own.
        pitch_range: liveliness of the intonation, 0 to 100.
        words_per_minute: speaking rate.
    """

    variant: str
    accent: str = "en-us"
    pitch: int = 50
    pitch_range: int = 50
    words_per_minute: int = 170


def variants() -> list[str]:
    """Names of the voice variants that make distinct, audible speakers, sorted.

    Raises:
        InputError: espeakng-loader is not installed.
    """
    found = {file.name for file in (_data_path() / "voices" / "!v").iterdir()}
    return sorted(found - _LEFT_OUT)


@dataclass(frozen=True)
class Aligned:
    """What is said when.

    Attributes:
        start_s: from the start of the utterance.
        end_s: from the start of the utterance.
        token: a phone, in espeak-ng's mnemonics with stress marks, or a word.
    """

    start_s: float
    end_s: float
    token: str


@dataclass(frozen=True)
class Spoken:
    """An utterance and its phones and words.

    Attributes:
        wave: (S,) float32 at 16 kHz.
        phones: in order; they cover the utterance.
        words: in order.
    """

    wave: np.ndarray
    phones: list[Aligned]
    words: list[Aligned]


class Synthesiser:
    """Text to samples. Make one per process."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._rate_hz = int(
            self._library.espeak_Initialize(
                _AUDIO_OUTPUT_SYNCHRONOUS, 0, str(_data_path()).encode(), _PHONEME_EVENTS
            )
        )
        if self._rate_hz <= 0:
            raise RuntimeError("espeak-ng could not be initialised")
        # otherwise the noise in breathy voices is seeded by the clock
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._pieces: list[np.ndarray] = []
        self._events: list[tuple[int, float, int, int, str]] = []
        self._callback = _Callback(self._receive)  # kept: the library holds the bare pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: Voice) -> np.ndarray:
        """Synthesise ``text``.

        Returns:
            (S,) float32 at 16 kHz, within [-1, 1], with whatever silence espeak-ng puts around it.

        Raises:
            ValueError: espeak-ng has no such voice.
        """
        name = f"{voice.accent}+{voice.variant}"
        # espeak-ng itself ignores a variant that it does not know
        known = (_data_path() / "voices" / "!v" / voice.variant).is_file()
        if not known or self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {name!r}")
        for parameter, value in (
            (_VOLUME, _VOLUME_PERCENT),
            (_RATE, voice.words_per_minute),
            (_PITCH, voice.pitch),
            (_RANGE, voice.pitch_range),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._pieces, self._events = [], []
        encoded = text.encode()
        status = self._library.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded) + 1), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None
        )
        if status != 0:
            raise RuntimeError(f"espeak-ng failed with status {status} on {text!r}")
        samples = np.concatenate([np.zeros(0, np.int16), *self._pieces])
        return resample(samples.astype(np.float32) / 32768.0, self._rate_hz, RATE_HZ)

    def speak_aligned(self, text: str, voice: Voice) -> Spoken:
        """Synthesise ``text`` with the times of its phones and words, as espeak-ng gives them.

        Raises:
            ValueError: as `speak`, or the text is not ASCII, by whose characters words are found.
        """
        if not text.isascii():
            raise ValueError(f"expected ASCII text, found {text!r}")
        wave = self.speak(text, voice)
        end_s = len(wave) / RATE_HZ
        found: dict[int, list[Aligned]] = {_PHONEME: [], _WORD: []}
        for kind, tokens in found.items():
            events = [event for event in self._events if event[0] == kind]
            starts = [event[1] for event in events]
            # a word ends where the next one, or a pause, begins
            ends = [*starts[1:], end_s]
            if kind == _WORD:
                pauses = [
                    event[1] for event in self._events if event[0] == _PHONEME and event[4].startswith("_")
                ]
                ends = [
                    min([end, *(pause for pause in pauses if pause > start)])
                    for start, end in zip(starts, ends, strict=True)
                ]
            for (_, start_s, position, length, name), until_s in zip(events, ends, strict=True):
                token = text[position - 1 : position - 1 + length] if kind == _WORD else name
                if token and until_s > start_s:
                    tokens.append(Aligned(start_s, min(until_s, end_s), token))
        return Spoken(wave, found[_PHONEME], found[_WORD])

    def _receive(
        self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]
    ) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        number = 0
        while events and events[number].type != _END:
            event = events[number]
            if event.type in (_WORD, _PHONEME):
                name = event.id.string.decode(errors="replace") if event.type == _PHONEME else ""
                at_s = event.sample / self._rate_hz
                self._events.append((event.type, at_s, event.text_position, event.length, name))
            number += 1
        return 0  # go on


def _data_path() -> Path:
    try:
        import espeakng_loader
    except ImportError:
        raise InputError(
            "the synthetic corpus needs espeakng-loader, which is not installed",
            hint="pip install espeakng-loader, or name your own recordings with --corpus",
        ) from None
    return Path(espeakng_loader.get_data_path())
