"""Audio in which the parts that count are louder.

Shapes: S samples, T frames.
"""

from __future__ import annotations

import io

import numpy as np

from sdpn.io.audio import RATE_HZ

#: How much louder the most relevant parts are than those of no relevance, in dB.
RANGE_DB = 24.0
#: Relevance is smoothed over this long, so that the gain does not click.
_SMOOTH_S = 0.15
#: Largest sample.
_PEAK = 0.9


def louder_where_relevant(wave_S: np.ndarray, relevance_T: np.ndarray, hop_s: float) -> np.ndarray:
    """Samples (S,) with a gain that follows the positive relevance of frames.

    Args:
        wave_S: (S,) at 16 kHz.
        relevance_T: relevance of every frame.
        hop_s: seconds between them.

    Returns:
        (S,) float32, the most relevant part at its own level, what has none 24 dB below.
    """
    width = max(1, round(_SMOOTH_S / hop_s))
    positive_T = np.maximum(relevance_T, 0)
    smooth_T = np.convolve(positive_T, np.ones(width) / width, "same")
    share_T = smooth_T / max(1e-12, float(np.quantile(smooth_T, 0.95)))
    gain_db = RANGE_DB * (np.minimum(share_T, 1) - 1)
    at_S = np.arange(len(wave_S)) / (hop_s * RATE_HZ)
    louder_S: np.ndarray = wave_S * 10 ** (np.interp(at_S, np.arange(len(gain_db)), gain_db) / 20)
    return louder_S.astype(np.float32)


def as_mp3(wave_S: np.ndarray) -> bytes:
    """Samples at 16 kHz as an MP3 file, which every browser plays; scaled to an audible level."""
    import soundfile

    stream = io.BytesIO()
    peak = float(np.abs(wave_S).max()) if len(wave_S) else 0.0
    scaled_S = wave_S * (_PEAK / peak) if peak else wave_S
    soundfile.write(stream, scaled_S, RATE_HZ, format="MP3")
    return stream.getvalue()
