"""Room impulse responses: simulation, and preparation of measured ones."""

from __future__ import annotations

import numpy as np

from sdpn.io.audio import RATE_HZ

#: Maximum length of a room response, in seconds and in samples.
_ROOM_S = 0.5
LONGEST_ROOM = int(_ROOM_S * RATE_HZ)

_TIMES = np.arange(LONGEST_ROOM, dtype=np.float64)


def simulate_room(rt60_s: float, rng: np.random.Generator) -> np.ndarray:
    """Simulate a room impulse response: direct sound, then Gaussian noise that decays by 60 dB in ``rt60_s``.

    The direct-to-reverberant ratio is drawn between −3 and 12 dB.

    Returns:
        (R,) float32 with unit energy, R at most half a second.
    """
    num_samples = max(2, int(min(rt60_s, _ROOM_S) * RATE_HZ))
    decay = -np.log(1000.0) / (rt60_s * RATE_HZ) * _TIMES[:num_samples]
    response = rng.standard_normal(num_samples)
    response *= np.exp(decay, out=decay)
    response[0] = 0.0
    response *= 10 ** (-rng.uniform(-3.0, 12.0) / 20) / np.linalg.norm(response)
    response[0] = 1.0
    return (response / np.linalg.norm(response)).astype(np.float32)


def trim_room(room: np.ndarray) -> np.ndarray:
    """Start a measured response at the direct sound, so that it does not shift the speech.

    Args:
        room: (R,), not all zero.

    Returns:
        (R',) float32 with unit energy, R' at most half a second.
    """
    start = max(0, int(np.abs(room).argmax()) - RATE_HZ // 1000)
    # in float64: BLAS sums in an order that depends on the processor, and in float32 that shows in the result
    room = room[start : start + LONGEST_ROOM].astype(np.float64)
    return (room / np.linalg.norm(room)).astype(np.float32)
