"""The simulated windows of a segmentation run: of training speakers, and of held-out ones for validation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdpn.data.utterance_table import UtteranceTable
from sdpn.errors import InputError
from sdpn.io.kaldi import iterate_data_dir
from sdpn.progress import Report
from sdpn.training.clean_speech import find_clean_speech
from sdpn.training.config import RunConfig
from sdpn.training.distributed import Processes
from sdpn.training.segmentation_evaluation import SegmentationEvaluation
from sdpn.training.simulated_windows import SimulatedWindows, SpokenUtterances


class SegmentationData(NamedTuple):
    """What a run learns from.

    Attributes:
        windows: of the training speakers.
        evaluation: windows of the held-out ones.
        digest: identifies speakers and phrases.
    """

    windows: SimulatedWindows
    evaluation: SegmentationEvaluation
    digest: str


def segmentation_data(
    config: RunConfig,
    directories: Sequence[Path],
    utterances: UtteranceTable,
    sizes: tuple[int, ...],
    out: Path,
    processes: Processes,
    on_progress: Report,
) -> SegmentationData:
    """Prepare the data of a run; the speech in the utterances is found once and kept in ``out/speech``.

    Args:
        config: the whole configuration.
        directories: Kaldi data directories of the training speech, with ``utt2spk``.
        utterances: their utterances.
        sizes: utterances of each directory.
        out: experiment folder.
        processes: the process group; rank 0 finds the speech.
        on_progress: called with (stage, done, total).

    Raises:
        InputError: an utterance has no speaker, there are too few speakers, or rooms or noise cannot be read.
    """
    speakers = _speakers(directories)
    folder, channel = out / "speech", config.crops.channel
    if processes.first:
        find_clean_speech(utterances, folder, channel=channel, on_progress=on_progress)
    processes.gather(None)  # barrier: the files are there
    speech = find_clean_speech(utterances, folder, channel=channel)
    spoken = SpokenUtterances(utterances, speakers, speech, sizes)
    settings, training = config.segmentation, config.training
    train_N, held_N = spoken.split(settings.held_out, settings.max_cast, seed=training.seed)

    def windows(chosen: np.ndarray, seed: int) -> SimulatedWindows:
        return SimulatedWindows(
            spoken,
            chosen,
            settings,
            config.augmentation,
            seed=seed,
            cache_mb=training.cache_mb,
            weights=training.corpus_weights,
            max_bad_share=training.max_bad_share,
            channel=channel,
        )

    evaluation = SegmentationEvaluation(
        windows(held_N, 0), settings.validation_windows, every=config.evaluation.every
    )
    digest = hashlib.sha256(speakers.tobytes() + speech.digest.encode()).hexdigest()[:16]
    return SegmentationData(windows(train_N, training.seed), evaluation, digest)


def _speakers(directories: Sequence[Path]) -> np.ndarray:
    """Number of the speaker of each utterance, (N,) int64; one name is one speaker, in all directories.

    Raises:
        InputError: an utterance has none.
    """
    numbers: dict[str, int] = {}
    found = []
    for directory in directories:
        for utterance in iterate_data_dir(directory, check_files=False):
            if utterance.speaker is None:
                raise InputError(
                    f"does not say who speaks in {utterance.id!r}",
                    path=directory / "utt2spk",
                    hint="objective segmentation simulates conversations of different speakers: write "
                    "'utterance speaker' lines",
                )
            found.append(numbers.setdefault(utterance.speaker, len(numbers)))
    return np.array(found, dtype=np.int64)
