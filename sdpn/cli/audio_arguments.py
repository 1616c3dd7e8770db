"""Recordings on the command line, the same wherever a command takes some: files, folders, ``-``, channels."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sdpn.errors import InputError

if TYPE_CHECKING:
    from sdpn.io.audio import Channel
    from sdpn.io.kaldi import Utterance

_log = logging.getLogger(__name__)

#: Standard input as an argument.
STDIN = Path("-")


class Recording(NamedTuple):
    """What is read as one.

    Attributes:
        id: of the recording; where channels are read separately, with the channel behind it.
        path: its file; ``-`` is standard input.
        channel: what is read of it: a number from 0, or None, the mean of all.
    """

    id: str
    path: Path
    channel: Channel


def add_audio_arguments(
    parser: argparse.ArgumentParser, *, separate: bool = True, skip_bad: bool = True
) -> None:
    """Declare ``--channel`` and ``--skip-bad``.

    Args:
        parser: of a command.
        separate: whether every channel can be a recording of its own.
        skip_bad: whether the command takes many recordings.
    """
    parser.add_argument(
        "--channel",
        type=_channel if separate else _one_channel,
        metavar="N|mix|separate" if separate else "N|mix",
        help="of recordings with several channels: number N, counted from 0; mix, the mean of all (default)"
        + ("; or separate, every channel a recording of its own, as of telephone calls" if separate else ""),
    )
    if skip_bad:
        parser.add_argument(
            "--skip-bad",
            action="store_true",
            help="leave out recordings that cannot be read, and read those that break off as far as they go; "
            "they are named and stop nothing",
        )


def recordings(paths: Sequence[Path]) -> dict[str, Path]:
    """Name the recordings of files and folders.

    A file is called by its stem, one in a folder by its path below it with ``-`` for ``/``, standard input
    ``stdin``; white space, which no id may hold, is ``_``. Folders are searched at any depth for files with
    the suffix of an audio format; how many others were skipped is logged.

    Args:
        paths: files, folders and ``-``.

    Returns:
        path by id, in the order of ``paths``, folders sorted. Files are not opened.

    Raises:
        InputError: two recordings share an id, or a folder holds no audio.
    """
    from sdpn.io.corpus import as_word, survey_audio

    found: dict[str, Path] = {}

    def add(stem: str, path: Path) -> None:
        name = as_word(stem)
        if name != stem:
            _log.info("%s is called %r, for no id may hold white space", path, name)
        if name in found:
            raise InputError(
                f"has the recording id {name!r}, and so has {found[name]}",
                path=path,
                hint="rename one, or give them to different commands",
            )
        found[name] = path

    for path in paths:
        if path == STDIN:
            add("stdin", path)
        elif path.is_dir():
            files, skipped = survey_audio(path)
            if skipped:
                _log.info("%s: %d files with no suffix of audio were skipped", path, skipped)
            for file in files:
                add("-".join(file.relative_to(path).with_suffix("").parts), file)
        else:
            add(path.stem, path)
    return found


def by_channel(
    audio_of: Mapping[str, Path], channel: int | str | None, failures: list[InputError] | None = None
) -> list[Recording]:
    """What to read of recordings: each once, or with ``separate`` each of its channels.

    Args:
        audio_of: from `recordings`.
        channel: from ``--channel``.
        failures: takes the errors of files that cannot be opened, which are then left out.

    Raises:
        InputError: the channels of standard input are wanted one by one, or a file cannot be opened and there
            is no ``failures``.
    """
    if channel != "separate":
        one = channel if isinstance(channel, int) else None
        return [Recording(name, path, one) for name, path in audio_of.items()]
    from sdpn.io.audio import open_audio

    found: list[Recording] = []
    for name, path in audio_of.items():
        if path == STDIN:
            raise InputError(
                "--channel separate reads a recording once for each channel, standard input comes once",
                hint="write it to a file first",
            )
        try:
            with open_audio(path) as audio:
                count = audio.num_channels
        except InputError as error:
            if failures is None:
                raise
            failures.append(error)
            continue
        if count == 1:
            found.append(Recording(name, path, 0))
        else:
            found += [Recording(f"{name}_ch{number}", path, number) for number in range(count)]
    seen: set[str] = set()
    for recording in found:
        if recording.id in seen:
            raise InputError(f"two recordings would be called {recording.id!r}", path=recording.path)
        seen.add(recording.id)
    return found


@contextmanager
def seekable_stdin(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Put standard input, where it is among ``paths``, into a file that is removed afterwards.

    For commands that read a recording in parts, in an order of their own.

    Yields:
        the paths, with that file (``stdin``) for ``-``.

    Raises:
        InputError: it is empty or named twice, or there is no room for it.
    """
    if STDIN not in paths:
        yield list(paths)
        return
    if paths.count(STDIN) > 1:
        raise InputError("standard input can be read once only, and '-' is there twice")
    with tempfile.TemporaryDirectory(prefix="sdpn-") as folder:
        file = Path(folder) / "stdin"
        try:
            with open(file, "wb") as stream:
                shutil.copyfileobj(sys.stdin.buffer, stream, 1 << 20)
        except OSError as error:
            raise InputError(
                f"cannot be put into a temporary file ({error.strerror})",
                path="stdin",
                hint=f"it needs room in {tempfile.gettempdir()} (TMPDIR names another folder)",
            ) from error
        yield [file if path == STDIN else path for path in paths]


def find_utterances(
    data: Path | None,
    paths: Sequence[Path],
    *,
    channel: int | str | None = None,
    skip_bad: bool = False,
    check_files: bool = True,
) -> list[Utterance]:
    """Utterances of a Kaldi data directory, or else of files and folders.

    Args:
        data: ``--data``: a Kaldi data directory, or a folder of recordings.
        paths: files and folders of recordings, where there is no ``data``.
        channel: from ``--channel``; where ``segments`` name a channel, that one counts.
        skip_bad: leave out, with a warning, what cannot be opened, and read what breaks off so far.
        check_files: demand that every file exists, unless bad ones are skipped.

    Raises:
        InputError: neither or both were given, or one of them cannot be read.
    """
    from dataclasses import replace

    from sdpn.io.kaldi import Utterance, read_data_dir

    if (data is None) == (not paths):
        raise InputError("give either --data DIR or recordings: files, folders, or - for standard input")
    if data is not None and ((data / "wav.scp").is_file() or not data.is_dir()):
        utterances = read_data_dir(data, check_files=check_files and not skip_bad)
        if channel == "separate":
            raise InputError(
                "--channel separate is for recordings; a data directory says in the fifth field of segments "
                "which channel an utterance is in",
                path=data,
            )
        if isinstance(channel, int):
            utterances = [
                utterance if utterance.channel is not None else replace(utterance, channel=channel)
                for utterance in utterances
            ]
        return [replace(one, keep_truncated=True) for one in utterances] if skip_bad else utterances
    audio_of = recordings([data] if data is not None else paths)
    for path in audio_of.values():
        if not (skip_bad or path.exists()):
            raise InputError("no such audio file", path=path)
    failures: list[InputError] = []
    chosen = by_channel(audio_of, channel, failures if skip_bad else None)
    for failure in failures:
        _log.warning("left out: %s", failure)
    if not chosen:
        raise InputError(f"none of {len(audio_of)} recordings can be read: {failures[0]}")
    return [
        Utterance(
            one.id,
            one.path,
            channel=one.channel if isinstance(one.channel, int) else None,
            keep_truncated=skip_bad,
        )
        for one in chosen
    ]


def _channel(text: str) -> int | str:
    if text in ("mix", "separate"):
        return text
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no channel; expected a number from 0, mix or separate")
    return int(text)


def _one_channel(text: str) -> int | str:
    if text == "separate":
        raise argparse.ArgumentTypeError("this command reads one channel of each recording, or mix")
    return _channel(text)
