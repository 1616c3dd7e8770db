"""Speaker embeddings without labels, and who spoke when.

>>> import sdpn
>>> model = sdpn.load_model()                     # the model included in sdpn; or "exp/mini/model"
>>> model.embed(wave, sample_rate=16000)          # (D,) float32
>>> sdpn.similarity(model.embed("a.wav"), model.embed("b.wav"))     # cosine
>>> annotation = sdpn.Diarizer(model)("meeting.wav")    # pyannote.core.Annotation

Names are resolved on first use, so that ``import sdpn`` does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdpn.diarization.pipeline import Diarizer
    from sdpn.interop.load import load_model
    from sdpn.verification.similarity import similarity

__version__ = "0.1.0"
__all__ = ["Diarizer", "__version__", "load_model", "similarity"]

_HOMES = {
    "Diarizer": "sdpn.diarization.pipeline",
    "load_model": "sdpn.interop.load",
    "similarity": "sdpn.verification.similarity",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sdpn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
