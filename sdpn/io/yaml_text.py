"""YAML for settings: plain values, read without executing, expanding or guessing anything.

Differences from PyYAML's safe loader: ``1e5`` is a number (YAML 1.2), ``2001-01-01`` is text, a key that
occurs twice is rejected, and so is anything that settings do not need: dates, sets and bytes, NaN, NUL, deep
nesting, and aliases that are recursive or expand to too much (a "billion laughs").
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from sdpn.errors import InputError
from sdpn.io.parsing import parsing, reason_of, refuse_number, refuse_text
from sdpn.io.text import read_text

#: Levels. The deepest settings here have 5; SpeechBrain's have 6.
_DEEPEST = 50

#: Number of values, with aliases expanded. The largest published hyperparams.yaml has 400.
_MOST_VALUES = 20_000

#: Characters: half a second (tools/benchmarks/hostile_files.py). The largest settings known here have 12,000.
_MOST_CHARACTERS = 1 << 18

_TAG = "tag:yaml.org,2002:"


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the differences that the module names."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0
        self._values_of: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, counting what it expands to."""
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._values_of:
                raise ComposerError(None, None, "an alias refers to itself", mark)
            self._count(self._values_of[id(node)], mark)
            return node
        before = self._values
        self._count(1, mark)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ComposerError(None, None, f"it is nested deeper than {_DEEPEST} levels", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        self._values_of[id(node)] = self._values - before
        return node

    def _count(self, values: int, mark: Any) -> None:
        self._values += values
        if self._values > _MOST_VALUES:
            raise ComposerError(None, None, f"it expands to more than {_MOST_VALUES} values", mark)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping, rejecting duplicate keys."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise ComposerError(None, None, f"key {key.value!r} occurs a second time", key.start_mark)
                seen.add((key.tag, key.value))
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value; a mismatch with its tag is an error with a line."""
        try:
            value = super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:
            raise ConstructorError(
                None, None, f"{_shown(node)} is not of type {node.tag.removeprefix(_TAG)} "
                f"({reason_of(error)})",
                node.start_mark,
            ) from error  # fmt: skip
        problem = None
        if isinstance(value, str):
            problem = refuse_text(value)
        elif isinstance(value, (int, float)):
            problem = refuse_number(value)
        if problem is not None:
            raise ConstructorError(None, None, f"{_shown(node)} {problem}", node.start_mark)
        return value


# other types (dates, sets, bytes, ordered maps, Python objects) become unknown tags
Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in ("null", "bool", "int", "float", "str", "seq", "map")
}
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TAG + "timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    _TAG + "float",
    re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


@contextmanager
def _reading(text: str, path: str | os.PathLike[str] | None) -> Iterator[None]:
    """PyYAML's errors with their line."""
    if len(text) > _MOST_CHARACTERS:
        raise InputError(
            f"has {len(text)} characters; settings may have at most {_MOST_CHARACTERS}", path=path
        )
    try:
        with parsing(path, "is not valid YAML"):
            yield
    except InputError as error:
        cause = error.__cause__
        if not isinstance(cause, yaml.YAMLError):
            raise
        mark = getattr(cause, "problem_mark", None)
        problem = getattr(cause, "problem", None) or reason_of(cause)
        raise InputError(
            f"is not valid YAML: {problem}", path=path, line=None if mark is None else mark.line + 1
        ) from cause


def _shown(node: yaml.Node) -> str:
    text = repr(node.value) if isinstance(node, yaml.ScalarNode) else "this"
    return text if len(text) <= 40 else text[:39] + "…"


@contextmanager
def composed_yaml(
    text: str, *, path: str | os.PathLike[str] | None
) -> Iterator[tuple[Loader, yaml.Node | None]]:
    """The nodes of a document, for readers that need line numbers, and the loader that makes their values.

    Raises:
        InputError: it is not YAML, or exceeds the limits.
    """
    with _reading(text, path):
        loader = Loader(text)
        yield loader, loader.get_single_node()


def parse_yaml(text: str, *, path: str | os.PathLike[str] | None, loader: type[Loader] = Loader) -> Any:
    """The plain values of a document.

    Args:
        text: the document.
        path: where it comes from.
        loader: loader that supports additional tags.

    Raises:
        InputError: it is not YAML, or exceeds the limits.
    """
    with _reading(text, path):
        return loader(text).get_single_data()


def read_yaml(path: str | os.PathLike[str], *, loader: type[Loader] = Loader) -> dict[Any, Any]:
    """The plain values of a file of ``key: value`` lines.

    Raises:
        InputError: the file is missing, not YAML, exceeds the limits, or is not a mapping.
    """
    document = parse_yaml(read_text(path), path=path, loader=loader)
    if not isinstance(document, dict):
        raise InputError("expected 'key: value' lines", path=path)
    return document
