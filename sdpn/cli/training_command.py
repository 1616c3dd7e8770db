"""A training that another command runs: ``sdpn search … -- train --objective supervised --data DIR``."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from sdpn.cli.parse import parse_command
from sdpn.errors import InputError

if TYPE_CHECKING:
    from sdpn.io.kaldi import Utterance

#: Commands that train into a folder, with ``--data``, ``--out`` and settings.
TRAININGS = ("train", "finetune")

#: Stands for ``--out`` while a command is checked; nothing is written there.
_NOWHERE = Path("out")


class TrainingCommand(NamedTuple):
    """A training, as it was written after ``--``.

    Attributes:
        name: the command.
        words: its other words, without ``--out`` and what the outer command gives.
    """

    name: str
    words: list[str]

    def check(self, data: Sequence[Path] | None = None, settings: Sequence[str] = ()) -> argparse.Namespace:
        """Parse it with further settings, as before a run.

        Raises:
            InputError: an option or a setting is wrong.
        """
        module, args = self._parsed(_NOWHERE, data, settings)
        _resolved(module, args)
        return args

    def configuration(self, settings: Mapping[str, object], data: Sequence[Path] | None = None) -> str:
        """All of its settings as text, with some changed.

        Raises:
            InputError: a setting is wrong.
        """
        from sdpn.config import as_overrides

        module, args = self._parsed(_NOWHERE, data, as_overrides(settings))
        return repr(_resolved(module, args))

    def run(
        self, out: Path, *, data: Sequence[Path] | None = None, settings: Sequence[str] = (), quiet: bool
    ) -> dict[str, Any]:
        """Run it into a folder, with further settings; returns its results.

        Raises:
            InputError: as the command.
        """
        module, args = self._parsed(out, data, settings)
        args.quiet = args.quiet or quiet
        results: dict[str, Any] = module.run(args)
        return results

    def training_speech(self) -> list[Utterance]:
        """The utterances of its ``--data``.

        Raises:
            InputError: a directory cannot be read.
        """
        from sdpn.io.inputs import find_utterances

        return [one for folder in self.check().data for one in find_utterances(folder, [])]

    def digest(self, data: Sequence[Path] | None = None) -> str:
        """Identifies the command and its settings, those of its configuration file, too."""
        text = json.dumps([self.name, self.words, self.configuration({}, data)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _parsed(
        self, out: Path, data: Sequence[Path] | None, settings: Sequence[str]
    ) -> tuple[ModuleType, argparse.Namespace]:
        words = [*self.words, "--out", str(out)]
        for folder in data or ():
            words += ["--data", str(folder)]
        module, args = parse_command(self.name, [*words, *settings])
        args.debug = False
        return module, args


def training_command(words: Sequence[str], taken: Sequence[str] = ("--out",)) -> TrainingCommand:
    """The command after ``--``.

    Args:
        words: what follows ``--``.
        taken: options that the outer command gives.

    Raises:
        InputError: there is none, it is no training, or an option is the outer command's.
    """
    hint = "write it after --: -- train --objective supervised --data DIR"
    if not words:
        raise InputError("no training is given", hint=hint)
    name, *rest = words
    if name == "sdpn" and rest:
        name, *rest = rest
    if name not in TRAININGS:
        raise InputError(f"{name!r} is not a command that trains ({', '.join(TRAININGS)})", hint=hint)
    for option in (*taken, "--json"):
        if any(word.partition("=")[0] == option for word in rest):
            raise InputError(f"{option} of the training is not yours to give: this command gives it")
    return TrainingCommand(name, rest)


def _resolved(module: ModuleType, args: argparse.Namespace) -> object:
    """The configuration of a run, checked."""
    from sdpn.config import load_config

    given = (
        [*module.options_as_settings(args), *args.settings]
        if hasattr(module, "options_as_settings")
        else args.settings
    )
    if hasattr(module, "resolve_settings"):
        return module.resolve_settings(args.config, given)
    return load_config(module.settings()[""], args.config, given)
