"""Groups of trials with figures of their own: by age, sex, language and length, where a corpus has these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ
from sdpn.io.kaldi import Utterance, read_table
from sdpn.io.trials import Trials

#: Younger speakers are children.
_ADULT = 16

_LONG_S = 3.0

#: Least number of target trials of a group, and of non-target trials.
_LEAST = 100


def trial_groups(trials: Trials, utterances: Sequence[Utterance], corpus: Path) -> dict[str, np.ndarray]:
    """The trials of each group with enough target and non-target trials.

    Args:
        trials: N trials over M utterances.
        utterances: in the order of the trials' ids, with speakers.
        corpus: folder with ``spk2age`` and ``spk2gender``, if it has them ('speaker value', the name of
            the corpus and leading zeros of a speaker are ignored); ``<language>-<name>`` is a speaker's name
            with a language.

    Returns:
        bool (N,) by group.

    Raises:
        InputError: a file cannot be read, or lacks a speaker.
    """
    both: dict[str, np.ndarray] = {}
    lengths_s = np.array([each.num_samples() / RATE_HZ for each in utterances])
    both[f"both under {_LONG_S:g} s"] = lengths_s < _LONG_S
    both[f"both of {_LONG_S:g} s or more"] = lengths_s >= _LONG_S
    speakers = [each.speaker or each.id for each in utterances]
    if (path := corpus / "spk2age").is_file():
        ages = np.array(_numbers(_values(path, speakers), path))
        both |= {"adults": ages >= _ADULT, f"children (under {_ADULT})": ages < _ADULT}
    if (path := corpus / "spk2gender").is_file():
        letters = np.array([value[:1].lower() for value in _values(path, speakers)])
        both |= {"female": letters == "f", "male": letters == "m"}
    groups = {name: member[trials.first] & member[trials.second] for name, member in both.items()}
    languages = np.array([name.partition("-")[0] if "-" in name else "" for name in speakers])
    if all(languages):
        groups["same language"] = languages[trials.first] == languages[trials.second]
    return {
        name: chosen
        for name, chosen in groups.items()
        if min(trials.is_target[chosen].sum(), (~trials.is_target[chosen]).sum()) >= _LEAST
    }


def _values(path: Path, speakers: Sequence[str]) -> list[str]:
    table: Mapping[str, str] = {key.lstrip("0"): value for key, value in read_table(path).items()}
    missing = [name for name in speakers if name.lstrip("0") not in table]
    if missing:
        raise InputError(f"has no speaker {missing[0]!r}", path=path)
    return [table[name.lstrip("0")] for name in speakers]


def _numbers(values: Sequence[str], path: Path) -> list[float]:
    try:
        return [float(value) for value in values]
    except ValueError as error:
        raise InputError(f"holds something other than numbers ({error})", path=path) from error
