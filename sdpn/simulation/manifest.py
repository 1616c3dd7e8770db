"""The manifest of simulated conversations: JSON lines from which the same samples can be reproduced.

One line is one conversation::

    {"format": 2, "recording": "sim00", "num_samples": 2880000,
     "speakers": [["corpus-0003", {"path": "kitchen.flac", "sha256": "…"}], …],
     "utterances": [[0, "0003/000030012.opus", "…"], …],
     "phrases": [[0, 8160, 21984, 5344, -3.2], …],
     "noise": {"snr_db": 12.5, "clips": [["rain/1-17367-A-10.opus", "…"], …]},
     "ambience": {"snr_db": 38.0, "seed": 77},
     "sha256": "…", "sketch": [-41822, 10377, …]}

A speaker has an id and a room: a measured one, a simulated one (``{"rt60_s": 0.4, "seed": 5}``) or null. An
utterance has the number of its speaker, its path below a corpus and the beginning of the SHA-256 of the
file. A phrase has the number of its utterance, its first sample there and the one after its last, the sample
of the conversation at which it starts, and its gain in dB. ``noise`` may be null. The last
two are the SHA-256 of the mixed samples (16 bits, little-endian) and their `sdpn.simulation.sketch`; they are
compared with what is mixed again (`Conversation.compared_with`), and nothing is made from them. Lines of
format 1 have no sketch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.audio import RATE_HZ
from sdpn.io.json_text import parse_json
from sdpn.io.rttm import Turn, merge_overlaps
from sdpn.io.text import is_file_name, numbered_lines
from sdpn.simulation.sketch import TOLERANCE, relative_difference
from sdpn.simulation.turn_statistics import JOIN_S

_FORMAT = 2

#: Format 1 has no sketch.
_READABLE = (1, 2)

#: Characters of a file's SHA-256 that are stored: a collision among a million files has a probability of
#: 10^-7.
_DIGEST_LENGTH = 16


#: How samples that were mixed again compare with those of the manifest, see `Conversation.compared_with`.
Sameness = Literal["equal", "rounded", "different", "unknown"]

#: What a recording is used as.
Kind = Literal["utterance", "room", "noise"]


class SourceFile(NamedTuple):
    """An audio file: its path below a folder given by the user, and the beginning of its SHA-256."""

    path: str
    digest: str


class SimulatedRoom(NamedTuple):
    """A room for `sdpn.augmentation.rooms.simulate_room`: its reverberation time and its noise's seed."""

    rt60_s: float
    seed: int


class Speaker(NamedTuple):
    """A speaker, in a measured room, in a simulated room or close to the microphone (None)."""

    id: str
    room: SourceFile | SimulatedRoom | None


class SpeakerUtterance(NamedTuple):
    """An utterance and the index of its speaker."""

    speaker: int
    file: SourceFile


class PlacedPhrase(NamedTuple):
    """A segment of an utterance, ``start`` to ``end`` in samples, at sample ``onset`` of the conversation."""

    utterance: int
    start: int
    end: int
    onset: int
    gain_db: float


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Recorded noise: clips in sequence, repeated; the SNR refers to the active speech level."""

    snr_db: float
    clips: tuple[SourceFile, ...]


@dataclass(frozen=True, kw_only=True)
class Ambience:
    """Faint generated noise, since real recordings are never silent between words."""

    snr_db: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A conversation as its line of the manifest describes it; see the module.

    Attributes:
        recording: its id.
        num_samples: its length, at 16 kHz.
        speakers: the speakers.
        utterances: their utterances.
        phrases: the phrases and their positions.
        noise: recorded noise, or None.
        ambience: generated noise.
        sha256: of the samples; None before they are computed.
        sketch: of the samples (`sdpn.simulation.sketch`); None before they are computed, and in format 1.
    """

    recording: str
    num_samples: int
    speakers: tuple[Speaker, ...]
    utterances: tuple[SpeakerUtterance, ...]
    phrases: tuple[PlacedPhrase, ...]
    noise: Noise | None
    ambience: Ambience
    sha256: str | None = None
    sketch: tuple[int, ...] | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / RATE_HZ

    def compared_with(self, again: Conversation) -> Sameness:
        """Compare the samples of this line of a manifest with those that were mixed from it again.

        Returns:
            ``equal`` bit for bit; ``rounded``: their difference is at most `sdpn.simulation.sketch.TOLERANCE`
            of the signal; ``different``; or ``unknown``: another digest, and no sketch to measure the
            difference.
        """
        if self.sha256 is None or self.sha256 == again.sha256:
            return "equal"
        if self.sketch is None or again.sketch is None:
            return "unknown"
        return "rounded" if relative_difference(self.sketch, again.sketch) <= TOLERANCE else "different"

    def turns(self) -> list[Turn]:
        """The reference turns; silences of a speaker below `JOIN_S` are bridged."""
        turns = [
            Turn(
                self.recording,
                phrase.onset / RATE_HZ,
                (phrase.end - phrase.start) / RATE_HZ,
                self.speakers[self.utterances[phrase.utterance].speaker].id,
            )
            for phrase in self.phrases
        ]
        return merge_overlaps(sorted(turns), pause_s=JOIN_S)


def file_digest(path: str | os.PathLike[str]) -> str:
    """Beginning of the SHA-256 of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()[:_DIGEST_LENGTH]
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", path=path) from error


def write_manifest(path: str | os.PathLike[str], conversations: Iterable[Conversation]) -> None:
    """Write one line for each conversation.

    Raises:
        InputError: ``path`` cannot be written.
    """
    atomic_write_text(path, "".join(f"{_encode(conversation)}\n" for conversation in conversations))


def read_manifest(path: str | os.PathLike[str]) -> list[Conversation]:
    """Read a manifest and check that every line is valid.

    Raises:
        InputError: the file is missing or empty, a line is malformed, or a recording occurs twice.
    """
    conversations: dict[str, Conversation] = {}
    for number, line in numbered_lines(path):
        try:
            conversation = _decode(parse_json(line, "manifest line", path=path, line=number))
            _check(conversation)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"is not a valid manifest line ({reason})", path=path, line=number) from error
        if conversation.recording in conversations:
            raise InputError(f"recording {conversation.recording!r} occurs twice", path=path, line=number)
        conversations[conversation.recording] = conversation
    if not conversations:
        raise InputError("contains no conversations", path=path)
    return list(conversations.values())


def _encode(conversation: Conversation) -> str:
    document = {
        "format": _FORMAT,
        **asdict(conversation),
        "speakers": [[speaker.id, _encode_room(speaker.room)] for speaker in conversation.speakers],
        "utterances": [[utterance.speaker, *utterance.file] for utterance in conversation.utterances],
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _encode_room(room: SourceFile | SimulatedRoom | None) -> dict[str, Any] | None:
    if isinstance(room, SourceFile):
        return {"path": room.path, "sha256": room.digest}
    return None if room is None else room._asdict()


def _decode(document: dict[str, Any]) -> Conversation:
    if document["format"] not in _READABLE:
        raise ValueError(f"its format is {document['format']!r}, expected {' or '.join(map(str, _READABLE))}")
    noise = document["noise"]
    return Conversation(
        recording=document["recording"],
        num_samples=int(document["num_samples"]),
        speakers=tuple(Speaker(name, _decode_room(room)) for name, room in document["speakers"]),
        utterances=tuple(
            SpeakerUtterance(int(speaker), SourceFile(file, digest))
            for speaker, file, digest in document["utterances"]
        ),
        phrases=tuple(
            PlacedPhrase(int(utterance), int(start), int(end), int(onset), float(gain_db))
            for utterance, start, end, onset, gain_db in document["phrases"]
        ),
        noise=None
        if noise is None
        else Noise(snr_db=float(noise["snr_db"]), clips=tuple(SourceFile(*clip) for clip in noise["clips"])),
        ambience=Ambience(
            snr_db=float(document["ambience"]["snr_db"]), seed=int(document["ambience"]["seed"])
        ),
        sha256=document["sha256"],
        sketch=_decode_sketch(document),
    )


def _decode_sketch(document: dict[str, Any]) -> tuple[int, ...] | None:
    found = None if document["format"] == 1 else document["sketch"]
    if found is not None and not all(type(total) is int and abs(total) < 2**31 for total in found):
        raise ValueError("the sketch is not a list of integers")
    return None if found is None else tuple(found)


def _decode_room(room: dict[str, Any] | None) -> SourceFile | SimulatedRoom | None:
    if room is None:
        return None
    if "path" in room:
        return SourceFile(room["path"], room["sha256"])
    return SimulatedRoom(float(room["rt60_s"]), int(room["seed"]))


def _check(conversation: Conversation) -> None:
    """Raise ValueError for invalid names and indices out of range."""
    names = [conversation.recording, *(speaker.id for speaker in conversation.speakers)]
    for name in names:
        if not isinstance(name, str) or not is_file_name(name):
            raise ValueError(f"{name!r} is not a valid id: it is empty, or contains white space or a slash")
    sources = [utterance.file for utterance in conversation.utterances]
    sources += [speaker.room for speaker in conversation.speakers if isinstance(speaker.room, SourceFile)]
    sources += conversation.noise.clips if conversation.noise else ()
    for source in sources:
        if not (isinstance(source.path, str) and isinstance(source.digest, str)):
            raise ValueError(f"{source.path!r} is not a path with the beginning of a SHA-256")
        if Path(source.path).is_absolute() or ".." in Path(source.path).parts:
            raise ValueError(f"{source.path!r} is not below a corpus")
    if conversation.num_samples < 1 or not conversation.phrases:
        raise ValueError("the conversation is empty")
    for utterance in conversation.utterances:
        if not 0 <= utterance.speaker < len(conversation.speakers):
            raise ValueError(f"there is no speaker {utterance.speaker}")
    for phrase in conversation.phrases:
        if not 0 <= phrase.utterance < len(conversation.utterances):
            raise ValueError(f"there is no utterance {phrase.utterance}")
        ends = phrase.onset + phrase.end - phrase.start
        if not (0 <= phrase.start < phrase.end and phrase.onset >= 0 and ends <= conversation.num_samples):
            raise ValueError(f"phrase {list(phrase)} is not inside the conversation")
    for room in (speaker.room for speaker in conversation.speakers):
        if isinstance(room, SimulatedRoom) and not (room.rt60_s > 0 and room.seed >= 0):
            raise ValueError("a simulated room needs a positive rt60_s and a seed")
    if conversation.ambience.seed < 0 or (conversation.noise and not conversation.noise.clips):
        raise ValueError("ambience needs a seed, and noise needs clips")
