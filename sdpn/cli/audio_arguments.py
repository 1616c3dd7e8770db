"""Recordings on the command line, the same for every command: files, folders, ``-``, channels."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sdpn.errors import InputError
from sdpn.io.inputs import STDIN


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
        help="channel to read from multichannel recordings: N, counted from 0; mix, the mean of all (default)"
        + (
            "; or separate, each channel as a recording of its own, as for telephone calls"
            if separate
            else ""
        ),
    )
    if skip_bad:
        parser.add_argument(
            "--skip-bad",
            action="store_true",
            help="skip recordings that cannot be read, and use truncated ones as far as they go; both are "
            "reported",
        )


@contextmanager
def seekable_stdin(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Put standard input, where it is among ``paths``, into a file that is removed afterwards.

    For commands that read a recording in parts, in an order of their own.

    Yields:
        the paths, with that file (``stdin``) for ``-``.

    Raises:
        InputError: it is empty or named twice, or there is no space for it.
    """
    if STDIN not in paths:
        yield list(paths)
        return
    if paths.count(STDIN) > 1:
        raise InputError("'-' is given twice, but standard input can be read only once")
    with tempfile.TemporaryDirectory(prefix="sdpn-") as folder:
        file = Path(folder) / "stdin"
        try:
            with open(file, "wb") as stream:
                shutil.copyfileobj(sys.stdin.buffer, stream, 1 << 20)
        except OSError as error:
            raise InputError(
                f"cannot be copied to a temporary file ({error.strerror})",
                path="stdin",
                hint=f"free some space in {tempfile.gettempdir()}, or set TMPDIR to another folder",
            ) from error
        yield [file if path == STDIN else path for path in paths]


def _channel(text: str) -> int | str:
    if text in ("mix", "separate"):
        return text
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected a channel number from 0, mix or separate, found {text!r}")
    return int(text)


def _one_channel(text: str) -> int | str:
    if text == "separate":
        raise argparse.ArgumentTypeError("this command reads one channel of each recording, or the mix")
    return _channel(text)
