"""The sketch measures the difference of two mixes; mixing gives the same on every processor."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from sdpn.simulation.sketch import TOLERANCE, relative_difference, sketch

RATE_HZ = 16000


def noise(seconds: float, rms: float, seed: int = 0) -> np.ndarray:
    white = np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))
    return np.round(rms * white).astype(np.int16)


def test_one_number_for_each_second_begun() -> None:
    assert len(sketch(noise(3.0, 1000))) == 3
    assert len(sketch(noise(3.01, 1000))) == 4
    assert sketch(np.zeros(0, dtype=np.int16)) == ()
    # a lone sample is counted with its sign, and the largest ones do not overflow
    assert {abs(total) for total in sketch(np.full(1, -32768, dtype=np.int16))} == {32768}


@pytest.mark.parametrize("ratio_db", [-20.0, -40.0, -55.0, -65.0, -80.0])
def test_the_estimate_is_the_level_of_the_difference(ratio_db: float) -> None:
    signal, other = noise(120.0, 3000), noise(120.0, 3000 * 10 ** (ratio_db / 20), seed=1)
    true = float(np.sqrt(np.mean(other.astype(float) ** 2) / np.mean(signal.astype(float) ** 2)))
    estimated = relative_difference(sketch(signal), sketch(signal + other))
    assert estimated == pytest.approx(true, rel=0.25)  # ± 4 deviations of a mean of 120 squares
    assert (estimated <= TOLERANCE) == (ratio_db <= -60)


def test_rounding_is_within_the_tolerance_and_a_shift_is_not() -> None:
    signal = noise(30.0, 1500)
    rounded = signal.copy()
    rounded[::300] += 1
    assert 0 < relative_difference(sketch(signal), sketch(rounded)) <= TOLERANCE / 10
    assert relative_difference(sketch(signal), sketch(np.roll(signal, 1))) > 0.5
    assert relative_difference(sketch(signal), sketch(-signal)) == pytest.approx(2.0)


def test_lengths_and_silence() -> None:
    assert relative_difference((1, 2), (1, 2, 3)) == np.inf
    assert relative_difference((0, 0), (0, 1)) == np.inf
    assert relative_difference((0, 0), (0, 0)) == 0.0


#: Digest of a conversation in measured and simulated rooms, with noise.
MIXING = """
import hashlib
import numpy as np
from sdpn.simulation.manifest import *
from sdpn.simulation.mixing import mix

rng = np.random.default_rng(0)
files = {
    "a": 0.1 * rng.standard_normal(160000).astype(np.float32),
    "hall": (rng.standard_normal(9000) * np.exp(-np.arange(9000) / 2000)).astype(np.float32),
    "rain": 0.01 * rng.standard_normal(80000).astype(np.float32),
}
line = Conversation(
    recording="r", num_samples=480000,
    speakers=(Speaker("A", SourceFile("hall", "")), Speaker("B", SimulatedRoom(0.4, 3))),
    utterances=(SpeakerUtterance(0, SourceFile("a", "")), SpeakerUtterance(1, SourceFile("a", ""))),
    phrases=(PlacedPhrase(0, 0, 150000, 1000, 3.21), PlacedPhrase(1, 50, 160000, 200000, -2.7)),
    noise=Noise(snr_db=11.3, clips=(SourceFile("rain", ""),)), ambience=Ambience(snr_db=33.0, seed=4),
)
mixed = mix(line, lambda kind, source: files[source.path])
print(hashlib.sha256(mixed.tobytes()).hexdigest())
"""


def test_every_processor_mixes_the_same() -> None:
    """Older processors, as BLAS and NumPy imitate them, sum in other orders: results must agree."""
    blas = {"OPENBLAS_CORETYPE": "Prescott"}
    numpy = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX2 FMA3"}
    outputs = []
    for environment in ({}, blas, numpy, blas | numpy):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", MIXING],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )
        if done.returncode and "NPY_DISABLE_CPU_FEATURES" in done.stderr:
            continue  # this build cannot imitate them
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert len(set(outputs)) == 1, outputs
