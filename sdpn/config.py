"""Strict configuration: YAML files and ``section.key=value`` overrides into frozen dataclasses.

An unknown key, a value of the wrong type, or one out of range is an error that gives the file and line (or
the override) and the nearest existing key. Ranges are checked by the dataclasses themselves, in
``__post_init__``, by raising ``ValueError``.

Why not a library: OmegaConf and jsonargparse do not give the line of an error and convert ``'100'`` to 100
without a warning; jsonargparse accepts a key that occurs twice; msgspec, which checks the result documents of
`sdpn.report`, does not support unions of several dataclasses.

A YAML file may build on another one: ``base: FILE``, relative to itself. Its own values replace those of that
file; a section that names another ``kind`` (see below) starts from the defaults of that kind.

A section given in part keeps its field's default for the rest. A section that may be one of several
dataclasses selects one by its key ``kind`` (see `Choice`).
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sdpn.errors import InputError
from sdpn.io.text import read_text
from sdpn.io.yaml_text import Loader, composed_yaml, parse_yaml

T = TypeVar("T")

#: Key of a YAML file that names the file it builds on.
BASE = "base"


@dataclasses.dataclass(frozen=True)
class Choice:
    """Marks a union of dataclasses as a section whose key ``kind`` selects one of them.

    >>> Encoder = Annotated[EcapaConfig | ResNetConfig, Choice("encoder", {"ecapa": EcapaConfig(), ...})]

    Each dataclass of the union has a class variable ``kind``, its own name; further names may refer to the
    same class with other values. The other keys of the section override these.

    Attributes:
        noun: name of what is chosen, for messages.
        variants: name -> its values. A section without ``kind`` is the default of its field, or the first of
            these.
        key: name of the key instead of ``kind`` if all variants are of one class: presets, of which only the
            values are kept.
    """

    noun: str
    variants: Mapping[str, Any]
    key: str = "kind"


@dataclasses.dataclass(frozen=True)
class _Origin:
    """Where a value came from, for error messages."""

    path: str | None = None
    line: int | None = None

    @classmethod
    def of(cls, path: str | os.PathLike[str] | None) -> _Origin:
        """A file as a whole."""
        return cls(None if path is None else os.fspath(path))

    def error(self, message: str, hint: str | None = None) -> InputError:
        return InputError(message, path=self.path, line=self.line, hint=hint)


@dataclasses.dataclass
class _Leaf:
    value: Any
    origin: _Origin


#: A configuration before it is checked: nested sections whose leaves remember where they stood.
_Tree = dict[str, Any]


def load_config(
    cls: type[T],
    path: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    *,
    base: T | None = None,
) -> T:
    """Build a configuration dataclass from its defaults, a YAML file and overrides, in that order.

    Args:
        cls: a frozen dataclass; fields may be dataclasses (sections), a `Choice` of them, scalars,
            ``X | None`` and ``tuple[X, ...]``.
        path: YAML file with differences from the defaults; None takes the defaults.
        overrides: ``section.key=value`` strings; values are read as YAML.
        base: values in place of the defaults.

    Raises:
        InputError: an unknown key (with the nearest one in the message), a wrong type, a value out of range,
            or a file that is missing or not YAML.
    """
    tree: _Tree = {} if path is None else _read_yaml(path)
    for override in overrides:
        _insert(tree, override)
    result: T = _build(cls, tree, "", base, _Origin.of(path))
    return result


def from_dict(cls: type[T], values: dict[str, Any], *, path: str | os.PathLike[str] | None = None) -> T:
    """Build a configuration dataclass from plain nested values, such as a section of a model's config.yaml.

    Raises:
        InputError: as in `load_config`.
    """
    result: T = _build(cls, _section(values, path), "", origin=_Origin.of(path))
    return result


def choose(choice: Any, values: dict[str, Any], *, path: str | os.PathLike[str] | None = None) -> Any:
    """Build one of the dataclasses of an annotated `Choice` from plain nested values with a ``kind``.

    Raises:
        InputError: as in `load_config`, or the kind is unknown.
    """
    return _build_choice(choice, _section(values, path), "", origin=_Origin.of(path))


def origins(path: str | os.PathLike[str] | None, overrides: Sequence[str] = ()) -> dict[str, str]:
    """Where each given value stands: dotted key -> ``FILE:LINE``, or "command line".

    Args:
        path: YAML file; None for none.
        overrides: ``section.key=value`` strings, which replace values of the file.

    Raises:
        InputError: the file cannot be read or is not YAML, or an override has no key.
    """
    tree: _Tree = {} if path is None else _read_yaml(path)
    for override in overrides:
        _insert(tree, override)
    return dict(_origins(tree, ""))


def _origins(tree: _Tree, prefix: str) -> Iterator[tuple[str, str]]:
    for key, child in tree.items():
        if not isinstance(child, _Leaf):
            yield from _origins(child, f"{prefix}{key}.")
        elif child.origin.path is None:
            yield f"{prefix}{key}", "command line"
        else:
            yield f"{prefix}{key}", f"{child.origin.path}:{child.origin.line}"


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain values of a configuration dataclass, ready for YAML (tuples become lists).

    A dataclass that belongs to a `Choice` has its ``kind`` first.
    """

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            kind = {} if (name := _own_kind(type(value))) is None else {"kind": name}
            return kind | {
                field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
            }
        return list(value) if isinstance(value, tuple) else value

    result: dict[str, Any] = plain(config)
    return result


def _read_yaml(path: str | os.PathLike[str], above: tuple[Path, ...] = ()) -> _Tree:
    """The values of a file and of those that it builds on; ``above`` build on it."""
    with composed_yaml(read_text(path), path=path) as (loader, node):
        tree = {} if node is None else _tree_of_node(node, loader, os.fspath(path))
    base = tree.pop(BASE, None)
    if base is None:
        return tree
    origin = _first_origin(base, _Origin.of(path))
    if not isinstance(base, _Leaf) or not isinstance(base.value, str) or not base.value:
        raise origin.error(f"'{BASE}' must name the file that this one builds on")
    file = Path(path).parent / base.value
    seen = (*above, Path(path).resolve())
    if file.resolve() in seen:
        raise origin.error(f"builds on itself, by '{BASE}: {base.value}'")
    if not file.is_file():
        raise origin.error(f"builds on {file}, which is no file")
    return _merged(_read_yaml(file, seen), tree)


def _merged(under: _Tree, over: _Tree) -> _Tree:
    """The values of both trees; where both have one, that of ``over``."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict) and not _other_kind(below, value):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


def _other_kind(under: _Tree, over: _Tree) -> bool:
    """Whether ``over`` chooses another kind, whose settings have nothing to do with those of ``under``."""
    kind, other = under.get("kind"), over.get("kind")
    return isinstance(other, _Leaf) and not (isinstance(kind, _Leaf) and kind.value == other.value)


def _tree_of_node(node: yaml.Node, loader: Loader, path: str) -> _Tree:
    if not isinstance(node, yaml.MappingNode):
        raise InputError("expected 'key: value' lines", path=path, line=node.start_mark.line + 1)
    loader.flatten_mapping(node)
    tree: _Tree = {}
    for key_node, value_node in node.value:  # a key that `<<` merged in comes first, and is overwritten
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if isinstance(value_node, yaml.MappingNode):
            tree[key] = _tree_of_node(value_node, loader, path)
        else:
            tree[key] = _Leaf(loader.construct_object(value_node, deep=True), _Origin(path, line))
    return tree


def _section(values: Any, path: str | os.PathLike[str] | None) -> _Tree:
    """A section from plain values, which an untrusted file may lack."""
    origin = _Origin(path=None if path is None else os.fspath(path))
    if not isinstance(values, dict):
        raise origin.error(f"expected a section of keys, found {values!r}")
    return _tree(values, origin)


def _tree(values: dict[str, Any], origin: _Origin) -> _Tree:
    return {
        key: _tree(value, origin) if isinstance(value, dict) else _Leaf(value, origin)
        for key, value in values.items()
    }


def parse_override(override: str) -> tuple[str, Any]:
    """Split ``key=value``; the value is read as YAML.

    Raises:
        InputError: there is no key or no ``=``.
    """
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"cannot parse the setting {override!r}", hint="expected section.key=value")
    try:
        value = parse_yaml(text, path=None) if text.strip() else ""
    except InputError:
        value = text
    return key.strip(), value


def as_overrides(settings: Mapping[str, object]) -> list[str]:
    """Settings, ``section.key`` -> value, as they are written on a command line: what `load_config` takes."""
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def _insert(tree: _Tree, override: str) -> None:
    key, value = parse_override(override)
    *sections, last = key.split(".")
    for section in sections:
        child = tree.setdefault(section, {})
        if isinstance(child, _Leaf):
            raise InputError(f"{section!r} in {override!r} is a value, not a section")
        tree = child
    tree[last] = _Leaf(value, _Origin())


def _build_choice(hint: Any, tree: _Tree, prefix: str, base: Any = None, origin: _Origin = _Origin()) -> Any:
    """Build one of several dataclasses: that of ``base`` unless the tree has another ``kind``."""
    choice = _choice(hint)
    assert choice is not None
    if choice.key in tree:
        child = tree[choice.key]
        origin = _first_origin(child, origin)
        name = child.value if isinstance(child, _Leaf) else None
        if not isinstance(name, str) or name not in choice.variants:
            known = ", ".join(choice.variants)
            near = difflib.get_close_matches(str(name), choice.variants, n=1)
            raise origin.error(
                f"unknown {choice.noun} {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                hint=f"'{prefix}{choice.key}' may be {known}",
            )
        base = choice.variants[name]
    elif base is None:
        base = next(iter(choice.variants.values()))
    rest = {key: value for key, value in tree.items() if key != choice.key}
    return _build(type(base), rest, prefix, base, origin)


def _choice(hint: Any) -> Choice | None:
    """The `Choice` that a type hint is annotated with, if any."""
    return next((note for note in getattr(hint, "__metadata__", ()) if isinstance(note, Choice)), None)


def _own_kind(cls: type[Any]) -> str | None:
    """The name of a dataclass within its `Choice`; a field of that name is something else."""
    if any(field.name == "kind" for field in dataclasses.fields(cls)):
        return None
    name: str | None = getattr(cls, "kind", None)
    return name


def _build(cls: type[Any], tree: _Tree, prefix: str, base: Any = None, origin: _Origin = _Origin()) -> Any:
    """Build ``cls`` from a tree; missing values are those of ``base``, or else the defaults of the class.

    Errors that concern no single key are at ``origin``, or at the last key.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    names = {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}
    arguments: dict[str, Any] = {} if base is None else {name: getattr(base, name) for name in names}
    for key, child in tree.items():
        origin = _first_origin(child, origin)
        if key == "kind" and (own := _own_kind(cls)) is not None:
            if not isinstance(child, _Leaf) or child.value != own:
                raise origin.error(f"'{prefix}kind' is fixed here; it can only be {own!r}")
            continue
        if key not in names:
            raise origin.error(f"unknown key '{prefix}{key}'", _nearest(f"{prefix}{key}", cls, prefix))
        hint = names[key]
        if dataclasses.is_dataclass(hint) or _choice(hint) is not None:
            if isinstance(child, _Leaf):
                if child.value is not None:
                    raise origin.error(f"'{prefix}{key}' is a section, it cannot be {child.value!r}")
                child = {}
            build = _build if dataclasses.is_dataclass(hint) else _build_choice
            default = arguments[key] if key in arguments else _default(cls, key)
            arguments[key] = build(typing.cast(type, hint), child, f"{prefix}{key}.", default, origin)
        elif not isinstance(child, _Leaf):
            raise origin.error(f"'{prefix}{key}' is a value of type {_name(hint)}, not a section")
        else:
            arguments[key] = _convert(child.value, hint, f"{prefix}{key}", origin)
    required = {field.name for field in dataclasses.fields(cls) if field.init and not _has_default(field)}
    if missing := sorted(required - arguments.keys()):
        raise origin.error(f"lacks the key '{prefix}{missing[0]}'")
    try:
        return cls(**arguments)
    except ValueError as error:
        where = f"in section '{prefix[:-1]}': " if prefix else ""
        raise origin.error(f"{where}{error}") from None


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _default(cls: type[Any], name: str) -> Any:
    """The default of a field of a dataclass; None if it has none."""
    field = next(field for field in dataclasses.fields(cls) if field.name == name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _first_origin(child: _Tree | _Leaf, around: _Origin) -> _Origin:
    """Where a value, or the first value of a section, came from; an empty section came from ``around``."""
    while not isinstance(child, _Leaf):
        if not child:
            return around
        child = next(iter(child.values()))
    return child.origin


def _nearest(key: str, cls: type[Any], prefix: str) -> str:
    """Name the closest existing key: in this section first, then anywhere below the top level."""
    own = [f"{prefix}{field.name}" for field in dataclasses.fields(cls)]
    match = difflib.get_close_matches(key, own, n=1, cutoff=0.0)
    return f"did you mean '{match[0]}'? the section has: {', '.join(own)}"


def _convert(value: Any, hint: Any, key: str, origin: _Origin) -> Any:
    """Check ``value`` against a type hint; it converts only int -> float, str -> Path, list -> tuple."""
    arms = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if value is None and type(None) in arms:
        return None
    for arm in arms:
        if dataclasses.is_dataclass(arm) and isinstance(value, typing.cast(type, arm)):
            return value  # made in Python; it has no text form
        if typing.get_origin(arm) is tuple and isinstance(value, list):
            inner = typing.get_args(arm)
            if inner[-1] is Ellipsis:
                return tuple(_convert(item, inner[0], key, origin) for item in value)
            if len(value) != len(inner):
                raise origin.error(f"'{key}' needs {len(inner)} values, found {len(value)}")
            return tuple(_convert(item, kind, key, origin) for item, kind in zip(value, inner, strict=True))
        if typing.get_origin(arm) is typing.Literal:
            if value in typing.get_args(arm):
                return value
            choices = ", ".join(map(repr, typing.get_args(arm)))
            raise origin.error(f"'{key}' is {value!r}; expected one of {choices}")
        if arm is Path and isinstance(value, str) and value:
            return Path(value)
        if arm is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if arm in (int, str, bool) and type(value) is arm:
            return value
    raise origin.error(f"'{key}' is {value!r}; expected {_name(hint)}")


def _name(hint: Any) -> str:
    return (
        hint.__name__
        if isinstance(hint, type)
        else str(hint).replace("typing.", "").replace("NoneType", "None")
    )
