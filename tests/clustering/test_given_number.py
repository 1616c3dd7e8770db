"""The true number of speakers helps every clusterer, or at least does not harm it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from sdpn.clustering.base import Clusterer
from sdpn.clustering.registry import CLUSTERERS, make_clusterer
from tests.clustering.conversations import conversation

#: Embeddings, times, seconds of each speaker in each window.
Example = tuple[np.ndarray, np.ndarray, np.ndarray]


def error(labels_N: np.ndarray, seconds_NS: np.ndarray) -> float:
    """Share of the speech that is given to somebody else, with the best mapping of labels to speakers."""
    both_KS = np.zeros((int(labels_N.max()) + 1, seconds_NS.shape[1]))
    np.add.at(both_KS, labels_N, seconds_NS)
    chosen = linear_sum_assignment(-both_KS)
    return 1.0 - float(both_KS[chosen].sum() / seconds_NS.max(axis=1).sum())


def with_and_without(clusterer: Clusterer, examples: Sequence[Example]) -> tuple[float, float]:
    """Mean error with the true number, and with the estimated one."""
    errors = []
    for emb, times, seconds in examples:
        given = clusterer.fit_predict(emb, times_N2=times, num_speakers=seconds.shape[1])
        assert given.num_speakers == seconds.shape[1]
        free = clusterer.fit_predict(emb, times_N2=times)
        errors.append((error(given.labels_N, seconds), error(free.labels_N, seconds)))
    means = np.mean(errors, axis=0)
    return float(means[0]), float(means[1])


def clusterer_named(method: str) -> Clusterer:
    return make_clusterer(method, {"threshold": "calibrated"} if method == "ahc" else {})


@pytest.mark.parametrize("method", CLUSTERERS)
def test_of_unequal_speakers_who_are_hard_to_separate(method: str) -> None:
    """Somebody speaks most of the time: k-means and splitting divide that one, and let others share."""
    examples = []
    for seed, (sizes, between) in enumerate((((150, 20, 12, 30), 0.25), ((90, 15, 60), 0.35))):
        emb, times, truth = conversation(sizes, within=0.5, between=between, seed=seed)
        examples.append((emb, times, np.eye(len(sizes))[truth]))
    given, free = with_and_without(clusterer_named(method), examples)
    assert given <= free + 0.005
    assert given < 0.15


@pytest.fixture(scope="module")
def training_speakers(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    """Conversations of 3 to 5 training speakers, with the embeddings of the model in the package."""
    import sdpn
    from sdpn.diarization.vad import detect_speech
    from sdpn.io.rttm import read_rttm
    from sdpn.simulation.simulate import SimulationConfig, plan, render, silently
    from sdpn.simulation.sources import Folders
    from sdpn.simulation.turn_statistics import voxconverse

    folders = Folders(corpora=[shared_data / "speechocean762" / "train"], rir=None, noise=None)
    config = SimulationConfig(
        num=6, seed=5, duration_s=90.0, min_speakers=3, max_speakers=5, room_share=0.0, noise_share=0.0
    )
    out = tmp_path_factory.mktemp("training-speakers")
    drawn = plan(config, voxconverse(), folders, detect_speech, jobs=1, progress=silently)
    render(drawn, folders, out, jobs=1, progress=silently)
    diarizer, examples = sdpn.Diarizer(sdpn.load_model()), []
    for recording, turns in read_rttm(out / "reference.rttm").items():
        embedded = diarizer.embed(out / f"{recording}.flac")
        times, names = embedded.windows.times_N2, sorted({turn.speaker for turn in turns})
        seconds = np.zeros((len(times), len(names)))
        for turn in turns:
            common = np.minimum(times[:, 1], turn.end_s) - np.maximum(times[:, 0], turn.onset_s)
            seconds[:, names.index(turn.speaker)] += np.maximum(common, 0.0)
        examples.append((embedded.emb_ND, times, seconds))
    return examples


@pytest.mark.slow
@pytest.mark.parametrize("method", CLUSTERERS)
def test_of_training_speakers(method: str, training_speakers: list[Example]) -> None:
    given, free = with_and_without(clusterer_named(method), training_speakers)
    assert given <= free + 0.005
