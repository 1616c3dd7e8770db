"""Streaming diarization: DER against latency, and the real-time factor.

    python tools/benchmarks/streaming.py --recordings dev/ --json exp/streaming.json
    python tools/benchmarks/streaming.py --recordings dev/ --model campplus.bin --format 3dspeaker
    python tools/benchmarks/streaming.py --recordings dev/ --plot docs/img/streaming.svg exp/*.json

A folder of recordings has audio and ``reference.rttm`` (as `sdpn simulate` writes it), and maybe
``reference.uem``. Three figures for each latency, collar 0 with overlap scored: of the turns as they were
first reported, as they stood at the end after all relabelling, and of the final pass. The speech detector and
the embeddings run once for each length of a tick; everything behind them runs for each latency. Real-time
factors are of whole runs, CPU seconds of one thread by seconds of audio.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.cli.table import format_markdown
from sdpn.diarization.embedding import EmbedsWindows, WindowEmbedder
from sdpn.diarization.pipeline import Diarizer
from sdpn.diarization.timeline import LabelledSpan
from sdpn.interop.load import load_model
from sdpn.io import audio
from sdpn.io.rttm import Turn, from_annotation, read_rttm
from sdpn.io.uem import read_uem
from sdpn.metrics.diarization import NIST_COLLAR_S, score_recordings, total_figures
from sdpn.streaming.diarizer import StreamingConfig, StreamingDiarizer
from sdpn.streaming.listener import Heard, Listener

LATENCIES_S = (0.5, 1.0, 2.0, 5.0)


class Recorded:
    """What a listener heard, to be played again: everything but the speakers.

    Args:
        model: embeds windows.
        wave: (S,) at 16 kHz.
        tick: samples of a tick.
        config: settings.
    """

    def __init__(self, model: EmbedsWindows, wave: np.ndarray, tick: int, config: StreamingConfig) -> None:
        listener = Listener(model, config, start_s=0.0)
        whole = len(wave) - len(wave) % tick
        self.ticks = [listener.push(wave[at : at + tick]) for at in range(0, whole, tick)]
        self.end = listener.finish(wave[whole:])
        self._embedder = WindowEmbedder(model)
        self._embedder.push(wave, np.zeros((0, 2)), 0.0)
        self._known: dict[tuple[float, float], np.ndarray] = {}

    def embed(self, start_s: float, end_s: float) -> np.ndarray:
        """Embedding (D,) of a window, computed once."""
        if (start_s, end_s) not in self._known:
            self._known[start_s, end_s] = self._embedder.now(start_s, end_s)
        return self._known[start_s, end_s]


class Player(Listener):
    """A listener that has heard it all before."""

    def __init__(self, model: EmbedsWindows, config: StreamingConfig, recorded: Recorded) -> None:
        super().__init__(model, config, start_s=0.0)
        self._recorded, self._at = recorded, 0

    def push(self, tick_S: np.ndarray) -> Heard:
        """As `Listener.push`."""
        self._num_samples += len(tick_S)
        self._at += 1
        return self._recorded.ticks[self._at - 1]

    def finish(self, rest_S: np.ndarray) -> Heard:
        """As `Listener.finish`."""
        self._num_samples += len(rest_S)
        return self._recorded.end

    def _embed(self, start_s: float, end_s: float) -> np.ndarray:
        return self._recorded.embed(start_s, end_s)


def live(
    model: EmbedsWindows, wave: np.ndarray, recorded: dict[int, Recorded], config: StreamingConfig
) -> dict[str, list[LabelledSpan]]:
    """Turns as reported, as relabelled and final."""
    diarizer = StreamingDiarizer(model, config=config)
    if diarizer.tick not in recorded:
        recorded[diarizer.tick] = Recorded(model, wave, diarizer.tick, config)
    diarizer._listener = Player(model, config, recorded[diarizer.tick])
    diarizer.push(wave)
    diarizer.finish()
    return {
        "reported": diarizer.reported,
        "relabelled": diarizer.relabelled,
        "final": diarizer.final,
    }
