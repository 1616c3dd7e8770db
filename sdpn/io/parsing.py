"""Damaged files: whatever the parser of a library raises on their bytes is the user's one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sdpn.errors import InputError

#: Whole numbers beyond this are no number that anybody means; 128 bits are what random generators keep.
MOST = 1 << 128

#: Characters of a library's reason that are passed on.
_REASON_LENGTH = 200


@contextmanager
def parsing(
    path: str | os.PathLike[str] | None, message: str, *, line: int | None = None, hint: str | None = None
) -> Iterator[None]:
    """Turn everything that a parser raises into an `InputError`.

    What NumPy, torch, PyYAML, zipfile and onnxruntime raise depends on the byte at which a file is damaged
    and is documented by none of them (a `struct.error`, a `SyntaxError`, a `tokenize.TokenError`, …), so that
    every list of exceptions is too short. Only calls that parse belong in the block; the cause is kept.

    Args:
        path: the file; None for text that comes from elsewhere.
        message: what the file is not, such as "is no k-means model, or is damaged".
        line: its line, where it is read by lines.
        hint: what to do.

    Raises:
        InputError: the block raised something, other than an `InputError` of its own.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError("no such file", path=path) from error
    except MemoryError as error:
        raise InputError(
            f"{message} (it asks for more memory than there is)", path=path, line=line, hint=hint
        ) from error
    except RecursionError as error:
        raise InputError(f"{message} (it is nested too deeply)", path=path, line=line, hint=hint) from error
    except Exception as error:
        raise InputError(f"{message} ({reason_of(error)})", path=path, line=line, hint=hint) from error


def reason_of(error: BaseException) -> str:
    """A library's reason, short enough for one line; its kind where it says nothing."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):
        reason = f"{reason} is missing"
    return reason if len(reason) <= _REASON_LENGTH else f"{reason[: _REASON_LENGTH - 1]}…"


def refuse_text(text: str) -> str | None:
    """Why a text within a document cannot be a name, a path or part of a table; None where it can."""
    if "\0" in text:
        return "holds a NUL character"
    try:
        text.encode(errors="surrogateescape")  # names of files that are not UTF-8 come as such halves
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is no character"
    return None


def refuse_number(number: Any) -> str | None:
    """Why a number of a document is none that a computer reckons with; None where it is."""
    if isinstance(number, float):
        return None if abs(number) < float("inf") else "is not finite"
    return None if abs(number) < MOST else "has more than 128 bits"
