"""The exception for errors of the user's input."""

from __future__ import annotations

import os
from functools import partial
from typing import Any


class InputError(Exception):
    """An error in the user's input, with a message that suffices to correct it.

    The command line prints it as one line and exits with code 2; in Python it is an ordinary exception. Any
    other uncaught exception is a bug in sdpn.

    Args:
        message: the problem and what was expected.
        path: the file at fault.
        line: its line, counted from 1.
        hint: what to do about it.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | os.PathLike[str] | None = None,
        line: int | None = None,
        hint: str | None = None,
    ) -> None:
        self.message = message
        self.path = None if path is None else os.fspath(path)
        self.line = line
        self.hint = hint
        where = "" if self.path is None else f"{self.path}{'' if line is None else f':{line}'}: "
        super().__init__(where + message + ("" if hint is None else f" ({hint})"))

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the attributes when pickled from another process."""
        return partial(InputError, path=self.path, line=self.line, hint=self.hint), (self.message,)
