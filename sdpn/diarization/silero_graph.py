"""Silero's voice activity network with onnxruntime, for `sdpn.diarization.vad`: a graph of silero-vad's own.

``silero_vad_16k_sequence.onnx`` of its package takes frames (T, 576) and the two states of the LSTM
(1, 1, 128), and gives probabilities (T,) and the new states.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.io.onnx_graph import open_graph

_HIDDEN = 128


class SileroGraph:
    """The graph, opened when it is needed; `sdpn.diarization.vad.HearsSpeech`.

    Args:
        path: of the graph.

    Raises:
        InputError: on first use, if onnxruntime rejects the graph.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _session(self) -> Any:
        return open_graph(self._path, 1)  # the LSTM's steps are too small for several threads

    def features(self, frames_TS: np.ndarray) -> np.ndarray:
        """The frames: all of the network is in the graph."""
        return frames_TS

    def probabilities(self, features: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        """Map consecutive frames and the LSTM's state to probabilities (T,) and its new state."""
        hidden, cell = (np.zeros((1, 1, _HIDDEN), dtype=np.float32),) * 2 if state is None else state
        inputs = {"input": np.ascontiguousarray(features), "h": hidden, "c": cell}
        speech_T, hidden, cell = self._session.run(["speech_probs", "hn", "cn"], inputs)
        return speech_T, (hidden, cell)
