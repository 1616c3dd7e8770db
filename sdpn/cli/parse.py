"""The words of a command line to the arguments of its command.

Some commands run another one, whose words follow ``--``: they go, as they are, where ``AFTER_DASHES`` says.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from types import ModuleType

from sdpn.cli.commands import command_module, make_parser
from sdpn.cli.settings import split_settings
from sdpn.errors import InputError


def parse_command(name: str, argv: Sequence[str]) -> tuple[ModuleType, argparse.Namespace]:
    """The module of a command and its arguments.

    Raises:
        InputError: an option does not exist.
        SystemExit: as argparse, with its message.
    """
    module = command_module(name)
    parser = make_parser(name)
    args = argparse.Namespace()
    words = list(argv)
    if hasattr(module, "AFTER_DASHES"):
        at = words.index("--") if "--" in words else len(words)
        setattr(args, module.AFTER_DASHES, words[at + 1 :])
        words = words[:at]
    if hasattr(module, "settings"):
        words, args.settings = split_settings(parser, words)
    _check_options(parser, words)
    return module, parser.parse_intermixed_args(words, args)


def _check_options(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Name a mistyped option before argparse complains that a required one is missing.

    Raises:
        InputError: an option does not exist.
    """
    known = [option for option in parser._option_string_actions if option.startswith("--")]
    for word in words[: words.index("--")] if "--" in words else words:
        option = word.partition("=")[0]
        if option.startswith("--") and option not in known:
            raise InputError(f"unknown option {option}{did_you_mean(option, known)}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The known word that looks most like this one, as the end of a message; empty if none does."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
