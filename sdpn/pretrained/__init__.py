"""The models included in sdpn, so that recordings can be diarized before anything is trained.

Every folder beside this file is a model folder like any other, with weights of 16 bits and a model card,
``README.md``: what it was trained on and how, what it reaches, and where it fails. Wherever a command or a
function takes a model, the name of the folder stands for it: ``--model small``, ``load_model("small")``.
"""

from __future__ import annotations

import os
from pathlib import Path

_HERE = Path(__file__).parent

#: Names of the included models.
INCLUDED = tuple(sorted(card.parent.name for card in _HERE.glob("*/README.md")))

#: The model that is taken where none is named.
SHIPPED = _HERE / "small"


def model_path(model: str | os.PathLike[str] | None = None) -> Path:
    """Where a model is: an included one by its name, any other by its path; None is the default.

    A folder ``small`` of the working directory is ``"./small"``; a `pathlib.Path` would lose the dot.
    """
    if model is None:
        return SHIPPED
    return _HERE / model if os.fspath(model) in INCLUDED else Path(model)


def is_included(path: Path) -> bool:
    """Whether a model is one of the package's."""
    return path.parent == _HERE and path.name in INCLUDED
