"""ONNX graphs as files: opened with onnxruntime, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdpn.errors import InputError
from sdpn.io.parsing import parsing


def open_graph(path: Path, threads: int) -> Any:
    """Open a graph.

    Args:
        path: of the graph.
        threads: that compute one run.

    Raises:
        InputError: onnxruntime is not installed, or rejects the graph.
    """
    runtime = import_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; they come as exceptions too
    # spinning threads would take cores from computing ones
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with parsing(
        path,
        "is not an ONNX graph that onnxruntime can run",
        hint=f"onnxruntime {runtime.__version__} is installed; a newer one may know more: pip install "
        "--upgrade onnxruntime. Or write the graph again",
    ):
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def import_runtime() -> Any:
    """Import onnxruntime.

    Raises:
        InputError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("ONNX needs onnxruntime", hint="pip install 'sdpn[onnx]'") from error
    return onnxruntime
