"""``sdpn completion``: commands, options, their values and settings, completed by the shell.

The shell asks the program itself (argcomplete): ``sdpn`` is started with the line so far in its environment,
and `complete` answers. Only the parser of the command on the line is made, which takes a tenth of a second.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from typing import Any

from sdpn.io.atomic import OutputKind

DESCRIPTION = """\
Print the lines that make a shell complete 'sdpn': commands, options, their values, settings and files. Put
them where the shell reads them at its start.
"""

EXAMPLE = """\
  eval "$(sdpn completion bash)"                      # in ~/.bashrc
  eval "$(sdpn completion zsh)"                       # in ~/.zshrc, after compinit
  sdpn completion fish > ~/.config/fish/completions/sdpn.fish
"""

OUTPUTS: dict[str, OutputKind] = {}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn completion``."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish", "powershell"), help="the shell")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print the script."""
    import argcomplete

    shell = "bash" if args.shell == "zsh" else args.shell  # one script, which asks which of the two it is in
    script = argcomplete.shellcode(["sdpn"], shell=shell)
    print(script)
    return {"shell": args.shell, "script": script}


def complete() -> None:
    """Answer a shell's request for completions, which is in the environment, and exit."""
    import argcomplete

    from sdpn.cli.commands import COMMANDS, make_parser

    line = os.environ["COMP_LINE"][: int(os.environ.get("COMP_POINT", 10**6))]
    words = line.split()
    parser = argparse.ArgumentParser(prog="sdpn")
    parser.add_argument("-V", "--version", action="store_true")
    commands = parser.add_subparsers()
    chosen = words[1] if len(words) > 2 or (len(words) == 2 and line[-1].isspace()) else None
    for name, summary in COMMANDS.items():
        made = make_parser(name) if name == chosen else argparse.ArgumentParser()
        commands._name_parser_map[name] = _with_settings(made)
        commands._choices_actions.append(argparse.Action([], name, help=summary))
    commands.add_parser("help").add_argument("command", choices=tuple(COMMANDS))
    argcomplete.autocomplete(parser, always_complete_options="long")


def _with_settings(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Let the positional arguments complete settings as well as files."""
    sections = getattr(parser, "sections", None)
    if sections is None:
        return parser
    if not parser._get_positional_actions():
        parser.add_argument("settings", nargs="*")
    for action in parser._get_positional_actions():
        action.completer = _files_or(sections)  # type: ignore[attr-defined]
    return parser


def _files_or(sections: Callable[[], Any]) -> Callable[..., Iterable[str]]:
    import argcomplete

    def completer(prefix: str, **kwargs: Any) -> Iterable[str]:
        from sdpn.cli.settings import keys

        files = argcomplete.FilesCompleter()(prefix, **kwargs)
        return [*files, *(f"{key}=" for key in keys(sections()) if prefix and key.startswith(prefix))]

    return completer
