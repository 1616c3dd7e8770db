"""Settings on the command line: ``section.key=value``, the same for every command that has any.

They are the fields of configuration dataclasses. Their ``--help`` is generated: names and defaults from the
fields, explanations from the ``Attributes:`` sections of the docstrings.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdpn.cli.error_line import OneLineParser

#: Section -> its dataclass; the section "" holds the keys without a dot.
Sections = Mapping[str, type[Any]]

_SETTING = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*=")
_ATTRIBUTE = re.compile(r"^    (\w+): ", flags=re.MULTILINE)
_INDENT = 26


class SettingsParser(OneLineParser):
    """A parser whose ``--help`` ends with the settings; they are looked up only then, since that costs time.

    Attributes:
        sections: returns the settings of the command, or None where it has none.
    """

    sections: Callable[[], Sections] | None = None

    def format_help(self) -> str:
        """The help of the options, followed by that of the settings."""
        if self.sections is None:
            return super().format_help()
        heading = "settings (given as key=value, anywhere on the command line):"
        return f"{super().format_help()}\n{heading}\n{listing(self.sections())}\n"


def split_settings(parser: argparse.ArgumentParser, argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate the settings from a command line, wherever they appear.

    The value of an option is not a setting, and neither is an existing file of that name.

    Returns:
        the remaining arguments for the parser, and the settings.
    """
    left: list[str] = []
    settings: list[str] = []
    for word in argv:
        option = parser._option_string_actions.get(left[-1]) if left else None
        is_value = option is not None and option.nargs != 0
        if _SETTING.match(word) and not is_value and not Path(word).exists():
            settings.append(word)
        else:
            left.append(word)
    return left, settings


def listing(sections: Sections) -> str:
    """All settings with their defaults and meanings, one below the other."""
    lines = []
    for section, cls in sections.items():
        for key, default, meaning in _settings(cls, f"{section}." if section else ""):
            head = f"  {key}={default}"
            whole = meaning.replace(" %", "\xa0%")  # a number and its unit stay on one line
            text = textwrap.wrap(whole, width=108 - _INDENT) or [""]
            if len(head) > _INDENT - 2:
                lines.append(head)
                head = ""
            lines.append(f"{head:<{_INDENT}}{text[0]}".rstrip())
            lines += [" " * _INDENT + line for line in text[1:]]
    return "\n".join(lines).replace("\xa0", " ")


def keys(sections: Sections) -> list[str]:
    """All settings by name: ``section.key``."""
    return [
        key
        for section, cls in sections.items()
        for key, _, _ in _settings(cls, f"{section}." if section else "")
    ]


def _settings(cls: type[Any], prefix: str, base: Any = None) -> Iterator[tuple[str, str, str]]:
    """(key, default, meaning) of every field of a dataclass and of the sections in it."""
    from sdpn.config import Choice  # reads YAML, which most commands start without

    hints = typing.get_type_hints(cls, include_extras=True)
    meanings = _meanings(cls)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        default = getattr(base, field.name) if base is not None else _default(field)
        choice = next((note for note in getattr(hint, "__metadata__", ()) if isinstance(note, Choice)), None)
        if choice is not None:
            name = next(name for name, value in choice.variants.items() if type(value) is type(default))
            yield f"{prefix}{field.name}.{choice.key}", name, f"one of {', '.join(choice.variants)}"
        if dataclasses.is_dataclass(default):
            yield from _settings(type(default), f"{prefix}{field.name}.", default)
        elif choice is None and not _is_made_in_python(hint):
            yield f"{prefix}{field.name}", _shown(default), meanings.get(field.name, _own_docs(hint))


def _is_made_in_python(hint: Any) -> bool:
    """Whether a value cannot be written as text: a dataclass, or a mapping."""
    arms = typing.get_args(hint) or (hint,)
    return typing.get_origin(hint) is Mapping or any(dataclasses.is_dataclass(arm) for arm in arms)


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _shown(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if value is dataclasses.MISSING:
        return "…"
    return str(list(value) if isinstance(value, tuple) else value)


def _meanings(cls: type[Any]) -> dict[str, str]:
    """The description of each field in the ``Attributes:`` of the docstrings, with None as it is typed."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, heading, attributes = (inspect.cleandoc(base.__doc__ or "")).partition("Attributes:\n")
        if not heading:
            continue
        attributes = re.split(r"\n(?=\S)", attributes)[0]
        pieces = _ATTRIBUTE.split(attributes)
        found |= {
            name: re.sub(r"\bNone\b", "null", " ".join(text.replace("``", "").split()))
            for name, text in zip(pieces[1::2], pieces[2::2], strict=True)
        }
    return found


def _own_docs(hint: Any) -> str:
    """The values of a field without a description."""
    options = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    return f"one of {', '.join(map(str, options))}" if options else ""
