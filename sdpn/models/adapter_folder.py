"""The folder of adapters: the small part of a fine-tuned network, beside the name and digest of its base.

``adapters.yaml`` describes the adapters and the model that they belong to; ``adapters.safetensors`` has their
weights.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from sdpn.config import from_dict, to_dict
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory
from sdpn.io.yaml_text import read_yaml
from sdpn.models.adapters import (
    AdaptersConfig,
    adapter_weights,
    attach_adapters,
    merged,
    without_adapters,
)
from sdpn.models.folder import ModelFolder
from sdpn.models.weights import check_weights, read_weights, weights_digest

_DOCUMENT, _WEIGHTS = "adapters.yaml", "adapters.safetensors"
_KEYS = {"format", "base", "encoder", "features", "adapters"}


def save_adapters(path: str | os.PathLike[str], model: ModelFolder, *, base: str, digest: str) -> None:
    """Write the adapters of a model atomically.

    Args:
        path: the folder.
        model: with adapters.
        base: name of the model without them.
        digest: of the weights of that model.
    """
    assert model.adapters is not None
    document = {
        "format": 1,
        "base": {"name": base, "digest": digest},
        "encoder": to_dict(model.encoder_config),
        "features": to_dict(model.features),
        "adapters": to_dict(model.adapters),
    }
    weights = {
        name: value.detach().to("cpu", torch.float32).contiguous()
        for name, value in adapter_weights(model.encoder, model.adapters).items()
    }
    with atomic_directory(path) as folder:
        text = yaml.safe_dump(document, sort_keys=False)
        (folder / _DOCUMENT).write_text(text, encoding="utf-8")
        save_file(weights, folder / _WEIGHTS)


def with_adapters(model: ModelFolder, path: str | os.PathLike[str]) -> ModelFolder:
    """A model with the adapters of a folder: merged into its layers where that is exact, else beside them.

    Args:
        model: the base that the adapters were trained on; it is left as it is.
        path: the folder.

    Raises:
        InputError: the folder is damaged, or its adapters are of another base.
    """
    folder = Path(path)
    if not (folder / _DOCUMENT).is_file():
        raise InputError(
            f"is no folder of adapters: it has no {_DOCUMENT}",
            path=folder,
            hint="give EXP/adapters of sdpn finetune with layers.trained=adapters",
        )
    document = read_yaml(folder / _DOCUMENT)
    if document.get("format") != 1 or document.keys() != _KEYS or not isinstance(document["base"], dict):
        raise InputError("does not describe adapters of format 1", path=folder / _DOCUMENT)
    config = from_dict(AdaptersConfig, document["adapters"], path=folder / _DOCUMENT)
    base = document["base"]
    for section, mine in (("encoder", model.encoder_config), ("features", model.features)):
        theirs, own = document[section], to_dict(mine)
        if theirs != own:
            keys = theirs.keys() | own.keys() if isinstance(theirs, dict) else set()
            different = sorted(key for key in keys if theirs.get(key) != own.get(key))
            raise InputError(
                f"is of a model with other {section} ({', '.join(different) or 'all'} differ)",
                path=folder,
                hint=f"give its base, {base.get('name')}, digest {base.get('digest')}",
            )
    digest = weights_digest(model.encoder)
    if model.adapters is not None or base.get("digest") != digest:
        raise InputError(
            f"is of another base: {base.get('name')}, digest {base.get('digest')}; this model has the digest "
            f"{digest}",
            path=folder,
            hint="give the model that was fine-tuned, with the very same weights",
        )
    encoder = without_adapters(model.encoder)  # a copy
    attach_adapters(encoder, config)
    weights = read_weights(folder / _WEIGHTS)
    wanted = {name: value.shape for name, value in adapter_weights(encoder, config).items()}
    check_weights(wanted, weights, folder / _WEIGHTS, against=f"the {_DOCUMENT} beside it")
    encoder.load_state_dict({**encoder.state_dict(), **weights})
    return in_layers(replace(model, encoder=encoder.eval(), adapters=config))


def in_layers(model: ModelFolder) -> ModelFolder:
    """A model whose layers have taken in its adapters where that is exact; else the model itself."""
    if model.adapters is None or not model.adapters.is_exact:
        return model
    return replace(model, encoder=merged(model.encoder), adapters=None)
