"""Speech, noise and silence: which of them a frame is.

Shapes: S samples, T frames.
"""

from __future__ import annotations

import numpy as np

from sdpn.diarization.vad import detect_speech
from sdpn.explain.pitch import Pitch

#: What is this far below the level of the speech counts as silence, in dB.
_QUIETER_DB = 30.0


def frame_kinds(wave_S: np.ndarray, pitch: Pitch, hop_s: float) -> list[str]:
    """``speech``, ``noise`` or ``silence`` for every frame.

    Speech is what the detector of `sdpn diarize` finds; of the rest, silence is 30 dB below its mean level
    (without any speech, below the loudest frame), and noise is louder.

    Args:
        wave_S: (S,) at 16 kHz.
        pitch: of its frames.
        hop_s: seconds between them.
    """
    num_frames = len(pitch.level_db)
    speech_T = np.zeros(num_frames, dtype=bool)
    for segment in detect_speech(wave_S):
        speech_T[round(segment.start_s / hop_s) : round(segment.end_s / hop_s)] = True
    reference_db = (
        10 * np.log10((10 ** (pitch.level_db[speech_T] / 10)).mean())
        if speech_T.any()
        else pitch.level_db.max()
    )
    quiet_T = pitch.level_db < reference_db - _QUIETER_DB
    return np.where(speech_T, "speech", np.where(quiet_T, "silence", "noise")).tolist()
