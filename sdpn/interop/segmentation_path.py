"""Where a segmentation network is: by file, or by the name of a published one that is on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from sdpn.errors import InputError
from sdpn.pretrained.names import how_to_get, named_path

#: Names of published networks, which Hugging Face's client keeps in its cache; the file in their repository.
_PUBLISHED = {"pyannote/segmentation-3.0": "pytorch_model.bin"}
#: Describes the folder of a network of ours.
CONFIG = "config.yaml"


def is_segmentation_folder(path: Path) -> bool:
    """Whether a folder holds a segmentation network of ours, readable or not."""
    try:
        text = (path / CONFIG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return text.startswith("segmentation:") or "\nsegmentation:" in text


def segmentation_path(path: str | os.PathLike[str]) -> Path:
    """The file or folder of a segmentation network.

    Raises:
        InputError: there is none.
    """
    found = Path(path)
    if found.is_file() or is_segmentation_folder(found):
        return found
    name = os.fspath(path)
    if (named := named_path(name, "segmentation")) is not None:
        return named
    if name in _PUBLISHED:
        return _cached(name, _PUBLISHED[name])
    if found.is_dir():
        raise InputError(
            "is a folder without a segmentation network",
            path=found,
            hint="expected one that sdpn train --objective segmentation has written (EXP/model), or a file",
        )
    raise InputError(
        "no such segmentation network",
        path=found,
        hint=how_to_get(name)
        or f"expected a file, {', '.join(_PUBLISHED)}, or a name of 'sdpn models --available'",
    )


def _cached(name: str, file: str) -> Path:
    """The newest copy in the cache of Hugging Face's client."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    copies = (cache / f"models--{name.replace('/', '--')}" / "snapshots").glob(f"*/{file}")
    found = max(copies, key=lambda copy: copy.stat().st_mtime, default=None)
    if found is None:
        raise InputError(
            f"{name} is not in the cache of Hugging Face ({cache})",
            hint=f"accept its conditions at https://hf.co/{name}, then run: hf download {name}",
        )
    return found
