"""``sdpn config``: the settings of a command, and where each comes from."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

DESCRIPTION = """\
Print every setting of a command as YAML, each with where its value comes from: the default, a line of
--config, the command line, or the model that training starts from. What a setting means is in the command's
--help. The output of 'sdpn config train' and 'sdpn config diarize' can be saved, edited, and given to the
command as --config.
"""

EXAMPLE = """\
  sdpn config train --config conf/mini.yaml optimizer.lr=0.001
  sdpn config train initial.model=small objective=dino
  sdpn config diarize --method vbx vad.threshold=0.4
  sdpn config diarize --config exp/tuned/settings.yaml
"""

OUTPUTS: dict[str, OutputKind] = {}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn config``."""
    parser.add_argument("command", metavar="COMMAND", help="a command that has settings, such as train")
    parser.add_argument("given", nargs="*", metavar="KEY=VALUE", help="settings, as the command takes them")
    parser.add_argument("--config", type=Path, metavar="YAML", help="configuration file of the command")
    parser.add_argument("--method", metavar="M", help="clusterer, of a command that has one")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Resolve the settings and print them.

    Raises:
        InputError: the command has no settings, no configuration file or no clusterer; a setting or the file
            is wrong.
    """
    from sdpn.cli.commands import COMMANDS, command_module, make_parser

    with_settings = [name for name in COMMANDS if hasattr(command_module(name), "settings")]
    if args.command not in with_settings:
        raise InputError(f"'sdpn {args.command}' has no settings", hint=f"one of: {', '.join(with_settings)}")
    known = {action.dest for action in make_parser(args.command)._actions}
    for option in ("config", "method"):
        if getattr(args, option) is not None and option not in known:
            raise InputError(f"'sdpn {args.command}' has no --{option}")
    if "method" in known:
        values, origin_of = _of_clustering(args)
    else:
        values, origin_of = _of_sections(args)
    print(f"# settings of 'sdpn {args.command}', and where each comes from")
    for line, origin in _yaml(values, origin_of):
        print(f"{line:<44}# {origin}" if origin else line)
    return {"settings": values, "origins": {key: origin_of.get(key, "default") for key in _keys(values)}}


def _of_sections(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings of a command without a clusterer: values, and origins other than the default."""
    from sdpn.cli.commands import command_module
    from sdpn.config import load_config, origins, to_dict

    module = command_module(args.command)
    cls = module.settings()[""]
    where = origins(args.config, args.given)
    lacking = [field.name for field in fields(cls) if _is_required(field) and field.name not in where]
    stand_ins = [f"{name}=1" for name in lacking]  # so that all others are known
    if hasattr(module, "resolve_settings"):
        values = to_dict(module.resolve_settings(args.config, args.given)[""])
    else:
        values = to_dict(load_config(cls, args.config, [*args.given, *stand_ins]))
    required = [setting for setting in args.given if _is_required_key(cls, setting)]
    kinds = [setting for setting in args.given if setting.partition("=")[0].endswith(".kind")]
    defaults = dict(_flat(to_dict(load_config(cls, None, [*kinds, *required, *stand_ins]))))
    found = {key: "initial.model" for key, value in _flat(values) if defaults.get(key) != value}
    values |= dict.fromkeys(lacking)
    return values, found | where | dict.fromkeys(lacking, "has to be given")


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _is_required_key(cls: type[Any], setting: str) -> bool:
    return any(_is_required(field) and field.name == setting.partition("=")[0] for field in fields(cls))


def _of_clustering(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings of a command that clusters: those of the pipeline, if it has any, and of the clusterer."""
    from sdpn.cli.commands import command_module, make_parser
    from sdpn.cli.diarization_arguments import diarization_config
    from sdpn.clustering.registry import CLUSTERERS
    from sdpn.config import from_dict, origins, to_dict

    given_method = args.method
    default = make_parser(args.command).get_default("method")
    pipeline = diarization_config(
        argparse.Namespace(
            config=args.config,
            method=given_method or default,
            settings=args.given,
            threshold=None,
            num_speakers=None,
            segmentation="given",  # its settings are shown and may be given
        )
    )
    settings: dict[str, Any] = {"method": pipeline.method}
    if "" in command_module(args.command).settings():
        values = to_dict(pipeline)
        settings |= {key: value for key, value in values.items() if key not in ("method", "settings")}
    settings[pipeline.method] = to_dict(from_dict(CLUSTERERS[pipeline.method], dict(pipeline.settings)))
    where = origins(args.config, args.given)
    return settings, where | ({} if given_method is None else {"method": "command line"})


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _keys(values: Mapping[str, Any]) -> list[str]:
    return [key for key, _ in _flat(values)]


def _yaml(
    values: Mapping[str, Any], origin_of: Mapping[str, str], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """The lines of a YAML document, and the origin of the value on each."""
    import yaml

    indent = "  " * prefix.count(".")
    for key, value in values.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:" if value else f"{indent}{key}: {{}}", ""
            yield from _yaml(value, origin_of, f"{prefix}{key}.")
            continue
        plain = value if isinstance(value, (bool, int, float, list, type(None))) else str(value)
        text = yaml.safe_dump(plain, default_flow_style=True, width=10**6).removesuffix("...\n").strip()
        yield f"{indent}{key}: {text}", origin_of.get(f"{prefix}{key}", "default")
