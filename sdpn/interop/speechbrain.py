"""Folders of SpeechBrain with an ECAPA-TDNN: ``embedding_model.ckpt`` and ``hyperparams.yaml``.

``hyperparams.yaml`` is HyperPyYAML, whose tags (``!new:``, ``!apply:``, ``!name:``) make SpeechBrain import
and call objects. Here tags are read as plain text; nothing is imported or called.

Source: Ravanelli et al., SpeechBrain, arXiv 2106.04624.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from sdpn.config import from_dict
from sdpn.errors import InputError
from sdpn.features.speechbrain_fbank import SpeechBrainFbankConfig
from sdpn.interop.layout import Shapes, find_layout
from sdpn.interop.published import SPEECHBRAIN_ECAPA
from sdpn.interop.source import ModelSource
from sdpn.io.parsing import parsing
from sdpn.io.yaml_text import Loader, read_yaml
from sdpn.models.ecapa import EcapaConfig
from sdpn.models.folder import ModelFolder

_WEIGHTS, _CONFIG = "embedding_model.ckpt", "hyperparams.yaml"
_FEATURES = SpeechBrainFbankConfig()
#: Settings of SpeechBrain's Fbank -> ours.
_FBANK = {
    "n_mels": "num_mels",
    "n_fft": "fft_size",
    "f_min": "low_hz",
    "f_max": "high_hz",
    "win_length": "window_ms",
    "hop_length": "hop_ms",
}
#: SpeechBrain's defaults that differ from ours.
_FBANK_DEFAULTS: dict[str, Any] = {"n_mels": 40}
#: Settings for which only the default is supported.
_FBANK_FIXED: dict[str, Any] = {
    "sample_rate": 16000,
    "deltas": False,
    "context": False,
    "filter_shape": "triangular",
    "requires_grad": False,
}
#: Settings without effect.
_FBANK_FREE = {"left_frames", "right_frames", "param_change_factor", "param_rand_factor"}


def fits_folder(source: ModelSource) -> bool:
    """Whether a folder is of SpeechBrain."""
    return any((source.path / name).is_file() for name in (_WEIGHTS, _CONFIG))


def fits_file(source: ModelSource) -> bool:
    """Whether the keys are those of SpeechBrain's ECAPA-TDNN."""
    return source.holds(*SPEECHBRAIN_ECAPA.signs)


def read(source: ModelSource) -> ModelFolder:
    """Read a folder, or a bare file of weights with the published settings.

    Raises:
        InputError: a file is missing, cannot be read, describes another network, or does not fit its layout.
    """
    source = source.weights_of_folder(_WEIGHTS, _CONFIG, toolkit="SpeechBrain")
    weights = source.tensors()
    layout = find_layout([SPEECHBRAIN_ECAPA], weights, source.path, format_name="speechbrain")
    shapes = Shapes(weights)
    config = layout.configure(shapes)
    assert isinstance(config, EcapaConfig)
    features = replace(_FEATURES, num_mels=layout.num_features(shapes))
    if source.path.name == _WEIGHTS and (config_path := source.path.parent / _CONFIG).is_file():
        document = read_hyperparams(config_path)
        with parsing(config_path, "does not describe a model as in SpeechBrain's hyperparams.yaml"):
            config = _with_dilations(config, document, config_path)
            features = _features_of(document, config_path)
    encoder = layout.build(weights, config, features.num_mels, source.path)
    return ModelFolder(
        encoder,
        config,
        features,
        source={"format": "speechbrain", "network": layout.network, "file": source.path.name},
    )


@dataclass(frozen=True)
class Tagged:
    """A value with a tag, such as ``!new:speechbrain.lobes.features.Fbank {n_mels: 80}``.

    Attributes:
        tag: without the exclamation mark.
        value: plain; a mapping, a list or text.
        line: its line, counted from 1.
    """

    tag: str
    value: Any
    line: int


class _PlainLoader(Loader):
    """Reads any tag as a `Tagged` value; like its base class, it cannot execute anything."""


def _construct(loader: _PlainLoader, suffix: str, node: yaml.Node) -> Tagged:
    value: Any
    if isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.ScalarNode)
        value = loader.construct_scalar(node)
    return Tagged(suffix, value, node.start_mark.line + 1)


_PlainLoader.add_multi_constructor("!", _construct)


def read_hyperparams(path: Path) -> dict[str, Any]:
    """Read a HyperPyYAML file as data: tags stay tags, and ``!ref <name>`` takes the value of that name.

    Raises:
        InputError: it is not a YAML mapping, or a reference is unresolved or circular.
    """
    return read_yaml(path, loader=_PlainLoader)


def _resolve(value: Any, document: dict[str, Any], path: Path, seen: tuple[str, ...] = ()) -> Any:
    """Resolve ``!ref <name>``; expressions such as sums are rejected, since none is needed."""
    if not (isinstance(value, Tagged) and value.tag == "ref"):
        return value
    name = re.fullmatch(r"\s*<([\w.]+)>\s*", str(value.value))
    if name is None:
        raise InputError(f"cannot follow the reference {value.value!r}", path=path, line=value.line)
    if name[1] in seen or name[1] not in document:
        raise InputError(f"the reference to {name[1]!r} cannot be resolved", path=path, line=value.line)
    return _resolve(document[name[1]], document, path, (*seen, name[1]))


def _object(document: dict[str, Any], class_name: str, key: str) -> Tagged | None:
    """The object of a class under its usual key, or else the first one."""
    tags = (value for value in (document.get(key), *document.values()) if isinstance(value, Tagged))
    return next(
        (v for v in tags if v.tag.startswith("new:") and v.tag.rpartition(".")[2] == class_name), None
    )


def _settings(entry: Tagged, document: dict[str, Any], path: Path) -> dict[str, Any]:
    """Keyword arguments of an object."""
    if entry.value in ("", None):
        return {}
    if not isinstance(entry.value, dict):
        raise InputError(f"expected settings by name below !{entry.tag}", path=path, line=entry.line)
    return {key: _resolve(value, document, path) for key, value in entry.value.items()}


def _with_dilations(config: EcapaConfig, document: dict[str, Any], path: Path) -> EcapaConfig:
    """Read the dilations, which cannot be inferred from the weights."""
    entry = _object(document, "ECAPA_TDNN", "embedding_model")
    if entry is None:
        raise InputError(
            "does not describe an ECAPA_TDNN, the only supported network of SpeechBrain", path=path
        )
    settings = _settings(entry, document, path)
    activation = settings.get("activation")
    if isinstance(activation, Tagged) and not activation.tag.endswith(".ReLU"):
        raise InputError(f"its activation is !{activation.tag}, not ReLU", path=path, line=entry.line)
    if any(group != 1 for group in settings.get("groups", [])):
        raise InputError("its convolutions have groups, which are not supported", path=path, line=entry.line)
    dilations = settings.get("dilations", [1, *config.dilations, 1])
    if not isinstance(dilations, list) or len(dilations) != len(config.dilations) + 2 or dilations[0] != 1:
        raise InputError(
            f"its dilations {dilations} do not match the {len(config.dilations)} blocks of the weights",
            path=path,
            line=entry.line,
        )
    try:
        return replace(config, dilations=tuple(dilations[1:-1]))
    except (TypeError, ValueError) as error:
        raise InputError(f"its dilations cannot be read: {error}", path=path, line=entry.line) from None


def _features_of(document: dict[str, Any], path: Path) -> SpeechBrainFbankConfig:
    entry = _object(document, "Fbank", "compute_features")
    if entry is None:
        raise InputError("does not describe an Fbank, so its features are unknown", path=path)
    settings = _settings(entry, document, path)
    for key, value in settings.items():
        if key in _FBANK_FIXED and value != _FBANK_FIXED[key]:
            raise InputError(
                f"its Fbank has {key}: {value}; only {_FBANK_FIXED[key]} is supported",
                path=path,
                line=entry.line,
            )
        if key not in _FBANK and key not in _FBANK_FIXED and key not in _FBANK_FREE:
            raise InputError(f"its Fbank has the unknown setting {key!r}", path=path, line=entry.line)
    values = {ours: (_FBANK_DEFAULTS | settings).get(theirs) for theirs, ours in _FBANK.items()}
    features = from_dict(
        SpeechBrainFbankConfig,
        {name: value for name, value in values.items() if value is not None},
        path=path,
    )
    norm = _object(document, "InputNormalization", "mean_var_norm")
    norm_settings = {} if norm is None else _settings(norm, document, path)
    if norm is not None and (
        norm_settings.get("norm_type", "global") != "sentence" or norm_settings.get("std_norm", True)
    ):
        raise InputError(
            "its InputNormalization is not sentence mean normalisation (norm_type: sentence, std_norm: "
            "False)",
            path=path,
            line=norm.line,
        )
    return features if norm is not None else replace(features, normalisation="none")
