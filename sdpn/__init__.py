"""Speaker embeddings without labels, and who spoke when.

>>> import sdpn
>>> model = sdpn.load_model()                     # the model included in sdpn; or "exp/mini/model"
>>> model.embed(wave, sample_rate=16000)          # (D,) float32
>>> sdpn.similarity(model.embed("a.wav"), model.embed("b.wav"))     # cosine
>>> annotation = sdpn.Diarizer(model)("meeting.wav")    # pyannote.core.Annotation
>>> network = sdpn.SDPN(encoder, None, num_prototypes=1024)     # trains any nn.Module: docs/own_encoder.md

Names are resolved on first use, so that ``import sdpn`` does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdpn.diarization.pipeline import Diarizer
    from sdpn.distill.sdpn import SDPN
    from sdpn.interop.load import load_model
    from sdpn.verification.similarity import similarity

__version__ = "0.1.0"
__all__ = ["SDPN", "Diarizer", "__version__", "load_model", "similarity"]

_HOMES = {
    "SDPN": "sdpn.distill.sdpn",
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
