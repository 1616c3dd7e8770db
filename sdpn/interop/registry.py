"""All supported model formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from sdpn.interop import onnx, redimnet, speechbrain, threed_speaker, wespeaker
from sdpn.interop.source import ModelSource
from sdpn.models.embedder import Model
from sdpn.models.folder import is_model_folder, read_model


@dataclass(frozen=True)
class Format:
    """A model format.

    Attributes:
        expects: description of its files, for messages.
        fits_folder: whether a folder is of this format.
        fits_file: whether a single file may be of this format.
        read: reads a model.
    """

    expects: str
    fits_folder: Callable[[ModelSource], bool]
    fits_file: Callable[[ModelSource], bool]
    read: Callable[[ModelSource], Model]


#: Name -> format. A new format needs one module and one entry.
FORMATS = MappingProxyType(
    {
        "sdpn": Format(
            "a folder with config.yaml and model.safetensors",
            lambda source: is_model_folder(source.path),
            lambda source: False,  # noqa: ARG005
            lambda source: read_model(source.path),
        ),
        "3dspeaker": Format(
            "a file: an SDPN or RDINO state, or an ECAPA, CAM++, ERes2Net, ERes2NetV2 or ResNet",
            threed_speaker.fits_folder,
            threed_speaker.fits_file,
            threed_speaker.read,
        ),
        "wespeaker": Format(
            "a folder with avg_model.pt and config.yaml (ECAPA, ResNet, CAM++)",
            wespeaker.fits_folder,
            wespeaker.fits_file,
            wespeaker.read,
        ),
        "speechbrain": Format(
            "a folder with embedding_model.ckpt and hyperparams.yaml, or the file alone (ECAPA)",
            speechbrain.fits_folder,
            speechbrain.fits_file,
            speechbrain.read,
        ),
        "redimnet": Format(
            "a file with model_config and state_dict (ReDimNet2)",
            redimnet.fits_folder,
            redimnet.fits_file,
            redimnet.read,
        ),
        "onnx": Format(
            "a file .onnx, from 'sdpn convert --to onnx'",
            lambda source: False,  # noqa: ARG005
            onnx.fits_file,
            onnx.read,
        ),
    }
)
