"""The source recordings of a simulation: their folders, and verification that they are unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdpn.errors import InputError
from sdpn.io import audio
from sdpn.io.corpus import find_audio
from sdpn.simulation.manifest import Conversation, Kind, SourceFile, file_digest


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Folders of the recordings.

    Attributes:
        corpora: folder-per-speaker corpora.
        rir: measured room impulse responses at any depth, or None.
        noise: noise recordings at any depth, or None.
        draws: whether the room or noise at a path may be drawn; None draws from all.
    """

    corpora: Sequence[Path]
    rir: Path | None = None
    noise: Path | None = None
    draws: Callable[[Path], bool] | None = None

    def load(self, kind: Kind, source: SourceFile) -> np.ndarray:
        """Read a recording.

        Returns:
            (S,) float32 at 16 kHz.

        Raises:
            InputError: it is missing or cannot be read.
        """
        present = [path for path in self._candidates(kind, source) if path.is_file()]
        if len(present) > 1:  # select the corpus by the hash
            present = [path for path in present if file_digest(path) == source.digest]
        if not present:
            raise InputError(f"{kind} {source.path!r} no longer exists")
        return audio.read(present[0])

    def problem(self, kind: Kind, source: SourceFile) -> str | None:
        """Describe the problem with a recording of a manifest (missing or changed), if any."""
        candidates = self._candidates(kind, source)
        if not candidates:
            option = {"room": "--rir", "noise": "--noise"}[kind]
            return f"{kind} {source.path!r} is needed: give its folder with {option}"
        present = [path for path in candidates if path.is_file()]
        if not present:
            return f"{kind} {source.path!r} is missing: there is no {' and no '.join(map(str, candidates))}"
        digests = [file_digest(path) for path in present]
        if source.digest not in digests:
            return (
                f"{kind} {source.path!r} is not the original one: the SHA-256 of {present[0]} starts with "
                f"{digests[0]}, expected {source.digest}"
            )
        return None

    def _candidates(self, kind: Kind, source: SourceFile) -> list[Path]:
        """Several corpora may hold the same relative path."""
        folders = {"utterance": self.corpora, "room": [self.rir], "noise": [self.noise]}[kind]
        return [folder / source.path for folder in folders if folder is not None]


def check_sources(conversations: Sequence[Conversation], folders: Folders, manifest: Path) -> None:
    """Check that all recordings of a manifest exist and are unchanged.

    Args:
        conversations: read from ``manifest``, one from each line.
        folders: folders of the recordings.
        manifest: path for error messages.

    Raises:
        InputError: a recording is missing or has changed, or a folder was not given; with the line.
    """
    known: dict[tuple[Kind, SourceFile], str | None] = {}
    for line, conversation in enumerate(conversations, start=1):
        for kind, source in _sources(conversation):
            if (kind, source) not in known:
                known[kind, source] = folders.problem(kind, source)
            problem = known[kind, source]
            if problem is not None:
                raise InputError(problem, path=manifest, line=line)


def sources_by_folder(root: Path, draws: Callable[[Path], bool] | None = None) -> list[list[SourceFile]]:
    """Audio files below ``root`` that ``draws`` accepts (None: all), in groups that lie in the same folder.

    Raises:
        InputError: ``root`` is no folder, holds no such audio, or a file cannot be read.
    """
    groups: dict[Path, list[SourceFile]] = {}
    paths = [path for path in find_audio(root) if draws is None or draws(path)]
    if not paths:
        raise InputError("contains no recording that may be used", path=root)
    for path in paths:
        source = SourceFile(path.relative_to(root).as_posix(), file_digest(path))
        groups.setdefault(path.parent, []).append(source)
    return list(groups.values())


def _sources(conversation: Conversation) -> Iterator[tuple[Kind, SourceFile]]:
    for utterance in conversation.utterances:
        yield "utterance", utterance.file
    for speaker in conversation.speakers:
        if isinstance(speaker.room, SourceFile):
            yield "room", speaker.room
    for clip in conversation.noise.clips if conversation.noise else ():
        yield "noise", clip
