"""Try settings of a clusterer on recordings with references, and choose."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sdpn.config import to_dict
from sdpn.diarization.pipeline import Diarizer, EmbeddedRecording, calibrated_clusterer, label_recording
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_write_text
from sdpn.io.rttm import Turn, from_annotation
from sdpn.metrics.diarization import score_recordings
from sdpn.metrics.speaker_states import Regions
from sdpn.progress import Report, unreported
from sdpn.tuning.grid import Grid, combinations
from sdpn.tuning.trials import Trial, read_trials_table, write_trials_table

logger = logging.getLogger(__name__)

#: Fewer recordings than this give a choice that is mostly luck; a warning says so.
_FEW = 10


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What was tried and chosen.

    Attributes:
        trials: in the order they were tried; the first has the defaults.
        best: the one with the lowest DER; of equal ones the first.
        left_out: DER of each recording with the settings that are best on the others, all together: what to
            expect of the choice on recordings like these.
        recordings: the order of the figures of a trial.
        num_speakers: of the reference.
    """

    trials: Sequence[Trial]
    best: Trial
    left_out: float
    recordings: Sequence[str]
    num_speakers: Sequence[int]


def tune(
    diarizer: Diarizer,
    audio_of: Mapping[str, Path],
    reference: Mapping[str, Sequence[Turn]],
    grid: Grid,
    out: Path,
    *,
    made_with: Mapping[str, Any],
    regions: Mapping[str, Regions] | None = None,
    collar_s: float = 0.0,
    skip_overlap: bool = False,
    force: bool = False,
    on_progress: Report = unreported,
) -> Tuned:
    """Try every combination of a grid, and write ``OUT/trials.jsonl`` and ``OUT/settings.yaml``.

    Each recording is embedded once. The table of trials is written after each of them, and a run that was
    stopped goes on from it.

    Args:
        diarizer: with the model, the pipeline's settings and the clusterer.
        audio_of: files by recording id (`sdpn.io.inputs.recordings`), at least two.
        reference: turns of each.
        grid: values of each setting of the clusterer.
        out: folder.
        made_with: identifies the model, such as its `sdpn.extraction.settings.fingerprint`.
        regions: scored regions; None scores all.
        collar_s: as in `sdpn.metrics.diarization.score_recordings`.
        skip_overlap: the same.
        force: start again.
        on_progress: called with what is done, how much of it, and of how much.

    Raises:
        InputError: fewer than two recordings, one without a turn in the reference, settings that the
            clusterer does not take, a recording that cannot be read, or a table of other trials in ``out``.
    """
    names = sorted(audio_of)
    _check(names, reference, regions)
    method = diarizer.config.method
    tries = combinations(method, grid)
    table = out / "trials.jsonl"
    scored = {name: reference[name] for name in names}
    made_from = _digest(diarizer, audio_of, scored, made_with, [regions, collar_s, skip_overlap])
    before = (
        {}
        if force
        else {_key(trial.settings): trial for trial in read_trials_table(table, made_from, Trial.of)}
    )
    missing = [settings for settings in tries if _key(settings) not in before]
    embedded: dict[str, EmbeddedRecording] = {}
    if missing:
        for number, name in enumerate(names, start=1):
            embedded[name] = replace(diarizer.embed(audio_of[name]), recording=name)
            on_progress("embedding", number, len(names))
    for number, settings in enumerate(missing, start=1):
        clusterer = calibrated_clusterer(method, settings, diarizer.model.calibration)
        found = {
            name: from_annotation(label_recording(each, clusterer).annotation, name)
            for name, each in embedded.items()
        }
        scores = score_recordings(
            scored, found, regions=regions, collar_s=collar_s, skip_overlap=skip_overlap
        )
        before[_key(settings)] = Trial(
            settings=settings,
            error_s=tuple(score.components.error_s for score in scores),
            total_s=tuple(score.components.total_s for score in scores),
            counts=tuple(len({turn.speaker for turn in found[name]}) for name in names),
        )
        write_trials_table(table, made_from, list(before.values()))
        on_progress("trying", number, len(missing))
    trials = [before[_key(settings)] for settings in tries]
    best = min(trials, key=Trial.error_rate)
    atomic_write_text(out / "settings.yaml", _settings_file(method, best.settings))
    return Tuned(
        trials=trials,
        best=best,
        left_out=_left_out(trials),
        recordings=names,
        num_speakers=[len({turn.speaker for turn in scored[name]}) for name in names],
    )


def _check(
    names: Sequence[str], reference: Mapping[str, Sequence[Turn]], regions: Mapping[str, Regions] | None
) -> None:
    if len(names) < 2:
        raise InputError(
            f"{len(names)} recording is too little to tune on: settings that fit it say nothing about others",
            hint="give at least two, better ten or more, of the kind that you will diarize",
        )
    for name in names:
        if not reference.get(name):
            raise InputError(
                f"the reference has no turn of recording {name!r}",
                hint="ids in the reference are file names without their suffix",
            )
        if regions is not None and name not in regions:
            raise InputError(f"the UEM has no region of recording {name!r}")
    if len(names) < _FEW:
        logger.warning(
            "%d recordings are few: the choice may be luck; compare the DER of recordings left out with that "
            "of the defaults",
            len(names),
        )


def _key(settings: Mapping[str, object]) -> str:
    return json.dumps(settings, sort_keys=True)


def _digest(
    diarizer: Diarizer,
    audio_of: Mapping[str, Path],
    reference: Mapping[str, Sequence[Turn]],
    made_with: Mapping[str, Any],
    scoring: Sequence[object],
) -> str:
    """Hash of all that the figures depend on but the settings of the clusterer."""
    files = {
        name: [os.path.realpath(path), os.stat(path).st_size, os.stat(path).st_mtime_ns]
        for name, path in audio_of.items()
    }
    turns = {name: [[t.onset_s, t.duration_s, t.speaker] for t in each] for name, each in reference.items()}
    pipeline = {key: value for key, value in to_dict(diarizer.config).items() if key != "settings"}
    parts = [dict(made_with), pipeline, files, turns, list(scoring)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _left_out(trials: Sequence[Trial]) -> float:
    """DER of each recording with the settings that are best on the others, over all of them."""
    error_s, total_s = 0.0, 0.0
    for number in range(len(trials[0].error_s)):
        rates = [trial.error_rate(but=number) for trial in trials]
        chosen = trials[int(np.argmin(rates))]
        error_s += chosen.error_s[number]
        total_s += chosen.total_s[number]
    return error_s / total_s


def _settings_file(method: str, settings: Mapping[str, object]) -> str:
    content: dict[str, object] = {"method": method}
    if settings:
        content[method] = dict(settings)
    return "# sdpn diarize --config THIS\n" + yaml.safe_dump(content, sort_keys=False)
