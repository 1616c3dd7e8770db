"""Folders of audio, and corpora with one folder for each speaker."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sdpn.errors import InputError

#: Suffixes by which recordings are found in folders; the format is determined by the content.
SUFFIXES = {
    ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".asf", ".au", ".avi", ".caf", ".flac",
    ".flv", ".gsm", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpg", ".oga", ".ogg",
    ".opus", ".ra", ".rm", ".snd", ".sph", ".spx", ".tta", ".voc", ".w64", ".wav", ".wave", ".webm", ".wma",
    ".wmv", ".wv",
}  # fmt: skip
#: Folder names that do not identify a corpus.
_SPLIT_NAMES = {"train", "dev", "test", "eval", "wav", "wavs", "flac", "audio", "data"}


class CorpusFile(NamedTuple):
    """A file of a corpus and its path below the corpus' folder, ``<speaker>/**/<utterance>.wav``."""

    corpus: Path
    name: Path

    @property
    def path(self) -> Path:
        """Its path."""
        return self.corpus / self.name


def find_audio(folder: Path) -> list[Path]:
    """Audio files at any depth below ``folder``, sorted; hidden ones are left out.

    Links to folders are followed, since corpora are often assembled from them; links to a parent folder are
    not.

    Raises:
        InputError: ``folder`` is not a folder, or contains no audio.
    """
    return survey_audio(folder)[0]


def survey_audio(folder: Path) -> tuple[list[Path], int]:
    """As `find_audio`, and the number of other files, excluding hidden ones.

    Raises:
        InputError: ``folder`` is not a folder, or contains no audio.
    """
    if not folder.is_dir():
        raise InputError("no such folder", path=folder)
    files: list[Path] = []
    others = 0
    for directory, folders, names in os.walk(folder, followlinks=True):
        here = Path(directory)
        folders[:] = [name for name in folders if not name.startswith(".") and not _leads_up(here / name)]
        shown = [name for name in names if not name.startswith(".")]
        audio = [here / name for name in shown if Path(name).suffix.lower() in SUFFIXES]
        files += audio
        others += len(shown) - len(audio)
    if not files:
        raise InputError(
            f"contains no file with an audio suffix, among {others} files",
            path=folder,
            hint="such as .wav, .flac, .mp3",
        )
    return sorted(files), others


def _leads_up(folder: Path) -> bool:
    """Whether ``folder`` is a link to a folder that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def find_speakers(folders: Sequence[Path]) -> dict[str, list[CorpusFile]]:
    """The audio of folder-per-speaker corpora, ``DIR/<speaker>/**/<utterance>.wav``.

    Returns:
        sorted files by speaker. Speaker ids are ``<corpus>-<folder>``: folders of the same name in two
        corpora are two speakers.

    Raises:
        InputError: a corpus is missing, empty or given twice, or an audio file is not in a speaker folder.
    """
    speakers: dict[str, list[CorpusFile]] = {}
    for folder, corpus in zip(folders, corpus_names(folders), strict=True):
        for path in find_audio(folder):
            name = path.relative_to(folder)
            if len(name.parts) == 1:
                raise InputError(
                    "is not in a speaker folder",
                    path=path,
                    hint=f"expected {folder}/<speaker>/{path.name}",
                )
            speakers.setdefault(f"{corpus}-{as_word(name.parts[0])}", []).append(CorpusFile(folder, name))
    return speakers


def corpus_names(folders: Sequence[Path]) -> list[str]:
    """A short name for each corpus folder: its own, with as many parents as it takes to be unique.

    Raises:
        InputError: a folder is given twice.
    """
    full = [folder.resolve() for folder in folders]
    for folder, count in Counter(full).items():
        if count > 1:
            raise InputError("this corpus is given twice", path=folder)
    telling = []
    for folder in full:
        parts = [part for part in folder.parts if part != folder.anchor]
        while len(parts) > 1 and parts[-1].lower() in _SPLIT_NAMES:
            parts.pop()
        telling.append([as_word(part) for part in parts] or ["corpus"])
    for depth in range(1, max(map(len, telling), default=0) + 1):
        names = ["_".join(parts[-depth:]) for parts in telling]
        if len(set(names)) == len(names):
            return names
    # left: two splits of one corpus, or names that differ in white space alone
    return [f"{parts[-1]}{number}" for number, parts in enumerate(telling, start=1)]


def as_word(name: str) -> str:
    """``name`` without white space, which ids may not contain."""
    return re.sub(r"\s+", "_", name)
