"""Files of 3D-Speaker: SDPN and RDINO training states, and its supervised encoders.

Source: Chen et al., 3D-Speaker-Toolkit, arXiv 2403.19971.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from sdpn.errors import InputError
from sdpn.features.kaldi_fbank import KaldiFbankConfig
from sdpn.features.log_mel import FeatureConfig
from sdpn.features.registry import AnyFeatureConfig
from sdpn.interop.layout import Shapes, find_layout
from sdpn.interop.published import CAMPPLUS, ERES2NET, ERES2NETV2, RESNET, SPEECHBRAIN_ECAPA
from sdpn.interop.source import ModelSource
from sdpn.models.folder import ModelFolder

_log = logging.getLogger(__name__)

_LAYOUTS = (SPEECHBRAIN_ECAPA, CAMPPLUS, ERES2NET, ERES2NETV2, RESNET)
#: The two networks of a self-distillation run, the preferred one first.
_BRANCHES = ("teacher", "student")


def fits_folder(source: ModelSource) -> bool:  # noqa: ARG001
    """Whether a folder is of 3D-Speaker: never, since it publishes single files."""
    return False


def fits_file(source: ModelSource) -> bool:
    """Whether the keys are those of a 3D-Speaker network."""
    if any(branch in source.contents for branch in _BRANCHES):
        return True
    # WeSpeaker stores its training classifier, 3D-Speaker never does
    return not source.holds("projection.") and any(source.holds(*layout.signs) for layout in _LAYOUTS)


def read(source: ModelSource) -> ModelFolder:
    """Read a training state (the teacher's encoder) or a bare encoder.

    Raises:
        InputError: the file cannot be read, is of an unknown network, or does not match its layout.
    """
    if source.path.is_dir():
        raise InputError(
            "is a folder; 3D-Speaker publishes single files",
            path=source.path,
            hint="give the weight file in it",
        )
    branch = next((name for name in _BRANCHES if name in source.contents), None)
    features: AnyFeatureConfig
    if branch is None:
        weights = source.tensors()
        features = KaldiFbankConfig()
    else:
        if not isinstance(source.contents[branch], dict):
            raise InputError(f"its {branch!r} is not a state dict", path=source.path)
        branch_weights = source.tensors(source.contents[branch])
        weights = {
            key.removeprefix("backbone."): value
            for key, value in branch_weights.items()
            if key.startswith("backbone.")
        }
        if not weights:
            raise InputError(f"its {branch!r} has no backbone.* keys", path=source.path)
        dropped = len(branch_weights) - len(weights)
        _log.info(
            "%s: using the encoder of the %s, ignoring %d keys of its head", source.path, branch, dropped
        )
        # SDPN and RDINO take torchaudio's mel spectrogram (power, 0-8000 Hz, centred), log and instance norm
        features = FeatureConfig(
            low_hz=0.0, high_hz=8000.0, normalisation="mean-variance", centred=True, floor=1e-6
        )
    layout = find_layout(_LAYOUTS, weights, source.path, format_name="3dspeaker")
    shapes = Shapes(weights)
    config, num_features = layout.configure(shapes), layout.num_features(shapes)
    encoder = layout.build(weights, config, num_features, source.path)
    features = replace(features, num_mels=num_features)
    origin = {"format": "3dspeaker", "network": layout.network, "file": source.path.name}
    return ModelFolder(encoder, config, features, source=origin | ({"branch": branch} if branch else {}))
