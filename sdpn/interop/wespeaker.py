"""Folders of WeSpeaker: ``avg_model.pt`` and ``config.yaml``.

Source: Wang et al., WeSpeaker, arXiv 2210.17016.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdpn.errors import InputError
from sdpn.features.kaldi_fbank import KaldiFbankConfig
from sdpn.interop.layout import Shapes, find_layout
from sdpn.interop.published import CAMPPLUS, RESNET, WESPEAKER_ECAPA
from sdpn.interop.source import ModelSource
from sdpn.io.parsing import parsing
from sdpn.io.yaml_text import read_yaml
from sdpn.models.folder import ModelFolder
from sdpn.models.pooling import PoolingConfig

_log = logging.getLogger(__name__)

_WEIGHTS, _CONFIG = "avg_model.pt", "config.yaml"
_LAYOUTS = (WESPEAKER_ECAPA, CAMPPLUS, RESNET)
#: The beginning of a model's name in config.yaml -> its layout.
_MODELS = {"ECAPA_TDNN": WESPEAKER_ECAPA, "CAMPPlus": CAMPPLUS, "ResNet": RESNET}
#: The training classifier, which an embedding does not need.
_CLASSIFIER = "projection."
#: WeSpeaker's fbank: 16-bit range, Hamming window.
_FEATURES = KaldiFbankConfig(window="hamming", scale=32768.0)
#: WeSpeaker's variance floor, larger than that of the same networks in 3D-Speaker.
_FLOOR = 1e-7
#: Poolings that can be inferred from the shapes of weights, or the network's default.
_POOLINGS = ("TSTP", "ASTP", "TAP")


def fits_folder(source: ModelSource) -> bool:
    """Whether a folder is of WeSpeaker."""
    return (source.path / _WEIGHTS).is_file()


def fits_file(source: ModelSource) -> bool:
    """Whether the keys are those of a WeSpeaker network."""
    return any(source.holds(*layout.signs) for layout in _LAYOUTS)


def read(source: ModelSource) -> ModelFolder:
    """Read a folder, or a bare file of weights with the published features.

    Raises:
        InputError: a file is missing, cannot be read, describes another network, or does not fit its layout.
    """
    source = source.weights_of_folder(_WEIGHTS, _CONFIG, toolkit="WeSpeaker")
    document: dict[str, Any] = {}
    if source.path.name == _WEIGHTS and (config_path := source.path.parent / _CONFIG).is_file():
        document = _read_config(config_path)
    weights = source.tensors()
    classifier = [key for key in weights if key.startswith(_CLASSIFIER)]
    if classifier:
        _log.info("%s: ignoring the training classifier: %s", source.path, ", ".join(classifier))
    weights = {key: value for key, value in weights.items() if not key.startswith(_CLASSIFIER)}
    layout = find_layout(_LAYOUTS, weights, source.path, format_name="wespeaker")
    shapes = Shapes(weights)
    config, num_features = layout.configure(shapes), layout.num_features(shapes)
    features = replace(_FEATURES, num_mels=num_features)
    config = replace(config, pooling=replace(config.pooling, floor=_FLOOR))
    if document:
        config_path = source.path.parent / _CONFIG
        with parsing(config_path, "does not describe a model as in WeSpeaker's config.yaml"):
            described = _layout_of(document, config_path)
            pooling = _pooling_of(document, config_path)
            features = _features_of(document, num_features, config_path)
        if described is not layout:
            raise InputError(
                f"describes {document['model']!r}, but its weights are of {layout.network}",
                path=config_path,
            )
        if pooling == "TAP":
            config = replace(config, pooling=PoolingConfig(kind="mean"))
        num_features = features.num_mels
    encoder = layout.build(weights, config, num_features, source.path)
    name = str(document.get("model", layout.network))
    return ModelFolder(
        encoder, config, features, source={"format": "wespeaker", "network": name, "file": source.path.name}
    )


def _read_config(path: Path) -> dict[str, Any]:
    document = read_yaml(path)
    if not isinstance(document.get("model"), str):
        raise InputError("has no 'model'; expected WeSpeaker's config.yaml", path=path)
    return document


def _layout_of(document: dict[str, Any], path: Path) -> Any:
    for beginning, layout in _MODELS.items():
        if document["model"].startswith(beginning):
            return layout
    raise InputError(
        f"describes a {document['model']!r}, which is not supported",
        path=path,
        hint=f"supported: {', '.join(f'{beginning}*' for beginning in _MODELS)}",
    )


def _pooling_of(document: dict[str, Any], path: Path) -> str | None:
    pooling = (document.get("model_args") or {}).get("pooling_func")
    if pooling is not None and pooling not in _POOLINGS:
        raise InputError(
            f"pooling_func is {pooling!r}, which is not supported",
            path=path,
            hint=f"supported: {', '.join(_POOLINGS)}",
        )
    return None if pooling is None else str(pooling)


def _features_of(document: dict[str, Any], num_features: int, path: Path) -> KaldiFbankConfig:
    """Features of the training configuration, with WeSpeaker's defaults."""
    dataset = document.get("dataset_args") or {}
    frontend = dataset.get("frontend", document.get("frontend", "fbank"))
    if frontend != "fbank":
        raise InputError(f"its frontend is {frontend!r}; only fbank is supported", path=path)
    if (rate_hz := dataset.get("resample_rate", 16000)) != 16000:
        raise InputError(f"its sampling rate is {rate_hz} Hz; sdpn only supports 16000 Hz", path=path)
    fbank = dataset.get("fbank_args") or {}
    model_args = document.get("model_args") or {}
    mean_variance = bool((dataset.get("cmvn_args") or {}).get("norm_var", False))
    cmvn = dataset.get("cmvn", True)
    try:
        return replace(
            _FEATURES,
            num_mels=int(fbank.get("num_mel_bins", model_args.get("feat_dim", num_features))),
            window_ms=float(fbank.get("frame_length", 25)),
            hop_ms=float(fbank.get("frame_shift", 10)),
            normalisation="none" if not cmvn else "mean-variance" if mean_variance else "mean",
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"its features cannot be read: {error}", path=path) from None
