"""Cuts of lhotse: ``--data cuts.jsonl.gz`` in place of a Kaldi data directory.

A cut is a stretch of a recording (https://github.com/lhotse-speech/lhotse). Cuts as lhotse writes them are
decoded here, which takes a fraction of the time; any other line is read by lhotse. What a data directory
cannot express is refused and named: mixed and padded cuts, cuts that only have features, recordings that are
commands, URLs or bytes inside the manifest, and those that lhotse would change while reading (speed, volume,
another rate).
"""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from sdpn.errors import InputError
from sdpn.io import audio
from sdpn.io.packed_text import DistinctKeys
from sdpn.io.parsing import parsing
from sdpn.io.text import require_id

#: Manifests that can be read one cut at a time.
_SUFFIXES = (".jsonl", ".jsonl.gz")

_CUTS_AT_ONCE = 4096


class Cut(NamedTuple):
    """A stretch of an audio file, with the attributes of `sdpn.io.kaldi.Utterance`; the path is text."""

    id: str
    path: str
    start_s: float
    end_s: float | None
    speaker: str | None
    channel: int | None


class _Source(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    channels: list[int]
    source: str


class _Recording(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    sources: list[_Source]
    sampling_rate: int
    num_samples: int
    duration: float
    channel_ids: list[int] | None = None
    transforms: list[msgspec.Raw] | None = None


class _Supervision(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    recording_id: str
    start: float
    duration: float
    channel: int | list[int] = 0
    text: str | None = None
    language: str | None = None
    speaker: str | None = None
    gender: str | None = None
    custom: msgspec.Raw = msgspec.Raw()
    alignment: msgspec.Raw = msgspec.Raw()


class _PlainCut(msgspec.Struct, forbid_unknown_fields=True):
    """A line of a manifest as lhotse writes it, with the names of lhotse's attributes."""

    id: str
    start: float
    duration: float
    channel: int | list[int]
    recording: _Recording
    type: Literal["MonoCut", "MultiCut"]
    supervisions: list[_Supervision] = []
    features: msgspec.Raw = msgspec.Raw()
    custom: msgspec.Raw = msgspec.Raw()


_PLAIN = msgspec.json.Decoder(_PlainCut)


def is_cuts(path: Path) -> bool:
    """Whether this is a file that may hold cuts, by its name."""
    return path.name.endswith(_SUFFIXES) and path.is_file()


def cut_blocks(path: Path, *, check_files: bool = True, speakers: bool = True) -> Iterator[list[Cut]]:
    """Yield the cuts of a manifest in blocks, none of which is empty.

    Args:
        path: ``.jsonl`` or ``.jsonl.gz``; relative paths of recordings are relative to it.
        check_files: also require that every audio file exists.
        speakers: give cuts the speaker of their supervision, if they have exactly one.

    Raises:
        InputError: the file is none of cuts or is damaged, two cuts share an id, a cut is not a stretch of a
            file, or is written in a way that needs lhotse, which is not installed.
    """
    known = DistinctKeys()
    number = 0
    with parsing(path, "is not a file of lhotse's cuts", hint="expected what CutSet.to_file writes"):
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            while lines := list(islice(stream, _CUTS_AT_ONCE)):
                found = [
                    _stretch(_cut(text, path), path, line, check_files=check_files, speakers=speakers)
                    for line, text in enumerate(lines, start=number + 1)
                ]
                again = known.add([one.id for one in found])
                if again is not None:
                    raise InputError(
                        f"cut {found[again].id!r} occurs a second time", path=path, line=number + again + 1
                    )
                number += len(lines)
                yield found
    if not number:
        raise InputError("contains no cuts", path=path)


def _cut(text: bytes, path: Path) -> Any:
    try:
        return _PLAIN.decode(text)
    except (msgspec.DecodeError, ValueError):
        pass  # of another kind or version, or no cut at all: lhotse knows
    try:
        from lhotse.serialization import decode_json_line, deserialize_item
    except ImportError as error:
        raise InputError(
            "cuts like these need the package lhotse", path=path, hint="pip install 'sdpn[lhotse]'"
        ) from error
    return deserialize_item(decode_json_line(text))


def _stretch(cut: Any, path: Path, line: int, *, check_files: bool, speakers: bool) -> Cut:
    kind = cut.type if isinstance(cut, _PlainCut) else type(cut).__name__
    key = str(getattr(cut, "id", ""))
    if "Cut" not in kind:
        raise InputError(f"holds a {kind}; expected cuts", path=path, line=line)
    require_id(key, "cut", path=path)

    def refused(why: str) -> InputError:
        return InputError(
            f"cut {key!r} {why}",
            path=path,
            line=line,
            hint="write such cuts to audio files first: cut.save_audio",
        )

    if kind not in ("MonoCut", "MultiCut"):
        raise refused(f"is a {kind}, which is not a stretch of a recording")
    recording = cut.recording
    if recording is None:
        raise refused("has no recording")
    if recording.transforms:
        raise refused("is of a recording that lhotse changes while reading it")
    if len(recording.sources) != 1 or recording.sources[0].type != "file":
        types = ", ".join(source.type for source in recording.sources)
        raise refused(f"is of a recording whose sources are not one file ({types})")
    channels = [cut.channel] if isinstance(cut.channel, int) else list(cut.channel)
    all_channels = sorted(channels) == sorted(recording.sources[0].channels)
    if len(channels) > 1 and not all_channels:
        raise refused(f"takes channels {channels} of {list(recording.sources[0].channels)}")
    if not (0 <= cut.start < math.inf and 0 < cut.duration < math.inf):
        raise refused(f"begins at {cut.start} s and lasts {cut.duration} s")
    file = os.path.join(path.parent, recording.sources[0].source)
    if check_files and not audio.is_file(file):
        raise InputError(f"cut {key!r}: no such audio file: {file}", path=path, line=line)
    named = {one.speaker for one in cut.supervisions if one.speaker is not None} if speakers else set()
    whole = cut.start == 0 and cut.duration >= recording.duration
    return Cut(
        key,
        file,
        float(cut.start),
        None if whole else float(cut.start + cut.duration),
        named.pop() if len(named) == 1 else None,
        None if all_channels else channels[0],
    )
