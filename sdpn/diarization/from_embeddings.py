"""Speaker turns from precomputed window embeddings.

Shapes: N windows of a recording or of all, D embedding dimensions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdpn.clustering.base import Clusterer
from sdpn.clustering.force_count import without_minor
from sdpn.clustering.unheard import unheard_warning
from sdpn.diarization.timeline import label_speech
from sdpn.diarization.windows import windows_at
from sdpn.errors import InputError
from sdpn.io.kaldi import RecordingSegment, read_segments, read_vectors
from sdpn.io.rttm import Turn, write_rttm
from sdpn.io.text import is_file_name
from sdpn.verification.plda import Plda
from sdpn.verification.similarity import cosine
from sdpn.verification.transform import Transform

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EmbeddedWindows:
    """The windows of a recording.

    Attributes:
        recording: its id.
        times_N2: start and end of each window in seconds, in chronological order; none lies within another.
        emb_ND: their embeddings.
    """

    recording: str
    times_N2: np.ndarray
    emb_ND: np.ndarray


@dataclass(frozen=True, kw_only=True)
class LabelledWindows:
    """Speaker turns of a recording.

    Attributes:
        turns: turns of ``speaker00``, ``speaker01``, ..., without overlap.
        num_speakers: number of speakers.
        speech_s: time covered by the windows, in seconds.
        count_posterior: see `sdpn.clustering.base.Clustering.likely_counts`.
        unheard: see `sdpn.clustering.base.Clustering`.
    """

    turns: list[Turn]
    num_speakers: int
    speech_s: float
    count_posterior: dict[int, float] | None = None
    unheard: int = 0


def read_embedded_windows(
    embeddings: Path, segments: Path, *, transform: Transform | None = None, plda: Plda | None = None
) -> list[EmbeddedWindows]:
    """Read the windows of recordings.

    Args:
        embeddings: Kaldi scp or ark, one vector for each window.
        segments: 'utterance recording start end', in seconds.
        transform: transform applied to the embeddings; None for none.
        plda: PLDA of the clusterer, to check its dimension early.

    Raises:
        InputError: a file cannot be read, or embeddings and segments do not match.
    """
    recordings = _recordings(segments)
    vectors = read_vectors(embeddings)
    _check_ids(recordings, vectors, embeddings, segments)
    rows_ND = _rows(vectors, transform, plda, embeddings)
    row_of = {key: row for row, key in enumerate(vectors)}
    return [
        EmbeddedWindows(
            recording=recording,
            times_N2=np.array([(window.start_s, window.end_s) for window in windows]),
            emb_ND=rows_ND[[row_of[window.id] for window in windows]],
        )
        for recording, windows in recordings.items()
    ]


def cluster_windows(
    windows: EmbeddedWindows,
    clusterer: Clusterer,
    *,
    num_speakers: int | None = None,
    min_speakers: int = 1,
    max_speakers: int | None = None,
    min_windows: int = 1,
) -> LabelledWindows:
    """Cluster the windows of a recording into speakers; overlapping windows are split halfway.

    Args:
        windows: from `read_embedded_windows`.
        clusterer: from `sdpn.clustering.registry.make_clusterer`.
        num_speakers: exact number of speakers; overrides the bounds.
        min_speakers: minimum number of speakers.
        max_speakers: maximum number of speakers.
        min_windows: speakers with fewer windows are merged into the most similar other one.

    Raises:
        InputError: the recording cannot satisfy the number of speakers.
    """
    clustering = clusterer.fit_predict(
        windows.emb_ND,
        times_N2=windows.times_N2,
        num_speakers=num_speakers,
        min_speakers=min_speakers,
        max_speakers=max_speakers,
    )
    labels_N = clustering.labels_N
    if min_windows > 1:
        labels_N = without_minor(labels_N, cosine(windows.emb_ND), min_windows=min_windows, low=min_speakers)
    speech, places = windows_at(windows.times_N2)
    turns = [
        Turn(windows.recording, span.start_s, span.end_s - span.start_s, f"speaker{span.label:02d}")
        for span in label_speech(speech, places, labels_N, max_pause_s=0.0)
    ]
    return LabelledWindows(
        turns=turns,
        num_speakers=int(labels_N.max()) + 1,
        speech_s=sum(segment.duration_s for segment in speech),
        count_posterior=clustering.likely_counts,
        unheard=clustering.unheard,
    )


@dataclass(frozen=True, kw_only=True)
class ClusteredRecording:
    """A recording whose turns were written.

    Attributes:
        recording: its id.
        rttm: the file.
        num_windows: how many windows were clustered.
        speech_s: what they cover, in seconds.
        num_speakers: speakers found.
        num_turns: their turns.
        seconds: time that it took.
        count_posterior: probabilities of numbers of speakers, before ``min_windows``; None if the clusterer
            gives none.
    """

    recording: str
    rttm: Path
    num_windows: int
    speech_s: float
    num_speakers: int
    num_turns: int
    seconds: float
    count_posterior: dict[int, float] | None = None


@dataclass(frozen=True, kw_only=True)
class ClusteredRecordings:
    """What `cluster_recordings` did.

    Attributes:
        files: the recordings in order.
        failures: why others could not be clustered.
    """

    files: list[ClusteredRecording]
    failures: list[InputError]

    def raise_failures(self, *, path: Path) -> None:
        """Raise one error for all failures, if there are any, that names the file ``path``."""
        if self.failures:
            first, *others = self.failures
            more = f" (and {len(others)} more recordings failed)" if others else ""
            raise InputError(first.message + more, path=path, hint=first.hint)


def cluster_recordings(
    recordings: Sequence[EmbeddedWindows],
    out: Path,
    clusterer: Clusterer,
    *,
    num_speakers: int | None = None,
    min_speakers: int = 1,
    max_speakers: int | None = None,
    min_windows: int = 1,
    progress: Callable[[Sequence[EmbeddedWindows]], Iterable[EmbeddedWindows]] = iter,
) -> ClusteredRecordings:
    """Find the speakers of recordings and write ``OUT/<recording>.rttm``; one that fails stops no other.

    Args:
        recordings: from `read_embedded_windows`.
        out: folder for the RTTM files.
        clusterer: from `sdpn.clustering.registry.make_clusterer`.
        num_speakers: see `cluster_windows`, as for the next three.
        min_speakers: at least that many.
        max_speakers: at most that many.
        min_windows: fewest windows of a speaker.
        progress: yields the recordings, and may show the progress.

    Raises:
        InputError: a file cannot be written.
    """
    files: list[ClusteredRecording] = []
    failures: list[InputError] = []
    for windows in progress(recordings):
        started = time.perf_counter()
        try:
            found = cluster_windows(
                windows,
                clusterer,
                num_speakers=num_speakers,
                min_speakers=min_speakers,
                max_speakers=max_speakers,
                min_windows=min_windows,
            )
        except InputError as error:
            failures.append(InputError(f"recording {windows.recording!r}: {error.message}", hint=error.hint))
            continue
        if found.unheard:
            _log.warning("%s: %s", windows.recording, unheard_warning(found.unheard, found.num_speakers))
        rttm = out / f"{windows.recording}.rttm"
        write_rttm(rttm, windows.recording, found.turns)
        files.append(
            ClusteredRecording(
                recording=windows.recording,
                rttm=rttm,
                num_windows=len(windows.emb_ND),
                speech_s=found.speech_s,
                num_speakers=found.num_speakers,
                num_turns=len(found.turns),
                seconds=time.perf_counter() - started,
                count_posterior=found.count_posterior,
            )
        )
    return ClusteredRecordings(files=files, failures=failures)


def _recordings(path: Path) -> dict[str, list[RecordingSegment]]:
    """The windows of each recording in chronological order."""
    recordings: dict[str, list[RecordingSegment]] = {}
    for window in read_segments(path):
        if window.end_s is None:
            raise InputError(
                f"window {window.id!r} has no end time",
                path=path,
                hint="expected an end time in seconds, not -1",
            )
        recordings.setdefault(window.recording, []).append(window)
    for recording, windows in recordings.items():
        if not is_file_name(recording):
            raise InputError(f"recording {recording!r} is not a valid file name", path=path)
        windows.sort(key=lambda window: (window.start_s, window.end_s))
        ends_N = np.array([window.end_s for window in windows])
        if (np.diff(ends_N) < 0).any():
            inner = int(np.argmax(np.diff(ends_N) < 0))
            raise InputError(
                f"window {windows[inner + 1].id!r} lies within {windows[inner].id!r}",
                path=path,
                hint="no window may lie within another",
            )
    return recordings


def _check_ids(
    recordings: Mapping[str, Sequence[RecordingSegment]],
    vectors: Mapping[str, np.ndarray],
    embeddings: Path,
    segments: Path,
) -> None:
    """Every window needs an embedding, and every embedding a window."""
    windows = {window.id for of_one in recordings.values() for window in of_one}
    for missing, of, path in (
        (windows - vectors.keys(), embeddings, segments),
        (vectors.keys() - windows, segments, embeddings),
    ):
        if missing:
            others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise InputError(f"utterance {min(missing)!r}{others} is not in {of}", path=path)


def _rows(
    vectors: Mapping[str, np.ndarray], transform: Transform | None, plda: Plda | None, path: Path
) -> np.ndarray:
    """All embeddings, transformed, as one matrix (N, D)."""
    for key, vector in vectors.items():
        if not vector.any():
            raise InputError(f"the vector of {key!r} is all zeros and has no direction", path=path)
    rows_ND = np.stack(list(vectors.values()))
    try:
        if transform is not None:
            rows_ND = transform(rows_ND)
        if plda is not None:
            plda.project(rows_ND[:1])  # fails early if the dimension is wrong
    except InputError as error:
        raise InputError(error.message, path=path, hint=error.hint) from None
    return rows_ND
