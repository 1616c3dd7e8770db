"""Strict reading of JSON objects, and numbers in them.

Stricter than Python's reader: ``NaN`` and ``Infinity``, which are not JSON, numbers out of range, duplicate
keys, NUL and unpaired surrogates are rejected, as are documents nested deeper or larger than any used here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sdpn.errors import InputError
from sdpn.io.parsing import parsing, reason_of, refuse_number, refuse_text
from sdpn.io.text import read_text

#: Levels. The deepest document here (a run's configuration among its results) has 9.
_DEEPEST = 100

#: Bytes of a document. In the worst case, empty lists, a byte takes 25 in memory, 0.8 GiB in all, and 4 s
#: (tools/benchmarks/hostile_files.py).
_MOST_BYTES = 32 << 20

#: Escapes that may be an unpaired surrogate, or NUL.
_SUSPICIOUS = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def float32_numbers(values: Iterable[float]) -> list[float]:
    """Numbers for JSON that bring float32 back exactly: nine digits do."""
    return [float(f"{value:.9g}") for value in values]


def read_json(path: str | os.PathLike[str], what: str, *, hint: str | None = None) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        path: the file.
        what: the expected document, for messages, such as "extraction settings file".
        hint: what to do otherwise.

    Raises:
        InputError: the file is missing, larger than 32 MiB, not JSON, or not an object.
    """
    with parsing(path, f"is not a valid {what}", hint=hint):
        if (size := Path(path).stat().st_size) > _MOST_BYTES:
            raise ValueError(f"its size of {size >> 20} MiB exceeds the limit of {_MOST_BYTES >> 20} MiB")
    return parse_json(read_text(path), what, path=path, hint=hint)


def parse_json(
    text: str,
    what: str,
    *,
    path: str | os.PathLike[str] | None,
    line: int | None = None,
    hint: str | None = None,
) -> dict[str, Any]:
    """Read the text of one JSON object.

    Args:
        text: the text.
        what: name of the expected document, for messages.
        path: where the text comes from.
        line: its line there, for files with one object per line.
        hint: what to do otherwise.

    Raises:
        InputError: it is not JSON, or not an object.
    """
    try:
        document = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
        _check(document, check_texts=_SUSPICIOUS.search(text) is not None)
    except json.JSONDecodeError as error:
        raise InputError(
            f"is not a valid {what} (not JSON: {error.msg})",
            path=path,
            line=error.lineno if line is None else line,
            hint=hint,
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else reason_of(error)
        raise InputError(f"is not a valid {what} ({reason})", path=path, line=line, hint=hint) from error
    if not isinstance(document, dict):
        raise InputError(
            f"is not a valid {what}: expected an object, {{…}}, found {_shown(document)}",
            path=path,
            line=line,
            hint=hint,
        )
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        again = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {again!r} occurs twice")
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check(document: Any, *, check_texts: bool) -> None:
    """Raise ValueError for valid JSON with unusable values; without recursion."""
    level = [document]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for value in level:
            items = (
                value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            )
            if check_texts and isinstance(value, dict):
                below.extend(value)
            for item in items:
                if isinstance(item, (dict, list)):
                    below.append(item)
                elif isinstance(item, (int, float)):
                    if (problem := refuse_number(item)) is not None:
                        raise ValueError(f"a number {problem}")
                elif check_texts and isinstance(item, str) and (problem := refuse_text(item)) is not None:
                    raise ValueError(f"a text {problem}")
        if not below:
            return
        level = below
    raise ValueError(f"it is nested deeper than {_DEEPEST} levels")


def _shown(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, list) else "a list"
    return text if len(text) <= 40 else text[:39] + "…"
