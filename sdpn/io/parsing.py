"""Damaged files: whatever a library's parser raises becomes an `InputError`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sdpn.errors import InputError

#: Integers of more bits are rejected; 128 bits are needed for the states of random generators.
MOST = 1 << 128

#: Maximum length of a library's error text that is passed on.
_REASON_LENGTH = 200


@contextmanager
def parsing(
    path: str | os.PathLike[str] | None, message: str, *, line: int | None = None, hint: str | None = None
) -> Iterator[None]:
    """Turn any exception of a parser into an `InputError`.

    The exceptions of NumPy, torch, PyYAML, zipfile and onnxruntime depend on the damaged byte and are not
    documented (a `struct.error`, a `SyntaxError`, a `tokenize.TokenError`, …), so that any list of exceptions
    would be incomplete. Only parsing calls belong in the block; the cause is kept.

    Args:
        path: the file; None for text that comes from elsewhere.
        message: the error, such as "is not a k-means model, or is damaged".
        line: its line, for files that are read line by line.
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
            f"{message} (it requires more memory than available)", path=path, line=line, hint=hint
        ) from error
    except RecursionError as error:
        raise InputError(f"{message} (it is nested too deeply)", path=path, line=line, hint=hint) from error
    except Exception as error:
        raise InputError(f"{message} ({reason_of(error)})", path=path, line=line, hint=hint) from error


def reason_of(error: BaseException) -> str:
    """A library's error text, shortened to one line; the exception's type if it has none."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):
        reason = f"{reason} is missing"
    return reason if len(reason) <= _REASON_LENGTH else f"{reason[: _REASON_LENGTH - 1]}…"


def refuse_text(text: str) -> str | None:
    """Why a text in a document cannot be a name, a path or part of a table; None if it can."""
    if "\0" in text:
        return "contains a NUL character"
    try:
        text.encode(errors="surrogateescape")  # non-UTF-8 file names contain unpaired surrogates
    except UnicodeEncodeError:
        return "contains an unpaired surrogate"
    return None


def refuse_number(number: Any) -> str | None:
    """Why a number in a document is unusable; None if it is usable."""
    if isinstance(number, float):
        return None if abs(number) < float("inf") else "is not finite"
    return None if abs(number) < MOST else "has more than 128 bits"
