"""What all text formats share: UTF-8 lines with their numbers, times, and ids without white space."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

from sdpn.errors import InputError


def read_text(path: str | os.PathLike[str]) -> str:
    r"""Read a UTF-8 file (a byte-order mark is dropped); every line ends in ``\n``.

    Raises:
        InputError: the file is missing, cannot be read, or is not UTF-8.
    """
    try:
        with open(path, encoding="utf-8-sig") as stream:
            return stream.read()
    except FileNotFoundError:
        raise InputError("no such file", path=path) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", path=path) from error
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 text ({error.reason})", path=path) from None


def numbered_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, stripped line) of the lines that are not blank.

    Raises:
        InputError: as `read_text`.
    """
    # not splitlines(): it also breaks at form feeds and U+2028, and the numbers would be no editor's
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if stripped := line.strip():
            yield number, stripped


def parse_seconds(text: str, what: str, *, path: str | os.PathLike[str], line: int) -> float:
    """Parse a time in seconds that is finite and not negative.

    Args:
        text: the field.
        what: its name in the error, such as "onset".
        path: file of the field.
        line: its line.

    Raises:
        InputError: it is something else.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise InputError(
            f"{what} {text!r} is not a time in seconds", path=path, line=line, hint="expected >= 0"
        )
    return value


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can carry ``text``; file names that are not UTF-8 come as text that it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_id(name: str, what: str, *, path: str | os.PathLike[str]) -> None:
    """Refuse a name that would not be the same after it was written between blanks and read again.

    Args:
        name: an utterance, recording or speaker id.
        what: what it names, such as "speaker".
        path: file that it comes from or goes to.

    Raises:
        InputError: it is empty, holds white space, or is not text that UTF-8 can carry.
    """
    if name.split() != [name] or not is_encodable(name) or name.startswith("\ufeff"):
        raise InputError(
            f"{what} {name!r} cannot be written: it is empty, holds white space or is not valid text",
            path=path,
            hint="rename it, for example with '_' for each blank",
        )
