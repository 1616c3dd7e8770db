"""The utterances of a trial list in a folder-per-speaker corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sdpn.errors import InputError
from sdpn.io.corpus import as_word, find_audio
from sdpn.io.kaldi import Utterance
from sdpn.io.trials import read_trials


def utterances_of_trials(folder: Path, trials: Path) -> list[Utterance]:
    """The utterances of a folder-per-speaker corpus under the ids that its trials use.

    Those are file stems, or paths below the folder with or without suffix.

    Raises:
        InputError: the folder is missing or empty, the trials are malformed, or they name utterances that it
            lacks.
    """
    files = find_audio(folder)
    wanted = set(read_trials(trials).ids)
    namings: tuple[Callable[[Path], str], ...] = (
        lambda path: path.stem,
        lambda path: path.relative_to(folder).with_suffix("").as_posix(),
        lambda path: path.relative_to(folder).as_posix(),
    )
    missing = wanted
    for naming in namings:
        ids = [naming(path) for path in files]
        lacking = wanted - set(ids)
        if not lacking and len(set(ids)) == len(ids):
            return [
                Utterance(key, path.resolve(), speaker=as_word(path.relative_to(folder).parts[0]))
                for key, path in zip(ids, files, strict=True)
            ]
        if not lacking:
            key, _ = Counter(ids).most_common(1)[0]
            raise InputError(
                f"the trial id {key!r} matches more than one file",
                path=trials,
                hint="name utterances by their path below the folder",
            )
        missing = min(missing, lacking, key=len)
    raise InputError(
        f"{len(missing)} of the {len(wanted)} utterances in the trials are not in {folder}, "
        f"such as {min(missing)!r}",
        path=trials,
    )
