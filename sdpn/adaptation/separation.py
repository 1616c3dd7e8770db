"""How far a model sets voices apart, without labels: partners and rivals of windows of speech.

The partner of a window is its neighbour in the same stretch of speech, almost always the same voice. Its
separation is how many standard deviations of its rivals' similarities the partner lies above their mean

    z = (cos(anchor, partner) − mean cos(anchor, rival)) / deviation of cos(anchor, rival)

Where rivals come from decides what is measured:

- **within** a scene, a few minutes of one recording: room, channel and noise are those of the partner, so
  that a model which listens to the channel gains nothing. Some rivals are the anchor's own voice; that lowers
  the separation of every model alike, and the order of two models stays.
- **across** recordings: other voices, but other channels too. A model which listens to the channel is good at
  this for the wrong reason, so it never decides alone.

Two models are given the same windows. Separations add up over scenes, which are what a bootstrap draws.

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
#: Stretches of one recording that count as one scene: within them conditions hardly change.
SCENE_S = 120.0
#: A rival begins at least this far from the anchor: nearer ones are mostly the same voice.
_FAR_S = 5.0
#: Fewer rivals have no deviation to speak of.
_FEWEST_RIVALS = 5
#: Rivals from other recordings are at most these, drawn once: more do not change the third decimal.
_MOST_RIVALS = 500


@dataclass(frozen=True, eq=False)
class HeldOutWindows:
    """Windows of held-out speech, cut once and embedded by every model.

    Attributes:
        stretches: the speech that they lie in, each with its (n, 2) windows in seconds from its start, n ≥ 2.
        stretch_N: number of the stretch of each window.
        recording_N: number of its recording.
        scene_N: number of its scene.
        start_N: where it starts in its recording, in seconds.
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
        """Mean separation of all anchors; 0 is a model that hears nothing, NaN where there is no anchor."""
        total = self.anchors_U.sum()
        return float(self.sums_U.sum() / total) if total else float("nan")


def cut_windows(utterances: Sequence[Utterance]) -> HeldOutWindows:
    """Cut windows that follow each other out of every stretch of speech that holds two or more.

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
    """Embeddings (n, D) of the windows of one stretch after the other, of unit length.

    Args:
        model: what embeds.
        windows: those of all stretches.
        channel: of files with several, as in training; None averages them.

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
    """Separation from windows of the same scene, other stretches, 5 s away or more.

    Args:
        unit_ND: embeddings of unit length.
        windows: what they are of.
    """
    num_scenes = int(windows.scene_N.max(initial=-1)) + 1
    sums_U, anchors_U = np.zeros(num_scenes), np.zeros(num_scenes)
    for scene in range(num_scenes):
        rows = np.flatnonzero(windows.scene_N == scene)
        start_N, stretch_N = windows.start_N[rows], windows.stretch_N[rows]
        is_rival_NN = np.abs(start_N[:, None] - start_N) >= _FAR_S
        is_rival_NN &= stretch_N[:, None] != stretch_N
        separations = _separations(unit_ND[rows], unit_ND[rows], is_rival_NN, stretch_N)
        sums_U[scene], anchors_U[scene] = separations.sum(), len(separations)
    return Separation(sums_U, anchors_U)


def across_recordings(unit_ND: np.ndarray, windows: HeldOutWindows, *, seed: int) -> Separation:
    """Separation from windows of other recordings.

    Args:
        unit_ND: embeddings of unit length.
        windows: what they are of.
        seed: of the choice of rivals; the same for models that are compared.
    """
    drawn = np.random.default_rng(seed).permutation(len(windows))[:_MOST_RIVALS]
    num_scenes = int(windows.scene_N.max(initial=-1)) + 1
    sums_U, anchors_U = np.zeros(num_scenes), np.zeros(num_scenes)
    for scene in range(num_scenes):
        rows = np.flatnonzero(windows.scene_N == scene)
        is_rival_NN = windows.recording_N[rows][:, None] != windows.recording_N[drawn]
        separations = _separations(unit_ND[rows], unit_ND[drawn], is_rival_NN, windows.stretch_N[rows])
        sums_U[scene], anchors_U[scene] = separations.sum(), len(separations)
    return Separation(sums_U, anchors_U)


def _separations(
    anchor_ND: np.ndarray, rival_MD: np.ndarray, is_rival_NM: np.ndarray, stretch_N: np.ndarray
) -> np.ndarray:
    """Separation of every anchor from each neighbour in its stretch, where it has rivals enough."""
    count_N = is_rival_NM.sum(axis=1)
    cosine_NM = np.where(is_rival_NM, anchor_ND @ rival_MD.T, 0.0)
    mean_N = cosine_NM.sum(axis=1) / np.maximum(count_N, 1)
    square_NM = np.where(is_rival_NM, cosine_NM - mean_N[:, None], 0.0) ** 2
    deviation_N = np.sqrt(square_NM.sum(axis=1) / np.maximum(count_N, 1))
    firsts = np.flatnonzero(stretch_N[:-1] == stretch_N[1:])
    anchors, partners = np.concatenate([firsts, firsts + 1]), np.concatenate([firsts + 1, firsts])
    has_rivals = count_N[anchors] >= _FEWEST_RIVALS
    anchors, partners = anchors[has_rivals], partners[has_rivals]
    cosines = np.einsum("nd,nd->n", anchor_ND[anchors], anchor_ND[partners])
    separations: np.ndarray = (cosines - mean_N[anchors]) / np.maximum(deviation_N[anchors], 1e-6)
    return separations
