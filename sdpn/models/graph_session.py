"""A graph of a folder, run by any thread with as many threads as it may use."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from sdpn.io.onnx_graph import open_graph


class GraphSession:
    """One input, one output. A session of onnxruntime has a fixed number of threads: there is one for each.

    Args:
        path: of the graph.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sessions: dict[int, Any] = {}
        self._lock = Lock()

    def open(self, threads: int) -> Any:
        """The session of so many threads.

        Raises:
            InputError: onnxruntime is not installed, or rejects the graph.
        """
        with self._lock:
            if threads not in self._sessions:
                self._sessions[threads] = open_graph(self._path, threads)
            return self._sessions[threads]

    def __call__(self, values: np.ndarray, threads: int) -> np.ndarray:
        """Run the graph."""
        session = self.open(threads)
        result: np.ndarray = session.run(None, {session.get_inputs()[0].name: values})[0]
        return result
