"""Common parts of all text formats: UTF-8 lines with their numbers, times, and ids without white space."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator

from sdpn.errors import InputError

#: Control characters, which must not get into ids, file names and terminals; blanks and line ends are
#: allowed.
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
        raise InputError(
            f"is not UTF-8 text ({error.reason})",
            path=path,
            hint="is this the right file? Text in another encoding has to be converted, as iconv does",
        ) from None
    except ValueError as error:  # a path with NUL
        raise InputError(f"is not a valid path ({error})", path=path) from None
    if (control := _CONTROL.search(text)) is not None:
        raise InputError(
            f"contains the control character {control[0]!r}, which is not allowed in text",
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
    # not splitlines(), which also breaks at form feeds and U+2028: line numbers must match those of editors
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
        InputError: it is not.
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
    """Whether ``text`` can be encoded as UTF-8, which is not the case for file names that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_line(text: str) -> bool:
    """Whether ``text`` can be written on a line of a text file."""
    return is_encodable(text) and "\n" not in text and "\r" not in text and _CONTROL.search(text) is None


def is_id(name: str) -> bool:
    """Whether a name is unchanged after being written between blanks and read again."""
    return name.split() == [name] and not name.startswith("\ufeff") and is_line(name)


def is_file_name(name: str) -> bool:
    """Whether an id is a valid file name inside a folder."""
    return is_id(name) and "/" not in name and name not in (".", "..")


def require_id(name: str, what: str, *, path: str | os.PathLike[str]) -> None:
    """Reject a name that would change when written between blanks and read again.

    Args:
        name: an utterance, recording or speaker id.
        what: the kind of id, such as "speaker".
        path: file that it comes from or goes to.

    Raises:
        InputError: it is empty, contains white space or control characters, or cannot be encoded as UTF-8.
    """
    if not is_id(name):
        raise InputError(
            f"{what} {name!r} cannot be written: it is empty, contains white space or is not valid text",
            path=path,
            hint="rename it, for example with '_' for each blank",
        )
