"""The folder of a trained segmentation network: ``config.yaml`` and ``model.safetensors``.

``config.yaml`` holds ``format: 1``, the sizes of the network as ``segmentation``, ``window_s`` and
``source``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from sdpn.config import from_dict, to_dict
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory
from sdpn.io.parsing import parsing
from sdpn.io.yaml_text import read_yaml
from sdpn.models.segmentation_net import SegmentationNet, SegmentationNetConfig
from sdpn.models.segmenter import Segmenter
from sdpn.models.weights import check_weights, read_weights

_CONFIG, _WEIGHTS = "config.yaml", "model.safetensors"
_KEYS = {"format", "segmentation", "window_s", "source"}
#: Longer windows are an error in the file.
_LONGEST_S = 120.0


def save_segmentation(
    path: str | os.PathLike[str],
    network: SegmentationNet,
    *,
    window_s: float,
    source: Mapping[str, Any],
    half: bool = False,
) -> None:
    """Write the folder atomically.

    Args:
        path: the folder.
        network: the network.
        window_s: length of the windows that it was trained on.
        source: origin, for information.
        half: store weights in 16 bits.
    """
    document = {
        "format": 1,
        "segmentation": to_dict(network.config),
        "window_s": window_s,
        "source": dict(source),
    }
    weights = {
        key: value.detach().to("cpu", torch.float16 if half else torch.float32).contiguous()
        if value.is_floating_point()
        else value
        for key, value in network.state_dict().items()
    }
    with atomic_directory(path) as folder:
        (folder / _CONFIG).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        save_file(weights, folder / _WEIGHTS)


def read_segmentation(path: str | os.PathLike[str], *, device: str = "cpu") -> Segmenter:
    """Read the folder.

    Raises:
        InputError: it is incomplete, damaged, or of another format.
    """
    folder = Path(path)
    for name in (_CONFIG, _WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(
                f"the segmentation network is incomplete: it has no {name}",
                path=folder,
                hint="copy the whole folder again",
            )
    document = read_yaml(folder / _CONFIG)
    if document.get("format") != 1 or not document.keys() <= _KEYS:
        raise InputError("is not a segmentation network of format 1", path=folder / _CONFIG)
    window_s = document.get("window_s")
    if isinstance(window_s, bool) or not isinstance(window_s, (int, float)) or not 0 < window_s <= _LONGEST_S:
        raise InputError(f"'window_s' is {window_s!r}; expected seconds", path=folder / _CONFIG)
    config = from_dict(SegmentationNetConfig, document.get("segmentation") or {}, path=folder / _CONFIG)
    weights = read_weights(folder / _WEIGHTS)
    with parsing(folder / _CONFIG, "the network cannot be built"):
        with torch.device("meta"):  # takes no memory, whatever the sizes are
            wanted = {key: value.shape for key, value in SegmentationNet(config).state_dict().items()}
        check_weights(wanted, weights, folder / _WEIGHTS, against="the configuration beside it")
        network = SegmentationNet(config)
        network.load_state_dict(weights)
        return Segmenter(network, window_s=float(window_s), name=folder.name, device=device)
