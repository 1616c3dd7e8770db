"""Measures one cell: a model on one corpus in one condition.

What is kept is what intervals and paired differences are made of, not the figures themselves: scores of
trials, and errors of recordings.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sdpn.augmentation.conditions import telephone
from sdpn.benchmark.evaluation_sets import EvaluationSets, RecordingSet
from sdpn.benchmark.plan import Cell, Plan, verification_condition
from sdpn.diarization.pipeline import DiarizationConfig, Diarizer
from sdpn.extraction.embed_corpus import embed_corpus
from sdpn.interop.load import load_model
from sdpn.io import audio
from sdpn.io.rttm import Turn, from_annotation
from sdpn.metrics.diarization import NIST_COLLAR_S, RecordingScore, score_recordings
from sdpn.models.embedder import Embedder
from sdpn.models.segmenter import Segmenter
from sdpn.pretrained import model_path
from sdpn.verification.back_end import BackEnd
from sdpn.verification.similarity import cosine
from sdpn.verification.storage import has_back_end, read_back_end
from sdpn.verification.trial_scores import score_trials

#: Of everything that is drawn for utterances.
_SEED = 0

#: Begins the names of arrays that choose trials.
GROUP = "group: "

#: The arrays of a finished cell, by name.
Outcome = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ModelFile:
    """A model as it is named on the command line.

    Attributes:
        path: or the name of an included model; None for the default.
        format: None finds it.
    """

    path: Path | None = None
    format: str | None = None

    @property
    def found(self) -> Path:
        """Where it lies."""
        return model_path(self.path)

    def load(self) -> Embedder:
        """Load it.

        Raises:
            InputError: as `sdpn.interop.load.load_model`.
        """
        return load_model(self.path, self.format)

    def back_end(self, model: Embedder) -> BackEnd | None:
        """Its back end, if it has one.

        Raises:
            InputError: it is damaged, or another model's.
        """
        if not has_back_end(self.found):
            return None
        back_end = read_back_end(self.found)
        back_end.refuse_other_model(model.weights_digest, path=self.found)
        return back_end


@dataclass(frozen=True)
class Bench:
    """A loaded model and the evaluation sets.

    Attributes:
        model: the model.
        back_end: its back end, or None.
        sets: the recordings.
        plan: how much is measured.
        config: settings of the diarization.
        segmenter: local segmentation network, or None.
    """

    model: Embedder
    back_end: BackEnd | None
    sets: EvaluationSets
    plan: Plan
    config: DiarizationConfig
    segmenter: Segmenter | None = None

    def measure(self, cell: Cell) -> Outcome:
        """Measure a cell, on one thread.

        Returns:
            for ``eer`` the scores of the trials, (N,), as ``cosine`` and maybe ``back end``, with
            ``is_target``, ``first`` and ``second`` (speakers) and the trials of
            groups; for ``der`` and ``ami`` columns with one row
            per recording; for ``cost`` the CPU seconds ``cpu_s`` and the seconds of audio ``audio_s``.

        Raises:
            InputError: a recording is missing or malformed.
        """
        with _one_thread():
            if cell.part == "eer":
                return self._verification(cell)
            if cell.part == "cost":
                return self._cost(cell)
            if cell.part == "ami":
                return self._diarization(self.sets.meetings(), cell.condition)
            recordings = self.sets.conversations(cell.corpus, cell.condition, cell.seed)
            return self._diarization(recordings, cell.condition)

    def _verification(self, cell: Cell) -> Outcome:
        trial_set = self.sets.verification(cell.corpus)
        condition = verification_condition(cell.condition, self.sets.data)
        trials = trial_set.trials

        def degraded(wave: np.ndarray, index: int) -> list[np.ndarray]:
            assert condition is not None
            # a generator for each utterance: nothing depends on the order
            rng = np.random.default_rng([_SEED, zlib.crc32(trials.ids[index].encode())])
            return [condition(wave, rng)]

        pieces = None if condition is None else degraded
        emb_ND = np.concatenate(
            [each.embeddings_ND for each in embed_corpus(self.model, trial_set.utterances, pieces=pieces)]
        )
        scores = {"cosine": score_trials(cosine(emb_ND), trials.first, trials.second)}
        if self.back_end is not None:
            scores["back end"] = self.back_end.score(emb_ND, trials.first, trials.second)
        groups = trial_set.groups if condition is None else {}
        return {
            **scores,
            **{f"{GROUP}{name}": chosen for name, chosen in groups.items()},
            "is_target": trials.is_target,
            "first": trial_set.speakers[trials.first],
            "second": trial_set.speakers[trials.second],
        }

    def _diarization(self, recordings: RecordingSet, condition: str) -> Outcome:
        hypothesis = {name: self._turns(name, path, condition) for name, path in recordings.audio.items()}
        whole, nist = (
            score_recordings(
                recordings.reference,
                hypothesis,
                regions=recordings.regions,
                collar_s=collar_s,
                skip_overlap=skip,
            )
            for collar_s, skip in ((0.0, False), (NIST_COLLAR_S, True))
        )
        return _columns(whole, nist)

    def _turns(self, name: str, path: Path, condition: str) -> list[Turn]:
        diarizer = Diarizer(self.model, config=self.config, segmentation=self.segmenter)
        if condition != "telephone":
            return from_annotation(diarizer(path), name)
        wave = telephone(audio.read(path), np.random.default_rng(_SEED))
        return from_annotation(diarizer((wave, audio.RATE_HZ)), name)

    def _cost(self, cell: Cell) -> Outcome:
        recordings = self.sets.conversations(cell.corpus, cell.condition, cell.seed)
        paths = list(recordings.audio.values())[: self.plan.cost_conversations]
        diarizer = Diarizer(self.model, config=self.config, segmentation=self.segmenter)
        diarizer(paths[0])  # what is loaded on first use is loaded
        spent = []
        for path in paths:
            started = time.process_time()
            diarizer(path)
            spent.append(time.process_time() - started)
        lengths = [audio.info(path).duration_s for path in paths]
        return {"cpu_s": np.array(spent), "audio_s": np.array(lengths)}


def _columns(whole: list[RecordingScore], nist: list[RecordingScore]) -> Outcome:
    return {
        "error_s": np.array([each.components.error_s for each in whole]),
        "total_s": np.array([each.components.total_s for each in whole]),
        "nist_error_s": np.array([each.components.error_s for each in nist]),
        "nist_total_s": np.array([each.components.total_s for each in nist]),
        "reference_speakers": np.array([each.speakers.reference for each in whole]),
        "hypothesis_speakers": np.array([each.speakers.hypothesis for each in whole]),
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    """Costs are CPU seconds of one thread, and processes share the processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
