"""A recording as explanations show it: samples, log-mel picture, pitch, and what every frame is.

Shapes: S samples, F mel bins, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sdpn.errors import InputError
from sdpn.explain.frame_kinds import frame_kinds
from sdpn.explain.network import ExplainedNetwork, is_silent
from sdpn.explain.pitch import Pitch, track_pitch
from sdpn.io import audio as audio_files
from sdpn.io.audio import RATE_HZ, Audio, Channel
from sdpn.io.kaldi import Utterance


@dataclass(frozen=True, eq=False)
class Hearing:
    """One utterance.

    Attributes:
        name: its id.
        wave_S: samples at 16 kHz.
        network: that hears it.
    """

    name: str
    wave_S: np.ndarray
    network: ExplainedNetwork

    @cached_property
    def log_mel_FT(self) -> np.ndarray:
        """Its log-mel picture, in the pieces in which it is explained."""
        pieces = [self.network.log_mel(piece) for piece in self.network.pieces(self.wave_S)]
        return np.concatenate(pieces, axis=1)

    @cached_property
    def pitch(self) -> Pitch:
        """Pitch, voicing and level of its frames."""
        return track_pitch(self.wave_S, self.log_mel_FT.shape[1], self.network.hop_s)

    @cached_property
    def kinds(self) -> list[str]:
        """What its frames are: speech, noise or silence."""
        return frame_kinds(self.wave_S, self.pitch, self.network.hop_s)

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return len(self.wave_S) / RATE_HZ

    @cached_property
    def snr_db(self) -> float:
        """Level of its speech above that of the rest, in dB; NaN where all or none is speech."""
        power_T = 10 ** (self.pitch.level_db / 10)
        speech_T = np.array(self.kinds) == "speech"
        if speech_T.all() or not speech_T.any():
            return float("nan")
        return float(10 * np.log10(power_T[speech_T].mean() / power_T[~speech_T].mean()))


def hear(
    network: ExplainedNetwork, audio: Audio | Utterance, name: str | None = None, *, channel: Channel = None
) -> Hearing:
    """Read a recording or an utterance to explain.

    Args:
        network: the network.
        audio: a recording of any kind, or an utterance of a data directory.
        name: what it is called; None: its id, or the name of its file.
        channel: channel to read, counted from 0; None averages all.

    Raises:
        InputError: it cannot be read, or is silent.
    """
    if isinstance(audio, Utterance):
        wave_S = audio.read(channel=channel)
        name = audio.id if name is None else name
    else:
        wave_S = audio_files.read(audio, channel=channel)
        name = getattr(audio, "stem", None) or "recording" if name is None else name
    if is_silent(wave_S):
        path = audio.path if isinstance(audio, Utterance) else audio if isinstance(audio, (str,)) else None
        raise InputError(
            f"{name} is silent: there is nothing to explain", path=path, hint="give a recording with speech"
        )
    return Hearing(name, wave_S, network)
