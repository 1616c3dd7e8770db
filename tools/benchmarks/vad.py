"""VAD: silero's network over all frames at once, against the stock loop over single frames.

python tools/benchmarks/vad.py AUDIO...    concatenates the files and runs both on the same samples
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from sdpn.diarization import silero as torch_silero
from sdpn.diarization import vad
from sdpn.io import audio


def main() -> None:
    """Print the time of both, their ratio, and how far their results differ."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    wave = np.concatenate([audio.read(path) for path in sys.argv[1:]])
    duration_s = len(wave) / audio.RATE_HZ
    silero = torch_silero._silero()
    model = silero.load_silero_vad()

    def stock() -> np.ndarray:
        model.reset_states()
        frames = torch.nn.functional.pad(torch.from_numpy(wave), (0, -len(wave) % vad.FRAME)).split(vad.FRAME)
        with torch_silero._one_thread(), torch.inference_mode():
            return np.array([model(frame, audio.RATE_HZ).item() for frame in frames])

    def ours() -> np.ndarray:
        return vad.speech_probabilities(wave)

    for run in (stock, ours):  # loading and the JIT's first calls are not what is compared
        run()
    stock_s, theirs = best_of(3, stock)
    ours_s, mine = best_of(3, ours)
    print(f"{duration_s:.0f} s of audio")
    print(f"stock loop    {stock_s:8.3f} s   real-time factor {stock_s / duration_s:.5f}")
    print(f"all at once   {ours_s:8.3f} s   real-time factor {ours_s / duration_s:.5f}")
    print(f"ratio         {stock_s / ours_s:8.1f}")
    print(f"largest difference of a probability {np.abs(theirs - mine).max():.1e}")
    same = ((theirs >= 0.5) == (mine >= 0.5)).mean()
    print(f"frames on the same side of 0.5: {100 * same:.4f} %")


def best_of(runs: int, function: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Shortest time of several runs, in seconds, and the result."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - started)
    return min(times), result


if __name__ == "__main__":
    main()
