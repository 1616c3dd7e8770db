"""A local segmentation network with onnxruntime, without torch; see `sdpn.models.segmenter`.

Shapes: B batch, S samples, T frames, C classes, M 1, 2, ... speakers at the same time.
"""

from __future__ import annotations

import numpy as np

from sdpn.errors import InputError
from sdpn.io.parsing import parsing
from sdpn.models.graph_folder import NAME, SEGMENTATION, GraphFolder
from sdpn.models.graph_session import GraphSession
from sdpn.models.powerset import membership, reaches
from sdpn.threads import usable_threads


class GraphSegmenter:
    """Tells local speakers apart in windows of audio, as `sdpn.models.segmenter.Segmenter`.

    Args:
        folder: its graph.

    Raises:
        InputError: the folder holds no segmentation network, onnxruntime is not installed, or rejects the
            graph.
    """

    def __init__(self, folder: GraphFolder) -> None:
        about = folder.segmentation
        if about is None:
            raise InputError(
                "holds no segmentation network",
                path=folder.path,
                hint="write one into it: sdpn convert --to graphs --segmentation NAME",
            )
        self.name, self.digest = about.name, about.weights
        self.num_speakers, self.max_together = about.num_speakers, about.max_together
        self.window_samples, self.hop_samples = about.window_samples, about.hop_samples
        self.frame_samples = about.frame_samples
        self._member_CS = membership(about.num_speakers, about.max_together)
        self._at_least_CM = reaches(self._member_CS, about.max_together)
        self._path = folder.graph(SEGMENTATION)
        self._to_classes, self._threads = GraphSession(self._path), usable_threads()
        self._to_classes.open(self._threads)

    def activities(self, wave_BS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Who speaks in each frame, and how many; see `sdpn.models.segmenter.Segmenter.activities`.

        Raises:
            InputError: the graph is not what the folder says.
        """
        with parsing(self._path, "is not the graph that is described beside it"):
            p_BTC = np.exp(self._to_classes(np.ascontiguousarray(wave_BS, dtype=np.float32), self._threads))
        expected = (1 + (wave_BS.shape[1] - self.frame_samples) // self.hop_samples, len(self._member_CS))
        if p_BTC.shape[1:] != expected:
            raise InputError(
                f"gives {p_BTC.shape[1:]} frames and classes, and {NAME} beside it says {expected}",
                path=self._path,
            )
        return p_BTC @ self._member_CS, p_BTC @ self._at_least_CM
