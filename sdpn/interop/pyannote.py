"""Segmentation networks of pyannote.audio: checkpoints of PyanNet with powerset classes.

The checkpoint holds the weights, the arguments of the network, and objects of ``pyannote.audio.core.task``
that say what it was trained for. These are read as plain values (`sdpn.models.weights`); nothing is imported
or called.

Source: ``pyannote/segmentation-3.0``; Plaquet and Bredin, arXiv 2310.13025.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdpn.errors import InputError
from sdpn.interop.layout import Shapes, renamed
from sdpn.interop.source import ModelSource
from sdpn.io.parsing import parsing
from sdpn.models.powerset import num_classes
from sdpn.models.pyannet import PyanNet, PyanNetConfig
from sdpn.models.segmenter import Segmenter
from sdpn.models.weights import PlainObject

_NETWORK = "PyanNet"
_FILTERBANK = "sincnet.conv1d.0.filterbank."
#: Our prefixes, theirs.
_RULES = (
    ("wave_norm.", "sincnet.wav_norm1d."),
    ("filters.left_1H", f"{_FILTERBANK}n_"),
    ("filters.window_H", f"{_FILTERBANK}window_"),
    ("filters.low_hz", f"{_FILTERBANK}low_hz_"),
    ("filters.band_hz", f"{_FILTERBANK}band_hz_"),
    ("convolutions.{i}.", "sincnet.conv1d.{i1}."),
    ("norms.{i}.", "sincnet.norm1d.{i}."),
    ("lstm.", "lstm."),
    ("linear.", "linear."),
    ("classifier.", "classifier."),
)
#: What the network was trained for, where the file holds the weights alone: segmentation-3.0.
_PUBLISHED: Mapping[str, Any] = {
    "powerset_max_classes": 2,
    "classes": ["speaker#1", "speaker#2", "speaker#3"],
    "duration": 10.0,
}
#: More, of windows in seconds or of speakers, is an error in the file.
_LONGEST_S, _MOST_SPEAKERS = 120.0, 16


def is_segmentation(source: ModelSource) -> bool:
    """Whether a file holds a segmentation network of pyannote.audio, readable or not.

    Raises:
        InputError: it cannot be read, or refers to code.
    """
    weights = _state_dict(source)
    return any(str(key).startswith("sincnet.") for key in weights) and any(
        str(key).startswith("classifier.") for key in weights
    )


def read(source: ModelSource, *, device: str = "cpu") -> Segmenter:
    """Read a checkpoint, or its weights alone, which are taken for those of segmentation-3.0.

    Raises:
        InputError: the file cannot be read, is no segmentation network, or one of another kind.
    """
    if not is_segmentation(source):
        raise InputError(
            "is not a segmentation network: its keys match no PyanNet",
            path=source.path,
            hint="expected pytorch_model.bin of pyannote/segmentation-3.0; a speaker embedding is given "
            "with --model",
        )
    trained_for = _trained_for(source)
    weights = source.tensors(_state_dict(source))
    with parsing(source.path, f"does not contain a valid {_NETWORK}"):
        config = _config(Shapes(weights), trained_for, source)
        network = PyanNet(config)
        filled = renamed(network.state_dict(), weights, _RULES, source.path, network=_NETWORK)
    network.load_state_dict(filled)
    with parsing(source.path, f"does not contain a valid {_NETWORK}"):
        return Segmenter(
            network, window_s=float(trained_for["duration"]), name=source.path.name, device=device
        )


def _state_dict(source: ModelSource) -> dict[str, Any]:
    inner = source.contents.get("state_dict")
    return inner if isinstance(inner, dict) else source.contents


def _trained_for(source: ModelSource) -> Mapping[str, Any]:
    """The fields of pyannote's ``Specifications``, checked."""
    if "state_dict" not in source.contents:
        return _PUBLISHED
    about = source.contents.get("pyannote.audio")
    found = about.get("specifications") if isinstance(about, dict) else None
    if not isinstance(found, PlainObject):
        raise InputError(
            "does not say what it was trained for: it has no 'specifications' of pyannote.audio",
            path=source.path,
        )
    fields = vars(found)
    if not fields.get("powerset_max_classes"):
        raise InputError(
            "decides about each speaker by a threshold of its own; only powerset classes are supported",
            path=source.path,
            hint="use pyannote/segmentation-3.0, not an earlier version",
        )
    duration, speakers = fields.get("duration"), fields.get("classes")
    if (
        not isinstance(duration, (int, float))
        or not 0.0 < duration <= _LONGEST_S
        or not isinstance(speakers, (list, tuple))
        or len(speakers) > _MOST_SPEAKERS
        or not isinstance(fields["powerset_max_classes"], int)
    ):
        raise InputError(
            f"was trained for windows of {duration!r} s and the speakers {speakers!r}, of whom "
            f"{fields['powerset_max_classes']!r} speak together; expected seconds, a list and a number",
            path=source.path,
        )
    return fields


def _config(shapes: Shapes, trained_for: Mapping[str, Any], source: ModelSource) -> PyanNetConfig:
    usual = PyanNetConfig()
    hyper = source.contents.get("hyper_parameters")
    arguments: Mapping[str, Any] = hyper if isinstance(hyper, dict) else {}
    sincnet, lstm = arguments.get("sincnet") or {}, arguments.get("lstm") or {}
    if arguments.get("sample_rate", 16_000) != 16_000 or not lstm.get("bidirectional", True):
        raise InputError(
            "is a PyanNet for another sampling rate than 16 kHz, or with LSTMs in one direction",
            path=source.path,
        )
    convolutions = ("sincnet.conv1d.1.", "sincnet.conv1d.2.")
    config = PyanNetConfig(
        num_speakers=len(trained_for["classes"]),
        max_together=trained_for["powerset_max_classes"],
        filters=2 * shapes.size((f"{_FILTERBANK}low_hz_", 0), (f"{_FILTERBANK}band_hz_", 0), default=40),
        kernel=1 + 2 * shapes.size((f"{_FILTERBANK}window_", 0), (f"{_FILTERBANK}n_", 1), default=125),
        stride=int(sincnet.get("stride", usual.stride)),
        channels=(
            shapes.size((f"{convolutions[0]}weight", 0), (f"{convolutions[0]}bias", 0), default=60),
            shapes.size((f"{convolutions[1]}weight", 0), (f"{convolutions[1]}bias", 0), default=60),
        ),
        convolution_kernel=shapes.size(*((f"{name}weight", 2) for name in convolutions), default=5),
        hidden=shapes.size(("lstm.weight_hh_l0", 1), ("lstm.weight_hh_l0_reverse", 1), default=128),
        num_layers=shapes.count("lstm.bias_ih_l{}") or usual.num_layers,
        linear=tuple(
            shapes.size((f"linear.{layer}.weight", 0), (f"linear.{layer}.bias", 0), default=128)
            for layer in range(shapes.count("linear.{}."))
        ),
    )
    wanted = num_classes(config.num_speakers, config.max_together)
    found = shapes.size(("classifier.weight", 0), ("classifier.bias", 0), default=wanted)
    if found != wanted:
        raise InputError(
            f"has {found} classes, but {config.num_speakers} speakers of whom {config.max_together} speak "
            f"together are {wanted} powerset classes",
            path=source.path,
        )
    return config
