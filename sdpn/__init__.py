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
    from sdpn.adaptation.adapt import adapt
    from sdpn.diarization.pipeline import Diarizer
    from sdpn.distill.sdpn import SDPN
    from sdpn.evaluation.score import score
    from sdpn.evaluation.verify import verify
    from sdpn.extraction.extract import extract
    from sdpn.interop.convert import convert
    from sdpn.interop.load import load_model
    from sdpn.interop.segmentation import load_segmentation
    from sdpn.simulation.simulate import simulate
    from sdpn.streaming.diarizer import StreamingDiarizer
    from sdpn.verification.compare import compare
    from sdpn.verification.similarity import similarity

__version__ = "0.1.0"
__all__ = [
    "SDPN",
    "Diarizer",
    "StreamingDiarizer",
    "__version__",
    "adapt",
    "compare",
    "convert",
    "extract",
    "load_model",
    "load_segmentation",
    "score",
    "similarity",
    "simulate",
    "verify",
]

_HOMES = {
    "SDPN": "sdpn.distill.sdpn",
    "Diarizer": "sdpn.diarization.pipeline",
    "StreamingDiarizer": "sdpn.streaming.diarizer",
    "adapt": "sdpn.adaptation.adapt",
    "compare": "sdpn.verification.compare",
    "convert": "sdpn.interop.convert",
    "extract": "sdpn.extraction.extract",
    "load_model": "sdpn.interop.load",
    "load_segmentation": "sdpn.interop.segmentation",
    "score": "sdpn.evaluation.score",
    "similarity": "sdpn.verification.similarity",
    "simulate": "sdpn.simulation.simulate",
    "verify": "sdpn.evaluation.verify",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sdpn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
