"""What there is to work on: files, folders, data directories and standard input, as recordings or utterances.

Commands import this before they know whether they will work, so NumPy is imported in the functions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sdpn.errors import InputError
from sdpn.io.corpus import as_word, survey_audio

if TYPE_CHECKING:
    from sdpn.io.audio import Channel
    from sdpn.io.kaldi import Utterance

_log = logging.getLogger(__name__)

#: Standard input in place of a file.
STDIN = Path("-")


class Recording(NamedTuple):
    """A recording to read.

    Attributes:
        id: recording id; where channels are read separately, the channel is appended.
        path: its file; ``-`` is standard input.
        channel: channel to read, counted from 0; None is the mean of all.
    """

    id: str
    path: Path
    channel: Channel


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
    found: dict[str, Path] = {}

    def add(stem: str, path: Path) -> None:
        name = as_word(stem)
        if name != stem:
            _log.info("%s gets the id %r, since ids may not contain white space", path, name)
        if name in found:
            raise InputError(
                f"has the same recording id {name!r} as {found[name]}",
                path=path,
                hint="rename one, or process them in separate commands",
            )
        found[name] = path

    for path in paths:
        if path == STDIN:
            add("stdin", path)
        elif path.is_dir():
            files, skipped = survey_audio(path)
            if skipped:
                _log.info("%s: skipped %d files without an audio suffix", path, skipped)
            for file in files:
                add("-".join(file.relative_to(path).with_suffix("").parts), file)
        else:
            add(path.stem, path)
    return found


def by_channel(
    audio_of: Mapping[str, Path], channel: int | str | None, failures: list[InputError] | None = None
) -> list[Recording]:
    """The recordings to read: each once, or with ``separate`` each of its channels.

    Args:
        audio_of: from `recordings`.
        channel: from ``--channel``.
        failures: collects the errors of files that cannot be opened, which are then left out.

    Raises:
        InputError: separate channels of standard input are requested, or a file cannot be opened and
            ``failures`` is None.
    """
    if channel != "separate":
        one = channel if isinstance(channel, int) else None
        return [Recording(name, path, one) for name, path in audio_of.items()]
    from sdpn.io.audio import open_audio

    found: list[Recording] = []
    for name, path in audio_of.items():
        if path == STDIN:
            raise InputError(
                "--channel separate reads a recording once per channel, but standard input can be read "
                "only once",
                hint="save it to a file first",
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
            raise InputError(f"two recordings would have the id {recording.id!r}", path=recording.path)
        seen.add(recording.id)
    return found


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
        channel: from ``--channel``; a channel given in ``segments`` takes precedence.
        skip_bad: leave out, with a warning, what cannot be opened, and read truncated files as far as they
            go.
        check_files: require that every file exists, unless bad ones are skipped.

    Raises:
        InputError: neither or both were given, or one of them cannot be read.
    """
    from sdpn.io.kaldi import Utterance, read_data_dir

    if (data is None) == (not paths):
        raise InputError("give either --data DIR or recordings: files, folders, or - for standard input")
    if data is not None and ((data / "wav.scp").is_file() or not data.is_dir()):
        utterances = read_data_dir(data, check_files=check_files and not skip_bad)
        if channel == "separate":
            raise InputError(
                "--channel separate applies to recordings; in a data directory, the fifth field of "
                "segments gives the channel of an utterance",
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
