"""Speaker separation of a model, without labels, from positive and negative pairs of windows.

The positive of an anchor window is its neighbour in the same segment of speech, almost always of the same
speaker. The separation of an anchor is the z-score of the positive's similarity among negative similarities,

    z = (cos(anchor, positive) − mean cos(anchor, negative)) / deviation of cos(anchor, negative)

The choice of negatives determines what is measured:

- **within** a scene, a few minutes of one recording: room, channel and noise are those of the positive, and
  channel information does not help. Some negatives are of the anchor's speaker; this lowers the separation of
  all models alike and does not change their order.
- **across** recordings: other speakers, but also other channels. Channel information helps here, so that this
  measure alone never decides.

Models are compared on the same windows. Separations are summed by scene, the unit of the bootstrap.

Shapes: N windows, D embedding, U scenes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sdpn.extraction.embed_corpus import embed_corpus
from sdpn.io import audio
from sdpn.io.audio import RATE_HZ, Channel
from sdpn.io.kaldi import Utterance
from sdpn.models.embedder import Embedder

#: Length of the windows: that of diarization.
WINDOW_S = 1.5
#: Length of a scene, within which conditions are taken to be constant.
SCENE_S = 120.0
#: Minimum distance of an negative from the anchor: closer windows mostly have the same speaker.
_FAR_S = 5.0
#: Minimum number of negatives for estimating a standard deviation.
_FEWEST_NEGATIVES = 5
#: Maximum number of negatives from other recordings; more do not change the third decimal.
_MOST_NEGATIVES = 500


@dataclass(frozen=True, eq=False)
class HeldOutWindows:
    """Windows of held-out speech, the same for every model.

    Attributes:
        stretches: segments of speech, each with its windows (n, 2) in seconds from its start, n ≥ 2.
        stretch_N: index of the segment of each window.
        recording_N: index of its recording.
        scene_N: index of its scene.
        start_N: start in its recording, in seconds.
    """

    stretches: tuple[tuple[Utterance, np.ndarray], ...]
    stretch_N: np.ndarray
    recording_N: np.ndarray
    scene_N: np.ndarray
    start_N: np.ndarray

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.stretch_N)


@dataclass(frozen=True, eq=False)
class Separation:
    """Separations of one model, by scene.

    Attributes:
        sums_U: sum of the separations z of the anchors of each scene.
        anchors_U: their number.
    """

    sums_U: np.ndarray
    anchors_U: np.ndarray

    @property
    def mean(self) -> float:
        """Mean separation of all anchors; 0 is chance level, NaN without anchors."""
        total = self.anchors_U.sum()
        return float(self.sums_U.sum() / total) if total else float("nan")


def cut_windows(utterances: Sequence[Utterance]) -> HeldOutWindows:
    """Cut consecutive windows from every segment of speech that is long enough for two.

    Raises:
        InputError: a file's header cannot be read.
    """
    stretches: list[tuple[Utterance, np.ndarray]] = []
    rows: list[tuple[int, int, int, float]] = []
    recordings: dict[str, int] = {}
    scenes: dict[tuple[int, int], int] = {}
    for utterance in utterances:
        end_s = audio.info(utterance.path).duration_s if utterance.end_s is None else utterance.end_s
        num = int((end_s - utterance.start_s) / WINDOW_S + 1e-6)
        if num < 2:
            continue
        starts = np.arange(num) * WINDOW_S
        recording = recordings.setdefault(str(utterance.path), len(recordings))
        scene = scenes.setdefault((recording, int(utterance.start_s // SCENE_S)), len(scenes))
        rows += [(len(stretches), recording, scene, utterance.start_s + start) for start in starts]
        stretches.append((utterance, np.stack([starts, starts + WINDOW_S], axis=1)))
    columns = list(zip(*rows, strict=True)) or [()] * 4
    stretch_N, recording_N, scene_N = (np.array(column, dtype=np.int64) for column in columns[:3])
    start_N = np.array(columns[3], dtype=np.float64)
    return HeldOutWindows(tuple(stretches), stretch_N, recording_N, scene_N, start_N)


def embed_stretches(
    model: Embedder, windows: HeldOutWindows, *, channel: Channel = None
) -> Iterator[np.ndarray]:
    """Yield the unit-length embeddings (n, D) of the windows of each segment.

    Args:
        model: the model.
        windows: the windows of all segments.
        channel: channel of multichannel files, as in training; None averages all.

    Raises:
        InputError: a file cannot be read.
    """

    def of_stretch(wave_S: np.ndarray, index: int) -> np.ndarray:
        return np.minimum(windows.stretches[index][1], len(wave_S) / RATE_HZ)

    utterances = [utterance for utterance, _ in windows.stretches]
    for each in embed_corpus(model, utterances, windows=of_stretch, channel=channel):
        rows_ND = each.embeddings_ND
        yield rows_ND / np.maximum(np.linalg.norm(rows_ND, axis=1, keepdims=True), 1e-12)


def within_scenes(unit_ND: np.ndarray, windows: HeldOutWindows) -> Separation:
    """Separation from windows of other segments of the same scene, at least 5 s away.

    Args:
        unit_ND: embeddings of unit length.
        windows: their windows.
    """
    num_scenes = int(windows.scene_N.max(initial=-1)) + 1
    sums_U, anchors_U = np.zeros(num_scenes), np.zeros(num_scenes)
    for scene in range(num_scenes):
        rows = np.flatnonzero(windows.scene_N == scene)
        start_N, stretch_N = windows.start_N[rows], windows.stretch_N[rows]
        is_negative_NN = np.abs(start_N[:, None] - start_N) >= _FAR_S
        is_negative_NN &= stretch_N[:, None] != stretch_N
        separations = _separations(unit_ND[rows], unit_ND[rows], is_negative_NN, stretch_N)
        sums_U[scene], anchors_U[scene] = separations.sum(), len(separations)
    return Separation(sums_U, anchors_U)


def across_recordings(unit_ND: np.ndarray, windows: HeldOutWindows, *, seed: int) -> Separation:
    """Separation from windows of other recordings.

    Args:
        unit_ND: embeddings of unit length.
        windows: their windows.
        seed: random seed of the negatives; use the same for all models compared.
    """
    drawn = np.random.default_rng(seed).permutation(len(windows))[:_MOST_NEGATIVES]
    num_scenes = int(windows.scene_N.max(initial=-1)) + 1
    sums_U, anchors_U = np.zeros(num_scenes), np.zeros(num_scenes)
    for scene in range(num_scenes):
        rows = np.flatnonzero(windows.scene_N == scene)
        is_negative_NN = windows.recording_N[rows][:, None] != windows.recording_N[drawn]
        separations = _separations(unit_ND[rows], unit_ND[drawn], is_negative_NN, windows.stretch_N[rows])
        sums_U[scene], anchors_U[scene] = separations.sum(), len(separations)
    return Separation(sums_U, anchors_U)


def _separations(
    anchor_ND: np.ndarray, negative_MD: np.ndarray, is_negative_NM: np.ndarray, stretch_N: np.ndarray
) -> np.ndarray:
    """Separations of all anchors with enough negatives, for each positive in their segment."""
    count_N = is_negative_NM.sum(axis=1)
    cosine_NM = np.where(is_negative_NM, anchor_ND @ negative_MD.T, 0.0)
    mean_N = cosine_NM.sum(axis=1) / np.maximum(count_N, 1)
    square_NM = np.where(is_negative_NM, cosine_NM - mean_N[:, None], 0.0) ** 2
    deviation_N = np.sqrt(square_NM.sum(axis=1) / np.maximum(count_N, 1))
    firsts = np.flatnonzero(stretch_N[:-1] == stretch_N[1:])
    anchors, partners = np.concatenate([firsts, firsts + 1]), np.concatenate([firsts + 1, firsts])
    has_negatives = count_N[anchors] >= _FEWEST_NEGATIVES
    anchors, partners = anchors[has_negatives], partners[has_negatives]
    cosines = np.einsum("nd,nd->n", anchor_ND[anchors], anchor_ND[partners])
    separations: np.ndarray = (cosines - mean_N[anchors]) / np.maximum(deviation_N[anchors], 1e-6)
    return separations
