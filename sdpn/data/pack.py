"""Packs the speech of data directories into a few large files that train as the directories do.

Thousands of small files are slow to copy and to open on network disks. A pack (`sdpn.io.shards`) is a data
directory of its own, read by everything that reads one, with the same samples bit for bit:

- compressed recordings and FLAC are stored as they are;
- PCM is stored as FLAC, and its segments are cut out; samples that FLAC cannot hold (float, 32 bits) are cut
  out of their files as WAV;
- a compressed recording with segments cannot be cut without a loss: it is stored once, and ``segments``
  points into it.

A shard appears under its name when it is whole, with a list of what it holds in ``progress/``; an interrupted
run goes on behind the last one and writes the same bytes. The tables come last. Nothing in a shard depends on
when or by whom it was written.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import quote

import msgspec
import numpy as np
import soundfile

from sdpn.data.utterance_table import UtteranceTable, read_utterances
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_path, atomic_write_text
from sdpn.io.checksum import file_sha256
from sdpn.io.corpus import SUFFIXES
from sdpn.io.decoder_choice import open_decoder
from sdpn.io.json_text import read_json
from sdpn.io.kaldi import Utterance, read_utt2spk
from sdpn.io.parsing import parsing
from sdpn.io.shards import MANIFEST, PackManifest, check_shards, read_pack_manifest
from sdpn.io.sndfile import SndfileDecoder
from sdpn.io.stored import locate, owner

#: Bytes of a megabyte, in which the size of a shard is given.
MB = 10**6

#: What FLAC can hold (RFC 9639, 9.1): channels, and samples per second that libFLAC writes.
_FLAC_CHANNELS, _FLAC_RATE_HZ = 8, 655_350

#: Most utterances of a shard, most of which may be parts of a recording that is in another one.
_MOST_ROWS = 100_000

_AGAIN = "remove the folder and pack again"

_PROGRESS, _CHECKSUMS = "progress", "SHA256SUMS"


class Packed(NamedTuple):
    """What was packed.

    Attributes:
        num_utterances: utterances of the pack.
        num_speakers: speakers that the data directories name.
        num_shards: tar files.
        num_bytes: their size together.
        skipped: a line for each utterance that was left out.
    """

    num_utterances: int
    num_speakers: int
    num_shards: int
    num_bytes: int
    skipped: list[str]


class _Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """An utterance of a shard.

    Attributes:
        id: of the utterance.
        recording: key of what holds it in ``wav.scp``.
        place: where that begins, if this utterance is the first in it.
        start_s: where the utterance starts there, in seconds.
        end_s: where it ends; None is the end.
        channel: its channel there; None if not given.
        skipped: why it was left out.
    """

    id: str
    recording: str = ""
    place: str | None = None
    start_s: float = 0.0
    end_s: float | None = None
    channel: int | None = None
    skipped: str | None = None


class _Part(msgspec.Struct, frozen=True):
    """What ``progress/`` holds for a shard that is whole."""

    size: int
    rows: list[_Row]


def pack(
    directories: Sequence[Path],
    out: Path,
    *,
    shard_bytes: int = 60 * MB,
    skip_bad: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Packed:
    """Pack the speech of data directories; an interrupted run goes on where it was.

    Args:
        directories: Kaldi data directories, or packs.
        out: folder of the pack: ``shard-*.tar``, ``wav.scp``, ``utt2spk`` and ``segments`` where there is
            something for them, ``pack.json`` and ``SHA256SUMS``.
        shard_bytes: most bytes of a shard.
        skip_bad: leave out utterances that cannot be read; else they are an error.
        on_progress: called with (utterances done, of all).

    Raises:
        InputError: a directory or a recording is wrong, an utterance is in two directories, a recording is
            larger than a shard, or ``out`` holds something else.
    """
    table, speaker_of = _utterances(directories, check_files=not skip_bad)
    signature = _signature(table, speaker_of, shard_bytes)
    if (out / MANIFEST).exists():
        return _complete(out, signature, speaker_of, skip_bad=skip_bad)
    _begin(out, signature)
    writer = _Writer(out, table, speaker_of, shard_bytes, skip_bad=skip_bad)
    writer.run(on_progress)
    skipped = writer.finish(signature)
    return _summary(out, speaker_of, skipped)


def _utterances(directories: Sequence[Path], *, check_files: bool) -> tuple[UtteranceTable, dict[str, str]]:
    """Utterances of all directories, one after the other, and the speakers of those that have one."""
    table, _ = read_utterances(directories, check_files=check_files)
    speaker_of: dict[str, str] = {}
    for directory in directories:
        speaker_of |= read_utt2spk(directory)
    return table, speaker_of


def _signature(table: UtteranceTable, speaker_of: dict[str, str], shard_bytes: int) -> str:
    digest = hashlib.sha256(str(shard_bytes).encode())
    for utterance in table:
        line = (
            f"\n{utterance.id} {utterance.path} {utterance.start_s} {utterance.end_s} {utterance.channel} "
            f"{speaker_of.get(utterance.id)}"
        )
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _refuse_another(out: Path) -> InputError:
    return InputError(
        "holds another pack, or one of other settings",
        path=out,
        hint="name a new folder, or remove this one",
    )


def _complete(out: Path, signature: str, speaker_of: dict[str, str], *, skip_bad: bool) -> Packed:
    """A pack that is finished already: checked, not written again."""
    manifest = read_pack_manifest(out)
    if manifest.signature != signature:
        raise _refuse_another(out)
    if manifest.num_skipped and not skip_bad:
        raise InputError(
            f"{manifest.num_skipped} utterances that could not be read were left out of this pack",
            path=out,
            hint="accept that with --skip-bad, or repair them and pack into a new folder",
        )
    check_shards(out)
    shutil.rmtree(out / _PROGRESS, ignore_errors=True)
    return _summary(out, speaker_of, [])


def _begin(out: Path, signature: str) -> None:
    """Start a pack, or go on with one: only in a folder that holds nothing else."""
    started = out / _PROGRESS / "signature"
    if started.is_file():
        with parsing(started, "is damaged"):
            if started.read_text(encoding="utf-8").strip() == signature:
                return
        if any(out.glob("shard-*.tar")):
            raise _refuse_another(out)
    elif out.is_dir() and any(out.iterdir()):
        raise InputError("holds something else already", path=out, hint="name a new folder")
    atomic_write_text(started, f"{signature}\n")


def _summary(out: Path, speaker_of: dict[str, str], skipped: list[str]) -> Packed:
    manifest = read_pack_manifest(out)
    return Packed(
        manifest.num_utterances,
        len(set(speaker_of.values())),
        len(manifest.shards),
        sum(manifest.shards.values()),
        skipped,
    )


class _Writer:
    """Writes the shards of a pack, and then its tables."""

    def __init__(
        self,
        out: Path,
        table: UtteranceTable,
        speaker_of: dict[str, str],
        shard_bytes: int,
        *,
        skip_bad: bool,
    ) -> None:
        self._out = out
        self._table = table
        self._speaker_of = speaker_of
        self._shard_bytes = shard_bytes
        self._skip_bad = skip_bad
        #: utterances of a file of which only parts are wanted, by the file
        self._parts_of: dict[str, list[int]] = {}
        for index, utterance in enumerate(table):
            if not _is_whole(utterance):
                self._parts_of.setdefault(str(utterance.path), []).append(index)
        #: recordings that are stored once for all of their segments: key by file
        self._stored: dict[str, str] = {}

    def run(self, on_progress: Callable[[int, int], None]) -> None:
        """Write the shards that are not there yet."""
        number = done = 0
        while (part := self._part(number)) is not None:
            if [row.id for row in part.rows] != list(self._table.ids[done : done + len(part.rows)]):
                raise InputError("lists other utterances", path=self._progress(number), hint=_AGAIN)
            for row in part.rows:
                utterance = self._table[done]
                if _is_part(row):
                    self._stored[str(utterance.path)] = row.recording
                done += 1
            number += 1
        total = len(self._table)
        on_progress(done, total)
        while done < total:
            rows: list[_Row] = []
            shard = self._shard(number)
            with atomic_path(shard) as temporary, tarfile.open(temporary, "w") as tar:
                for index in range(done, min(total, done + _MOST_ROWS)):
                    added = self._add(tar, shard.name, self._table[index])
                    if added is None:
                        break
                    rows.append(added)
                    on_progress(done + len(rows), total)
            part = _Part(shard.stat().st_size, rows)
            atomic_write_text(self._progress(number), json.dumps(msgspec.to_builtins(part)))
            done += len(rows)
            number += 1

    def finish(self, signature: str) -> list[str]:
        """Write the tables; returns a line for each utterance that was left out."""
        skipped = [f"{row.id}: {row.skipped}" for row in self._rows() if row.skipped is not None]
        if skipped and not self._skip_bad:  # an earlier run was allowed to
            raise InputError(
                f"was left out: {skipped[0]}", path=self._out, hint="accept that with --skip-bad"
            )
        count = len(self._table) - len(skipped)
        if not count:
            raise InputError(f"none of {len(skipped)} utterances can be read: {skipped[0]}", path=self._out)
        if any(map(_is_part, self._rows())):
            _write_lines(self._out / "segments", map(_segment, self._good_rows()))
        if self._speaker_of:
            spoken = ((row.id, self._speaker_of.get(row.id)) for row in self._good_rows())
            _write_lines(self._out / "utt2spk", (f"{key} {speaker}" for key, speaker in spoken if speaker))
        _write_lines(
            self._out / "wav.scp",
            (f"{row.recording} {row.place}" for row in self._rows() if row.place is not None),
        )
        shards = {self._shard(number).name: part.size for number, part in enumerate(self._parts())}
        tables = [name for name in ("segments", "utt2spk", "wav.scp") if (self._out / name).is_file()]
        _write_lines(
            self._out / _CHECKSUMS,
            (f"{file_sha256(self._out / name)}  {name}" for name in [*shards, *tables]),
        )
        manifest = PackManifest(
            signature=signature,
            num_utterances=count,
            num_skipped=len(skipped),
            shards=shards,
        )
        atomic_write_text(self._out / MANIFEST, json.dumps(msgspec.to_builtins(manifest), indent=2) + "\n")
        shutil.rmtree(self._out / _PROGRESS)
        for left in self._out.glob(".shard-*.tmp.tar"):  # of runs that were killed
            left.unlink(missing_ok=True)
        return skipped

    def _shard(self, number: int) -> Path:
        return self._out / f"shard-{number:06d}.tar"

    def _progress(self, number: int) -> Path:
        return self._out / _PROGRESS / f"shard-{number:06d}.json"

    def _parts(self) -> Iterator[_Part]:
        number = 0
        while (part := self._part(number)) is not None:
            yield part
            number += 1

    def _rows(self) -> Iterator[_Row]:
        return (row for part in self._parts() for row in part.rows)

    def _good_rows(self) -> Iterator[_Row]:
        return (row for row in self._rows() if row.skipped is None)

    def _part(self, number: int) -> _Part | None:
        """What a shard holds, if it is whole."""
        path, shard = self._progress(number), self._shard(number)
        if not path.is_file() or not shard.is_file():
            return None
        document = read_json(path, "list of a shard", hint=_AGAIN)
        with parsing(path, "is not a valid list of a shard", hint=_AGAIN):
            part = msgspec.convert(document, _Part)
        return part if shard.stat().st_size == part.size else None

    def _add(self, tar: tarfile.TarFile, shard: str, utterance: Utterance) -> _Row | None:
        """Add an utterance to a shard; None if there is no space left.

        Raises:
            InputError: it cannot be read, or is larger than a shard.
        """
        file = str(utterance.path)
        if (key := self._stored.get(file)) is not None and not _is_whole(utterance):
            return _Row(utterance.id, key, None, utterance.start_s, utterance.end_s, utterance.channel)
        try:
            member = _member(utterance, self._shard_bytes)
        except InputError as error:
            if self._skip_bad:
                return _Row(utterance.id, skipped=str(error))
            raise
        key = utterance.id
        about: dict[str, object] = {"id": key}
        if member.is_recording:
            about["segments"] = [self._about(self._table[index]) for index in self._parts_of[file]]
        elif key in self._speaker_of:
            about["speaker"] = self._speaker_of[key]
        name = quote(key, safe="", errors="surrogateescape").replace(
            ".", "%2E"
        )  # in webdataset's names the first dot ends the key
        text = json.dumps(about, ensure_ascii=False).encode("utf-8", "surrogateescape")
        needed = _blocks(name, len(text)) + _blocks(name, member.size)
        if tar.offset + needed > self._shard_bytes - tarfile.RECORDSIZE:
            if tar.offset:
                return None
            raise InputError(
                f"takes {member.size / MB:.1f} MB, which does not fit in a shard of "
                f"{self._shard_bytes / MB:g} MB",
                path=utterance.path,
                hint="allow larger shards with --shard-mb, or cut it into shorter recordings",
            )
        _write(tar, f"{name}.json", len(text), io.BytesIO(text))
        with member.open() as stream:
            begin = _write(tar, f"{name}{member.suffix}", member.size, stream)
        place = f"{shard}:{begin}"
        if not member.is_recording:
            return _Row(key, key, place)
        self._stored[file] = key
        return _Row(key, key, place, utterance.start_s, utterance.end_s, utterance.channel)

    def _about(self, utterance: Utterance) -> dict[str, object]:
        about = {
            "id": utterance.id,
            "start_s": utterance.start_s,
            "end_s": utterance.end_s,
            "channel": utterance.channel,
            "speaker": self._speaker_of.get(utterance.id),
        }
        return {key: value for key, value in about.items() if value is not None}


class _Member(NamedTuple):
    """A file for a shard.

    Attributes:
        suffix: of its name.
        size: its bytes.
        open: opens it.
        is_recording: whether it is a whole recording of which the utterance is a part.
    """

    suffix: str
    size: int
    open: Callable[[], BinaryIO]
    is_recording: bool = False


def _member(utterance: Utterance, most_bytes: int) -> _Member:
    """What is stored of an utterance.

    Raises:
        InputError: its file cannot be read, is truncated, or ends before it starts.
    """
    decoder = open_decoder(utterance.path)
    try:
        if decoder.damage is not None:
            raise decoder.damage
        if utterance.channel is not None and not utterance.channel < decoder.num_channels:
            raise InputError(
                f"has no channel {utterance.channel}, only {decoder.num_channels}", path=utterance.path
            )
        whole = _is_whole(utterance)
        if isinstance(decoder, SndfileDecoder) and decoder.is_lossless and not (whole and _stays(decoder)):
            return _coded(decoder, utterance, most_bytes)
    finally:
        decoder.close()
    source = locate(utterance.path)
    suffix = Path(source.name).suffix.lower()
    return _Member(suffix if suffix in SUFFIXES else ".audio", source.size, source.open, not whole)


def _stays(decoder: SndfileDecoder) -> bool:
    """Whether a lossless file is stored as it is."""
    return decoder.is_flac or not _fits_flac(decoder)


def _fits_flac(decoder: SndfileDecoder) -> bool:
    return (
        decoder.pcm_bits is not None
        and decoder.num_channels <= _FLAC_CHANNELS
        and decoder.rate_hz <= _FLAC_RATE_HZ
    )


def _coded(decoder: SndfileDecoder, utterance: Utterance, most_bytes: int) -> _Member:
    """The samples of an utterance without a loss: as FLAC, or as WAV where FLAC cannot hold them."""
    start = round(utterance.start_s * decoder.rate_hz)
    stop = None
    if utterance.end_s is not None:  # as the reader of audio counts
        stop = start + round((utterance.end_s - utterance.start_s) * decoder.rate_hz)
    channels = 1 if utterance.channel is not None else decoder.num_channels
    flac = _fits_flac(decoder)
    bits = decoder.pcm_bits or 32
    subtype = {8: "PCM_S8", 16: "PCM_16", 24: "PCM_24"}[bits] if flac else "FLOAT"
    buffer = io.BytesIO()
    count = 0
    with soundfile.SoundFile(
        buffer, "w", decoder.rate_hz, channels, subtype, format="FLAC" if flac else "WAV"
    ) as file:
        for frames in decoder.frames(start, stop):
            if utterance.channel is not None:
                frames = frames[:, [utterance.channel]]
            if flac:  # the reader's floats are the integers over a power of two: exactly these come back
                whole_numbers = np.rint(frames.astype(np.float64) * 2.0 ** (bits - 1)).astype(np.int32)
                file.write(whole_numbers << (32 - bits))
            else:
                file.write(frames)
            count += len(frames)
            if buffer.tell() > most_bytes:
                break  # the caller says that it does not fit
    if not count:
        raise InputError(f"utterance {utterance.id!r} starts after the end of the file", path=utterance.path)
    size = buffer.seek(0, os.SEEK_END)
    buffer.seek(0)
    return _Member(".flac" if flac else ".wav", size, lambda: buffer)


def _is_whole(utterance: Utterance) -> bool:
    """Whether an utterance is all of its file."""
    return not utterance.start_s and utterance.end_s is None and utterance.channel is None


def _is_part(row: _Row) -> bool:
    return bool(row.start_s) or row.end_s is not None or row.channel is not None


def _segment(row: _Row) -> str:
    end_s = -1 if row.end_s is None else row.end_s
    channel = "" if row.channel is None else f" {row.channel}"
    return f"{row.id} {row.recording} {row.start_s!r} {end_s!r}{channel}"


def _write(tar: tarfile.TarFile, name: str, size: int, stream: BinaryIO) -> int:
    """Add a file to a tar archive that says nothing of when and whose; returns where its bytes begin."""
    member = tarfile.TarInfo(name)
    member.size = size
    member.uname = owner(stream)
    stream.seek(0)
    tar.addfile(member, stream)
    return tar.offset - _padded(size)


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _blocks(name: str, size: int) -> int:
    """Bytes that a file of a tar archive takes at most; a long name has an entry of its own."""
    return _padded(size) + 4 * tarfile.BLOCKSIZE + _padded(3 * len(name))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with atomic_path(path) as temporary:
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{line}\n" for line in lines)
