"""Voiceprints: the embeddings of a person's recordings, and a folder of them.

One JSON file for each person, named after a digest of the name, since names may hold anything that a file
name cannot. A voiceprint keeps every enrolled recording apart, with where it came from, so that one can be
added, and all can be made again with another model.

Shapes: D embedding.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.errors import InputError
from sdpn.formats.names import given_name
from sdpn.io.atomic import atomic_write_text, explained
from sdpn.io.json_text import float32_numbers, read_json
from sdpn.io.parsing import parsing

#: The version of the file.
_SCHEMA = "sdpn.voiceprint/1"

_SUFFIX = ".voiceprint.json"

_DAMAGED = "delete the file, and enroll the person again"

#: Names that diarization gives to those whom nobody knows, without their number.
UNKNOWN, SPEAKER = "unknown", "speaker"

#: Such a name; 'sdpn edit --different' adds ``-2`` and so on.
_LABEL = re.compile(rf"({UNKNOWN}|{SPEAKER})\d*(-\d+)*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class RecordingConditions:
    """How a recording sounds, apart from who speaks.

    Attributes:
        snr_db: level of speech above that of the pauses; None without pauses.
        bandwidth_hz: upper end of the band that holds the speech.
    """

    snr_db: float | None
    bandwidth_hz: float


@dataclass(frozen=True, kw_only=True, eq=False)
class EnrolledRecording:
    """A recording of a person.

    Attributes:
        audio: its file.
        sha256: digest of the file.
        channel: channel that was read, counted from 0; None is the mean of all.
        speech_s: speech in it, in seconds.
        conditions: how it sounds.
        embedding_D: mean embedding of its windows, float32, not normalised.
    """

    audio: str
    sha256: str
    channel: int | None
    speech_s: float
    conditions: RecordingConditions
    embedding_D: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Voiceprint:
    """A person whose voice is known.

    Attributes:
        name: the name, on one line.
        model: digest of the weights of the model (`sdpn.models.weights.weights_digest`).
        made_with: ``model`` (path or name), its ``format``, the version of ``sdpn``, and the digest of the
            ``back_end`` that the recordings were checked with; for information.
        recordings: at least one.
    """

    name: str
    model: str
    made_with: dict[str, str | None]
    recordings: Sequence[EnrolledRecording]

    @property
    def speech_s(self) -> float:
        """Speech in all recordings, in seconds."""
        return sum(recording.speech_s for recording in self.recordings)

    @property
    def embedding_D(self) -> np.ndarray:
        """The mean of the recordings' embeddings, each of the same weight."""
        rows = np.stack([one.embedding_D for one in self.recordings]).astype(np.float64)
        mean_D: np.ndarray = rows.mean(axis=0)
        return mean_D

    def with_recordings(self, recordings: Sequence[EnrolledRecording]) -> Voiceprint:
        """Add recordings; one of the same file and channel is replaced."""
        new = {(one.sha256, one.channel) for one in recordings}
        kept = [one for one in self.recordings if (one.sha256, one.channel) not in new]
        return replace(self, recordings=[*kept, *recordings])


class PeopleFolder:
    """A folder of voiceprints.

    Args:
        path: the folder; it need not exist before something is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def file_of(self, name: str) -> Path:
        """Where the voiceprint of a person is, or would be."""
        return self.path / (hashlib.sha256(name.encode()).hexdigest()[:24] + _SUFFIX)

    def find(self, name: str) -> Voiceprint | None:
        """A person by name; None if nobody has it.

        Raises:
            InputError: the file is damaged.
        """
        file = self.file_of(checked_name(name))
        return read_voiceprint(file) if file.is_file() else None

    def read(self) -> list[Voiceprint]:
        """All people, by name.

        Raises:
            InputError: there is no such folder, nobody in it, or a file is damaged.
        """
        if not self.path.is_dir():
            raise InputError("no such folder of people", path=self.path, hint=_enrol_hint(self.path))
        people = [read_voiceprint(file) for file in sorted(self.path.glob(f"*{_SUFFIX}"))]
        if not people:
            raise InputError("holds no voiceprints", path=self.path, hint=_enrol_hint(self.path))
        return sorted(people, key=lambda person: person.name)

    def write(self, person: Voiceprint) -> Path:
        """Write a person atomically; returns the file.

        Raises:
            InputError: the file cannot be written.
        """
        document = {
            "schema": _SCHEMA,
            "name": person.name,
            "model": person.model,
            "made_with": person.made_with,
            "recordings": [_plain(recording) for recording in person.recordings],
        }
        file = self.file_of(person.name)
        atomic_write_text(file, json.dumps(document, indent=1, allow_nan=False) + "\n")
        return file

    def delete(self, name: str) -> Path:
        """Remove a person; returns the file that was removed.

        Raises:
            InputError: nobody has that name.
        """
        file = self._existing(name)
        with explained(file):
            file.unlink()
        return file

    def rename(self, old: str, new: str) -> Path:
        """Give a person another name; returns the new file.

        Raises:
            InputError: nobody has the old name, somebody has the new one, or it is no name.
        """
        before = self._existing(old)
        name = checked_name(new)
        if self.file_of(name).is_file():
            raise InputError(
                f"already holds a person named {name!r}",
                path=self.path,
                hint="delete one, or choose another name",
            )
        file = self.write(replace(read_voiceprint(before), name=name))
        with explained(before):
            before.unlink()
        return file

    def _existing(self, name: str) -> Path:
        file = self.file_of(checked_name(name))
        if not file.is_file():
            names = [person.name for person in self.read()]
            shown = ", ".join(map(repr, names[:10])) + (", ..." if names[10:] else "")
            raise InputError(f"holds nobody named {name!r}", path=self.path, hint=f"it holds {shown}")
        return file


def checked_name(name: str) -> str:
    """A person's name, see `sdpn.formats.names.given_name`.

    Raises:
        InputError: as there, or it is one that diarization gives to speakers whom nobody knows.
    """
    name = given_name(name)
    if is_label(name):
        raise InputError(f"the name {name!r} is given to speakers whom nobody knows", hint="choose another")
    return name


def is_label(name: str) -> bool:
    """Whether a name is one that diarization gives to speakers whom nobody knows, or to a part of one."""
    return _LABEL.fullmatch(name) is not None


def read_voiceprint(path: Path) -> Voiceprint:
    """Read a person's file.

    Raises:
        InputError: it is missing, damaged or of another format.
    """
    document = read_json(path, "voiceprint", hint=_DAMAGED)
    if document.get("schema") != _SCHEMA:
        raise InputError(
            f"is not a voiceprint of format {_SCHEMA!r}", path=path, hint="expected a file of 'sdpn enroll'"
        )
    with parsing(path, "is a damaged voiceprint", hint=_DAMAGED):
        person = Voiceprint(
            name=checked_name(_text(document["name"])),
            model=_text(document["model"]),
            made_with={str(key): value for key, value in document["made_with"].items()},
            recordings=[_recording(row) for row in document["recordings"]],
        )
        sizes = {len(recording.embedding_D) for recording in person.recordings}
        if len(sizes) != 1:
            raise ValueError(f"its embeddings have {sorted(sizes) or 'no'} dimensions")
    if PeopleFolder(path.parent).file_of(person.name) != path:
        raise InputError(
            f"is named after somebody else than {person.name!r}, whom it holds",
            path=path,
            hint="do not rename or edit these files: 'sdpn enroll --rename OLD NEW' does",
        )
    return person


def _recording(row: dict[str, Any]) -> EnrolledRecording:
    conditions = row["conditions"]
    with np.errstate(over="ignore"):  # infinite values are refused below
        embedding_D = np.array([float(value) for value in row["embedding"]], dtype=np.float32)
    speech_s, channel = float(row["speech_s"]), row["channel"]
    if not embedding_D.any() or not np.isfinite(embedding_D).all() or not 0 < speech_s < math.inf:
        raise ValueError(f"an embedding of zeros or infinite values, or {speech_s} s of speech")
    if not (channel is None or (isinstance(channel, int) and channel >= 0)):
        raise ValueError(f"channel {channel!r}")
    return EnrolledRecording(
        audio=_text(row["audio"]),
        sha256=_text(row["sha256"]),
        channel=channel,
        speech_s=speech_s,
        conditions=RecordingConditions(
            snr_db=None if conditions["snr_db"] is None else float(conditions["snr_db"]),
            bandwidth_hz=float(conditions["bandwidth_hz"]),
        ),
        embedding_D=embedding_D,
    )


def _plain(recording: EnrolledRecording) -> dict[str, Any]:
    return {
        "audio": recording.audio,
        "sha256": recording.sha256,
        "channel": recording.channel,
        "speech_s": round(recording.speech_s, 3),
        "conditions": asdict(recording.conditions),
        "embedding": float32_numbers(recording.embedding_D),
    }


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return value


def _enrol_hint(path: Path) -> str:
    return f"enroll people: sdpn enroll --name NAME AUDIO... --people {path}"
