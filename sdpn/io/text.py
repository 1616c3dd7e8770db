"""What all text formats share: UTF-8 lines with their numbers, times, and ids without white space."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator

from sdpn.errors import InputError

#: What would end up in ids, names of files and on terminals; blanks and line ends are not among it.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")


def read_text(path: str | os.PathLike[str]) -> str:
    r"""Read a UTF-8 file (a byte-order mark is dropped); every line ends in ``\n``.

    Raises:
        InputError: the file is missing, cannot be read, or is not UTF-8.
    """
    try:
        with open(path, encoding="utf-8-sig") as stream:
            text = stream.read()
    except FileNotFoundError:
        raise InputError("no such file", path=path) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", path=path) from error
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 text ({error.reason})", path=path) from None
    except ValueError as error:  # a path with NUL
        raise InputError(f"is no path ({error})", path=path) from None
    if (control := _CONTROL.search(text)) is not None:
        raise InputError(
            f"holds the control character {control[0]!r}, which no text has",
            path=path,
            line=text.count("\n", 0, control.start()) + 1,
            hint="is this the right file? If so, remove the character",
        )
    return text


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


def is_line(text: str) -> bool:
    """Whether ``text`` can stand on a line of a text file."""
    return is_encodable(text) and "\n" not in text and "\r" not in text and _CONTROL.search(text) is None


def is_id(name: str) -> bool:
    """Whether a name is the same after it was written between blanks and read again."""
    return name.split() == [name] and not name.startswith("\ufeff") and is_line(name)


def is_file_name(name: str) -> bool:
    """Whether an id can name a file of its own in a folder, and none outside of it."""
    return is_id(name) and "/" not in name and name not in (".", "..")


def require_id(name: str, what: str, *, path: str | os.PathLike[str]) -> None:
    """Refuse a name that would not be the same after it was written between blanks and read again.

    Args:
        name: an utterance, recording or speaker id.
        what: what it names, such as "speaker".
        path: file that it comes from or goes to.

    Raises:
        InputError: it is empty, holds white space or control characters, or is not text that UTF-8 can carry.
    """
    if not is_id(name):
        raise InputError(
            f"{what} {name!r} cannot be written: it is empty, holds white space or is not valid text",
            path=path,
            hint="rename it, for example with '_' for each blank",
        )
