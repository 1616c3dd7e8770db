"""Errors on one line: what a terminal shows of them, and a parser whose own are no longer."""

from __future__ import annotations

import argparse
from typing import NoReturn


def error_line(text: str) -> str:
    """Text on one line; characters that would move the cursor or hide something are shown as escapes."""
    line = " ".join(text.splitlines())
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in line
    )


class OneLineParser(argparse.ArgumentParser):
    """A parser that does not print all of its options before an error."""

    def error(self, message: str) -> NoReturn:
        """End the process with the error on one line."""
        self.exit(2, f"{self.prog}: error: {error_line(message)}\n")
