"""Choice of fp32 or bf16 for extraction.

Processors without bf16 arithmetic emulate it, several times slower. With it, the gain depends on the network:
a factor of two for wide convolutions, little for narrow ones. Where the processor supports bf16, the network
is therefore timed in both precisions, which takes a second or two per extraction.
"""

from __future__ import annotations

import logging
import time

import numpy as np

from sdpn.io.audio import RATE_HZ
from sdpn.models.batching import SECONDS_AT_ONCE
from sdpn.models.bf16 import computes_bf16
from sdpn.models.speaker_embedder import Precision, SpeakerEmbedder

_log = logging.getLogger(__name__)

#: Minimum speed-up for choosing bf16.
_WORTHWHILE = 1.15
#: Minimum cosine between embeddings in bf16 and fp32 for choosing bf16.
_FAITHFUL = 0.999
_PROBE_S = 6.0
_ROUNDS = 3


def choose_precision(embedder: SpeakerEmbedder) -> Precision:
    """Time the network in fp32 and bf16 on noise; choose bf16 if it is faster and accurate enough."""
    if not computes_bf16(embedder.device_type):
        _log.info("precision fp32: this %s has no bf16 arithmetic", embedder.device_type)
        return "fp32"
    rng = np.random.default_rng(0)
    number = int(SECONDS_AT_ONCE[embedder.device_type] / _PROBE_S)
    waves = [(0.1 * rng.standard_normal(int(_PROBE_S * RATE_HZ))).astype(np.float32) for _ in range(number)]
    kept = embedder.precision
    seconds: dict[Precision, float] = {"fp32": np.inf, "bf16": np.inf}
    embeddings: dict[Precision, np.ndarray] = {}
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    try:
        for _ in range(_ROUNDS):
            for precision in precisions:
                embedder.precision = precision
                started = time.perf_counter()
                embeddings[precision] = embedder.embed_batch(waves)
                seconds[precision] = min(seconds[precision], time.perf_counter() - started)
    finally:
        embedder.precision = kept
    ratio = seconds["fp32"] / seconds["bf16"]
    full, half = (embeddings[precision] for precision in precisions)
    norms = np.linalg.norm(full, axis=1) * np.linalg.norm(half, axis=1)
    cosine = float(((full * half).sum(axis=1) / norms).min())
    chosen: Precision = "bf16" if ratio >= _WORTHWHILE and cosine >= _FAITHFUL else "fp32"
    _log.info(
        "precision %s: bf16 runs %.2f times as fast as fp32 here, lowest cosine %.5f", chosen, ratio, cosine
    )
    return chosen
