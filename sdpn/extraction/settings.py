"""Settings shared by all embeddings of an output folder, written by the first process.

A table must not mix embeddings of different models, windows or precisions. Other processes, concurrent or
later, read the settings of the first.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from sdpn.config import from_dict
from sdpn.errors import InputError
from sdpn.io.atomic import explained
from sdpn.io.json_text import read_json
from sdpn.models.speaker_embedder import Precision, SpeakerEmbedder

_NAME = "settings.json"


@dataclass(frozen=True, kw_only=True)
class ExtractionSettings:
    """Settings of an extraction.

    Attributes:
        model: fingerprint of weights and features.
        embedding_dim: size D of an embedding.
        windows: ``length/hop`` in seconds, or None for whole utterances.
        precision: precision of the network.
        weights: digest of the weights, which identifies the model of a back end; None in older versions.
        speed: speed factor of the speech.
    """

    model: str
    embedding_dim: int
    windows: str | None
    precision: Precision
    weights: str | None = None
    speed: float = 1.0


def agree_on_settings(
    folder: Path,
    embedder: SpeakerEmbedder,
    *,
    windows: str | None,
    speed: float = 1.0,
    precision: Precision | None,
    choose: Callable[[], Precision],
) -> ExtractionSettings:
    """Read the settings of a folder, or write them if there are none.

    Args:
        folder: folder of the settings.
        embedder: the model.
        windows: see `ExtractionSettings`.
        speed: see `ExtractionSettings`.
        precision: requested precision; None takes that of the folder, or else calls ``choose``.
        choose: chooses a precision.

    Raises:
        InputError: the folder has embeddings of another model or with other settings.
    """
    model = embedder.fingerprint
    found = read_settings(folder)
    if found is None:
        ours = ExtractionSettings(
            model=model,
            embedding_dim=embedder.embedding_dim,
            windows=windows,
            precision=precision or choose(),
            weights=embedder.weights_digest,
            speed=speed,
        )
        _write_once(folder / _NAME, json.dumps(asdict(ours), indent=2) + "\n")
        found = read_settings(folder)  # another process may have written them first
        assert found is not None
    differences = [
        f"{what} ({theirs} there, {ours_is} now)"
        for what, theirs, ours_is in (
            ("another model", found.model, model),
            ("other windows", found.windows or "none", windows or "none"),
            ("another precision", found.precision, precision or found.precision),
            ("another speed", found.speed, speed),
        )
        if theirs != ours_is
    ]
    if differences:
        raise InputError(
            f"contains embeddings with {' and '.join(differences)}",
            path=folder.parent,
            hint="choose another folder (--out, distill.cache), or remove this one",
        )
    return found


def read_settings(folder: Path) -> ExtractionSettings | None:
    """Read the settings of a folder; None if there are none.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / _NAME
    if not path.exists():
        return None
    return from_dict(ExtractionSettings, read_json(path, "extraction settings file"), path=path)


def _write_once(path: Path, text: str) -> None:
    """Write a file atomically unless it exists already."""
    temporary = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8")
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
