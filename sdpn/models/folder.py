"""The model folder: written by training, with everything that extraction needs.

``config.yaml`` describes the encoder and its features, so that they need not be set later;
``model.safetensors`` contains ``encoder.*``; ``pretraining.safetensors`` contains ``head.*`` and
``prototypes``, for further training.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from sdpn.config import choose, from_dict, to_dict
from sdpn.errors import InputError
from sdpn.features.registry import AnyFeatureConfig, FeatureChoice
from sdpn.io.atomic import atomic_directory
from sdpn.io.parsing import parsing
from sdpn.io.yaml_text import read_yaml
from sdpn.models.adapters import AdaptersConfig, attach_adapters
from sdpn.models.classifier import Classes, write_classes
from sdpn.models.encoder import Encoder
from sdpn.models.pretraining import PRETRAINING, Pretraining
from sdpn.models.registry import AnyEncoderConfig, EncoderChoice, build_encoder
from sdpn.models.small_storage import Bits, pack_weights, unpack_weights
from sdpn.models.weights import check_weights, read_weights

_CONFIG, _WEIGHTS = "config.yaml", "model.safetensors"
_KEYS = {"format", "encoder", "adapters", "features", "embedding_dim", "calibration", "source"}


@dataclass(frozen=True)
class ModelFolder:
    """A model as stored.

    Attributes:
        encoder: the network, in evaluation mode.
        encoder_config: its configuration.
        features: the features it was trained on.
        calibration: values measured on the model, such as a clustering threshold.
        source: origin of the model, for information.
        adapters: what the encoder has beside its own layers; None for nothing.
    """

    encoder: Encoder
    encoder_config: AnyEncoderConfig
    features: AnyFeatureConfig
    calibration: Mapping[str, float] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    adapters: AdaptersConfig | None = None


def save_model(
    path: str | os.PathLike[str],
    model: ModelFolder,
    *,
    pretraining: Pretraining | None = None,
    classes: Classes | None = None,
    half: bool = False,
    bits: Bits | None = None,
    beside: Sequence[Path] = (),
) -> None:
    """Write a model folder atomically.

    Args:
        path: the folder.
        model: its contents.
        pretraining: head and prototypes, for further training.
        classes: the classes that the prototypes are of, for a model that was trained with labels.
        half: store weights in 16 bits; they are converted to float32 on loading.
        bits: store the encoder's weights packed (`sdpn.models.small_storage`), with zeros as one bit.
        beside: files to copy into the folder, such as the back end of the model.
    """
    document = {
        "format": 1,
        "encoder": to_dict(model.encoder_config),
        **({} if model.adapters is None else {"adapters": to_dict(model.adapters)}),
        "features": to_dict(model.features),
        "embedding_dim": model.encoder.embedding_dim,
        "calibration": dict(model.calibration),
        "source": dict(model.source),
    }
    with atomic_directory(path) as folder:
        (folder / _CONFIG).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        dtype = torch.float16 if half else torch.float32
        weights = _stored("encoder.", model.encoder.state_dict(), dtype)
        save_file(weights if bits is None else pack_weights(weights, bits), folder / _WEIGHTS)
        if pretraining is not None:
            tensors = _stored("head.", pretraining.head, dtype)
            tensors |= _stored("", {"prototypes": pretraining.prototypes}, dtype)
            save_file(tensors, folder / PRETRAINING)
        if classes is not None:
            write_classes(folder, classes)
        for file in beside:
            shutil.copyfile(file, folder / file.name)


def is_model_folder(path: Path) -> bool:
    """Whether this is an sdpn model folder, even an incomplete one."""
    if (path / _WEIGHTS).is_file():
        return True
    try:
        text = (path / _CONFIG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return re.search(r"^(format|embedding_dim):", text, re.MULTILINE) is not None


def read_model(path: str | os.PathLike[str]) -> ModelFolder:
    """Read a model folder.

    Raises:
        InputError: the folder or a file of it is missing, damaged, of another format, or its weights do not
            match its configuration; the message lists the keys.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(
            "no such model folder", path=folder, hint="expected a folder written by sdpn train: EXP/model"
        )
    for name in (_CONFIG, _WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(
                f"the model folder is incomplete: it has no {name}",
                path=folder,
                hint="copy the whole folder again, or export it again with the same sdpn train command",
            )
    document = _read_document(folder / _CONFIG)
    encoder_config: AnyEncoderConfig = choose(EncoderChoice, document["encoder"], path=folder / _CONFIG)
    features: AnyFeatureConfig = choose(FeatureChoice, document["features"], path=folder / _CONFIG)
    adapters = None
    if "adapters" in document:
        adapters = from_dict(AdaptersConfig, document["adapters"], path=folder / _CONFIG)
    with parsing(folder / _WEIGHTS, "is damaged", hint="copy it again"):
        weights = unpack_weights(read_weights(folder / _WEIGHTS))

    def build() -> Encoder:
        encoder = build_encoder(encoder_config, features.num_mels)
        if adapters is not None:
            attach_adapters(encoder, adapters)
        return encoder

    with parsing(folder / _CONFIG, "the encoder cannot be built"):
        with torch.device("meta"):  # takes no memory, whatever the sizes are
            shapes = build().state_dict()
        wanted = {f"encoder.{key}": value.shape for key, value in shapes.items()}
        check_weights(wanted, weights, folder / _WEIGHTS, against="the configuration beside it")
        encoder = build()
        encoder.load_state_dict({key.removeprefix("encoder."): value for key, value in weights.items()})
    return ModelFolder(
        encoder.eval(),
        encoder_config,
        features,
        document.get("calibration") or {},
        document.get("source") or {},
        adapters,
    )


def _read_document(path: Path) -> dict[str, Any]:
    document = read_yaml(path)
    if document.get("format") != 1:
        raise InputError("is not an sdpn model of format 1", path=path)
    if "segmentation" in document:
        raise InputError(
            "is a segmentation network, not one of embeddings",
            path=path,
            hint="give it as --segmentation, and a speaker embedding as --model",
        )
    missing = {"encoder", "features"} - document.keys()
    unknown = document.keys() - _KEYS
    if missing or unknown:
        raise InputError(
            f"has missing keys {sorted(missing)} and unknown keys {sorted(map(str, unknown))}", path=path
        )
    for section in ("encoder", "adapters", "features", "calibration", "source"):
        if not isinstance(document.get(section) or {}, dict):
            raise InputError(f"'{section}' must be a section of keys", path=path)
    for name, value in (document.get("calibration") or {}).items():
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise InputError(f"'calibration.{name}' is {value!r}; expected a number", path=path)
    return document


def _stored(prefix: str, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors to write: integers unchanged, everything else in ``dtype``."""
    return {
        prefix + key: value.detach().to("cpu", dtype).contiguous() if value.is_floating_point() else value
        for key, value in tensors.items()
    }
