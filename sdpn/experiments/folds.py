"""Folds of a data directory: each speaker, or each utterance of every speaker, is tested on once.

Shapes: N utterances.
"""

from __future__ import annotations

import itertools
import logging
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from sdpn.data.directories.tables import DataTables, read_sound_tables, write_tables
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory
from sdpn.io.checksum import file_sha256
from sdpn.io.text import read_text
from sdpn.training.labelled import stratified_folds

_log = logging.getLogger(__name__)

By: TypeAlias = Literal["speaker", "utterance"]

#: Target trials of a speaker at most, and non-target trials for each target trial.
_MOST_TARGETS, _NONTARGETS = 100, 10
#: File that says what folds were made from.
_MADE_FROM = "made_from"
#: Names in a message.
_NAMED = 5


class Fold(NamedTuple):
    """Data directories of a fold.

    Attributes:
        train: what is trained on.
        test: what is not; of speakers with ``trials``.
    """

    train: Path
    test: Path


def write_folds(data: Path, out: Path, folds: int, *, by: By, seed: int) -> list[Fold]:
    """Write ``OUT/1/{train,test}`` and so on, all or nothing; what is there already is kept.

    By utterance, every speaker has about as many utterances in each fold (`stratified_folds`); one with a
    single utterance is trained on in all folds and tested in none. By speaker, no speaker is in ``train`` and
    ``test`` of one fold, and gender, where ``spk2gender`` has it, is spread evenly; ``test/trials`` lists all
    pairs of utterances of one speaker (100 at most) and ten times as many of two.

    Args:
        data: a Kaldi data directory with utt2spk.
        out: the folder of the folds.
        folds: how many, at least two.
        by: what is kept together.
        seed: of the division and of the trials.

    Raises:
        InputError: the directory has a fault or no speakers, the folds cannot be made, or there are others.
    """
    found = [Fold(out / str(number) / "train", out / str(number) / "test") for number in range(1, folds + 1)]
    tables = read_sound_tables(data)
    speaker_of = tables.speaker_of
    if not speaker_of:
        raise InputError("has no utt2spk, which folds are made by", path=data)
    keys = sorted(speaker_of, key=str.encode)
    fold_N = (
        _by_speaker(tables, keys, folds, seed)
        if by == "speaker"
        else _by_utterance(tables, keys, folds, seed)
    )
    made_from = f"{by} {folds} {seed} {file_sha256(data / 'wav.scp')} {file_sha256(data / 'utt2spk')}\n"
    if out.exists():
        if not (out / _MADE_FROM).is_file() or read_text(out / _MADE_FROM) != made_from:
            raise InputError(
                "holds folds of other data, another number or another seed",
                path=out,
                hint="choose another --out, or --force to start again",
            )
        return found
    with atomic_directory(out) as folder:
        (folder / _MADE_FROM).write_text(made_from, encoding="utf-8")
        for number in range(folds):
            tested = [key for key, fold in zip(keys, fold_N.tolist(), strict=True) if fold == number]
            trained = [key for key, fold in zip(keys, fold_N.tolist(), strict=True) if fold != number]
            for name, chosen in (("train", trained), ("test", tested)):
                place = folder / str(number + 1) / name
                place.mkdir(parents=True)
                write_tables(place, tables.part(chosen))
            if by == "speaker":
                lines = _trials(
                    {key: speaker_of[key] for key in tested}, np.random.default_rng([seed, number])
                )
                (folder / str(number + 1) / "test" / "trials").write_text("".join(lines), encoding="utf-8")
    return found


def _by_utterance(tables: DataTables, keys: list[str], folds: int, seed: int) -> np.ndarray:
    names, label_N = np.unique([tables.speaker_of[key] for key in keys], return_inverse=True)
    counts_K = np.bincount(label_N)
    if counts_K.max() < folds:
        raise InputError(
            f"{folds} folds cannot be made: the speaker with most utterances, "
            f"{str(names[counts_K.argmax()])!r}, has {counts_K.max()}",
            path=tables.directory / "utt2spk",
            hint="ask for fewer folds, or cross-validate by speaker",
        )
    single = names[counts_K == 1]
    if len(single):
        shown = ", ".join(repr(str(name)) for name in single[:_NAMED])
        _log.warning(
            "%d speakers have one utterance, which is trained on and not tested: %s%s",
            len(single),
            shown,
            ", …" if len(single) > _NAMED else "",
        )
    return stratified_folds(label_N, folds, seed=seed)


def _by_speaker(tables: DataTables, keys: list[str], folds: int, seed: int) -> np.ndarray:
    names, label_N = np.unique([tables.speaker_of[key] for key in keys], return_inverse=True)
    counts_K = np.bincount(label_N)
    several = int((counts_K > 1).sum())
    if len(names) < 2 * folds or several < folds:
        raise InputError(
            f"{folds} folds cannot be made: {len(names)} speakers, of whom {several} have two utterances or "
            "more; each fold needs two speakers, one of them with two utterances",
            path=tables.directory / "utt2spk",
            hint=f"ask for at most {min(len(names) // 2, several)}"
            if min(len(names) // 2, several) > 1
            else None,
        )
    gender = {key: row.value for key, row in tables.tables.get("spk2gender", {}).items()}
    # those with one utterance make no target trial: they are spread as a group of their own
    kinds = [f"{gender.get(str(name), '')} {count > 1}" for name, count in zip(names, counts_K, strict=True)]
    _, kind_K = np.unique(kinds, return_inverse=True)
    fold_K = stratified_folds(kind_K, folds, seed=seed)
    for alone in np.flatnonzero(fold_K < 0):  # the only one of its kind goes where fewest are
        fold_K[alone] = np.bincount(fold_K[fold_K >= 0], minlength=folds).argmin()
    for number in range(folds):
        if not (counts_K[fold_K == number] > 1).any() or (fold_K == number).sum() < 2:
            raise InputError(
                f"{folds} folds cannot be made: fold {number + 1} would have no target trial",
                path=tables.directory / "utt2spk",
                hint="ask for fewer folds, or choose another --seed",
            )
    return fold_K[label_N]


def _trials(speaker_of: Mapping[str, str], rng: np.random.Generator) -> list[str]:
    """Lines of a trial list among some utterances."""
    of: dict[str, list[str]] = defaultdict(list)
    for key, speaker in speaker_of.items():
        of[speaker].append(key)
    lines = []
    for members in of.values():
        pairs = (
            list(itertools.combinations(members, 2)) if len(members) <= 64 else _draw(members, members, rng)
        )
        if len(pairs) > _MOST_TARGETS:
            pairs = [
                pairs[at] for at in np.sort(rng.choice(len(pairs), _MOST_TARGETS, replace=False)).tolist()
            ]
        lines += [f"1 {a} {b}\n" for a, b in pairs]
    keys = list(speaker_of)
    wanted = _NONTARGETS * len(lines)
    seen: dict[tuple[str, str], None] = {}
    # few utterances have fewer pairs than are wanted: then draws are in vain, and end
    for _ in range(20):
        for a, b in _draw(keys, keys, rng, wanted):
            if speaker_of[a] != speaker_of[b] and len(seen) < wanted:
                seen.setdefault((min(a, b), max(a, b)))
    return lines + [f"0 {a} {b}\n" for a, b in seen]


def _draw(
    one: list[str], other: list[str], rng: np.random.Generator, count: int = 4 * _MOST_TARGETS
) -> list[tuple[str, str]]:
    """Different pairs, in order, drawn at random."""
    a_N, b_N = rng.integers(len(one), size=count), rng.integers(len(other), size=count)
    pairs = {
        tuple(sorted((one[a], other[b]))): None for a, b in zip(a_N, b_N, strict=True) if one[a] != other[b]
    }
    return [(a, b) for a, b in pairs]
