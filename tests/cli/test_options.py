"""One meaning, one option: the same name has the same placeholder and default in every command."""

from __future__ import annotations

from collections import defaultdict

import pytest

from sdpn.cli.commands import COMMANDS, make_parser
from sdpn.cli.model_arguments import FORMATS
from sdpn.formats.registry import TURN_FORMATS
from sdpn.words.write import WORD_FORMATS

#: Options whose default or placeholder differs between commands, and why.
DIFFER = {
    "--channel": "only commands that write a result for each channel take 'separate'",
    "--method": "the clusterer that is best for what is clustered",
    "--out": "a folder, a file or either, as the command writes",
    "--parts": "parts of an utterance to train on, and parts of the benchmark",
    "--resamples": "verify resamples trials of speakers, which takes longer than recordings",
    "--seed": "None where a setting or --manifest may give it; it is 0 then, too",
    "--snr": "noise to train or to simulate, and noise to test on",
    "--embeddings": "a table to read, or whether a document holds them",
    "--format": "of a model that is read; of turns or words where they are written, which have other names",
    "--to": "npz of clusters, or a folder of a model",
    "--init": "a model folder, or a k-means model",
}

#: Kinds of value that are written in one way only.
PLACEHOLDERS = {
    "--halves": "SCP|ARK",
    "--jobs": "N",
    "--seed": "S",
    "--utt2spk": "TABLE",
}


def options() -> dict[str, dict[str, tuple[object, object]]]:
    """Placeholder and default by option and command."""
    found: dict[str, dict[str, tuple[object, object]]] = defaultdict(dict)
    for command in COMMANDS:
        for action in make_parser(command)._actions:
            for option in action.option_strings or [action.dest]:
                default = None if action.default in (None, []) else action.default
                found[option][command] = (action.metavar, default)
    return found


OPTIONS = options()


@pytest.mark.parametrize("option", sorted(OPTIONS.keys() - DIFFER.keys() - {"audio"}))
def test_an_option_is_the_same_in_every_command(option: str) -> None:
    assert len(set(OPTIONS[option].values())) == 1, OPTIONS[option]


@pytest.mark.parametrize("option", sorted(PLACEHOLDERS))
def test_placeholders(option: str) -> None:
    assert {placeholder for placeholder, _ in OPTIONS[option].values()} == {PLACEHOLDERS[option]}


def test_exceptions_are_needed() -> None:
    same = [option for option in DIFFER if len(set(OPTIONS[option].values())) == 1]
    assert not same, f"these are the same everywhere now: {same}"
    choices = {
        command: tuple(action.choices or ())
        for command in COMMANDS
        for action in make_parser(command)._actions
        if action.dest == "format"
    }
    assert set(choices.values()) == {FORMATS}, "--format is that of a model to read"
    assert not {*FORMATS} & {*TURN_FORMATS, *WORD_FORMATS}, "a name says what it is a format of"


def test_number_of_processes_has_one_name() -> None:
    assert not {"--processes", "--workers", "--num-jobs", "-j"} & OPTIONS.keys()
