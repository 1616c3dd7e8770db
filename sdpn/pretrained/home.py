"""The user's own models by name: ``$SDPN_HOME/models/NAME``.

A model folder or the folder of another toolkit goes there as it is. What ``sdpn models --fetch`` brings has a
``source.json`` beside its files, with where they are from and their SHA-256, which are checked on every use.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdpn.errors import InputError
from sdpn.io.checksum import file_sha256
from sdpn.io.json_text import read_json
from sdpn.io.text import is_file_name

#: Beside fetched files.
SOURCE = "source.json"


@dataclass(frozen=True, kw_only=True)
class HomeModel:
    """A model in the user's folder.

    Attributes:
        name: its name.
        folder: where it is.
        source: where it was fetched from; None where it was put there.
        files: SHA-256 of fetched files, by name.
    """

    name: str
    folder: Path
    source: str | None
    files: dict[str, str]

    @property
    def path(self) -> Path:
        """What `sdpn.load_model` reads: the only fetched file, or the folder."""
        return self.folder / next(iter(self.files)) if len(self.files) == 1 else self.folder

    def check(self) -> None:
        """Check the fetched files.

        Raises:
            InputError: one is missing or has changed.
        """
        for name, sha256 in self.files.items():
            file = self.folder / name
            if not file.is_file() or file_sha256(file) != sha256:
                raise InputError(
                    "is missing or has changed since it was fetched",
                    path=file,
                    hint=f"remove {self.folder} and fetch it again from {self.source}",
                )


def home() -> Path:
    """``$SDPN_HOME``, or else ``sdpn`` in the user's folder for caches."""
    if given := os.environ.get("SDPN_HOME"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sdpn"


def home_models() -> list[HomeModel]:
    """All models in the user's folder, by name; nothing is checked.

    Raises:
        InputError: as `find_home_model`.
    """
    folder = home() / "models"
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    found = (find_home_model(name) for name in names)
    return [model for model in found if model is not None]


def find_home_model(name: str) -> HomeModel | None:
    """A model of the user's folder by its name; None if there is none.

    Raises:
        InputError: its ``source.json`` is damaged.
    """
    folder = home() / "models" / name
    if not is_file_name(name) or name.startswith(".") or not folder.is_dir():
        return None
    if not (folder / SOURCE).is_file():
        return HomeModel(name=name, folder=folder, source=None, files={})
    return read_record(folder / SOURCE)


def read_record(path: Path) -> HomeModel:
    """Read the ``source.json`` of a fetched model.

    Raises:
        InputError: it is damaged.
    """
    document = read_json(path, "record of a fetched model")
    files: Any = document.get("files")
    where: Any = document.get("source")
    valid = isinstance(where, str) and isinstance(files, dict) and bool(files)
    if not valid or not all(is_file_name(key) and isinstance(value, str) for key, value in files.items()):
        raise InputError(
            "is not a record of a fetched model",
            path=path,
            hint=f"remove {path.parent} and fetch the model again",
        )
    return HomeModel(name=path.parent.name, folder=path.parent, source=where, files=files)
