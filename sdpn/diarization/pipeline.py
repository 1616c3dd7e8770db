"""The diarization pipeline: recording -> speech -> windows -> embeddings -> speakers -> turns.

Shapes: S samples, N windows, D embedding dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sdpn.clustering.contract import Clusterer, check_counts
from sdpn.clustering.registry import make_clusterer
from sdpn.diarization.speech import Segment, union
from sdpn.diarization.timeline import label_speech
from sdpn.diarization.vad import VadConfig, detect_speech
from sdpn.diarization.windows import Windows, sliding_windows
from sdpn.errors import InputError
from sdpn.io import audio as audio_io

if TYPE_CHECKING:
    from pyannote.core import Annotation

#: A file, or samples (S,) or (S, channels) with their rate in Hz.
Audio = str | os.PathLike[str] | tuple[np.ndarray, int]


class Embedder(Protocol):
    """What the pipeline needs of a model."""

    @property
    def calibration(self) -> Mapping[str, float]:
        """Settings that depend on the model, such as ``ahc_threshold``; may be empty."""
        ...

    def embed_windows(self, wave_S: np.ndarray, windows_N2: np.ndarray) -> np.ndarray:
        """Embed windows (N, 2) in seconds of a 16 kHz mono float32 wave: (N, D)."""
        ...


@dataclass(frozen=True, kw_only=True)
class DiarizationConfig:
    """Settings of the whole pipeline.

    Attributes:
        vad: when a stretch counts as speech. Whoever annotates a conversation hears more speech than the
            detector's own defaults find in a room: on simulated conversations of training speakers in
            measured rooms with noise these missed 26 % and added 1 %, the ones here 17 % and 3 %.
        window_s: longest window that one embedding is computed from.
        hop_s: from one window to the next; at most ``window_s``.
        min_window_s: shorter speech borrows context up to this.
        max_pause_s: a pause up to this within the speech of one speaker belongs to the turn. The default is
            the shortest pause that ended an utterance in NIST's Rich Transcription evaluations.
        method: name of the clusterer, see `sdpn.clustering.registry`. VBx with its published settings was
            the best on simulated conversations of training speakers that the model had not seen (40 of them,
            40 and 180 s, turns as in VoxConverse): mean DER at ±0.25 s without overlap 13.3 %, spectral
            13.8 %, AHC at the model's threshold 17.6 %.
        settings: fields of the clusterer that differ from what `calibrated_clusterer` chooses.
    """

    vad: VadConfig = field(default_factory=lambda: VadConfig(threshold=0.3, min_silence_s=0.3, pad_s=0.1))
    window_s: float = 1.5
    hop_s: float = 0.75
    min_window_s: float = 0.5
    max_pause_s: float = 0.3
    method: str = "vbx"
    settings: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 < self.hop_s <= self.window_s < float("inf"):
            raise ValueError(
                f"hop_s is {self.hop_s} and window_s {self.window_s}; expected 0 < hop_s <= window_s"
            )
        if not 0.0 <= self.min_window_s <= self.window_s:
            raise ValueError(f"min_window_s is {self.min_window_s}; expected 0 to window_s ({self.window_s})")
        if not 0.0 <= self.max_pause_s < float("inf"):
            raise ValueError(f"max_pause_s is {self.max_pause_s}; expected seconds, at least 0")


@dataclass(frozen=True, kw_only=True)
class EmbeddedRecording:
    """Everything about a recording that does not depend on the clustering.

    Attributes:
        recording: its name, the ``uri`` of its annotations.
        path: the file, if it came from one.
        duration_s: its length in seconds.
        speech: segments of speech, in order of time.
        max_pause_s: a pause up to this within one speaker's speech belongs to the turn.
        windows: windows over the speech.
        emb_ND: one embedding per window.
    """

    recording: str
    path: Path | None
    duration_s: float
    speech: list[Segment]
    max_pause_s: float
    windows: Windows
    emb_ND: np.ndarray


class Diarizer:
    """Finds out who spoke when.

    >>> diarizer = Diarizer(sdpn.load_model("exp/mini/model"))
    >>> annotation = diarizer("meeting.wav", max_speakers=6)
    >>> for segment, _, speaker in annotation.itertracks(yield_label=True):
    ...     print(f"{segment.start:.2f} {segment.end:.2f} {speaker}")

    Args:
        model: from `sdpn.load_model`, or anything else with ``embed_windows`` and ``calibration``.
        config: None takes the defaults.

    Raises:
        InputError: an unknown clusterer or setting.
    """

    def __init__(self, model: Embedder, *, config: DiarizationConfig | None = None) -> None:
        self.model = model
        self.config = config or DiarizationConfig()
        self.clusterer = calibrated_clusterer(self.config.method, self.config.settings, model.calibration)

    def __call__(
        self,
        audio: Audio,
        *,
        num_speakers: int | None = None,
        min_speakers: int = 1,
        max_speakers: int | None = None,
        speech: Sequence[tuple[float, float]] | None = None,
    ) -> Annotation:
        """Diarize one recording.

        Args:
            audio: a file, or (samples, rate in Hz); any rate and number of channels.
            num_speakers: exactly that many speakers; overrules the bounds.
            min_speakers: at least that many.
            max_speakers: at most that many.
            speech: (start, end) in seconds, to be used instead of voice activity detection.

        Returns:
            turns of ``speaker00``, ``speaker01``, ... numbered by first appearance, without overlap; the
            ``uri`` is the file's stem. Empty if nobody speaks.

        Raises:
            InputError: audio that cannot be read, or counts that this recording cannot satisfy.
        """
        check_counts(num_speakers=num_speakers, min_speakers=min_speakers, max_speakers=max_speakers)
        return self.label(
            self.embed(audio, speech=speech),
            num_speakers=num_speakers,
            min_speakers=min_speakers,
            max_speakers=max_speakers,
        )

    def embed(
        self, audio: Audio, *, speech: Sequence[tuple[float, float]] | None = None
    ) -> EmbeddedRecording:
        """Do the part that costs time: read, find the speech, embed its windows.

        The result goes to `label`, or to `annotate` with as many clusterers as there are to try.

        Args:
            audio: as in `__call__`.
            speech: as in `__call__`.

        Raises:
            InputError: audio that cannot be read.
        """
        path = None if isinstance(audio, tuple) else Path(audio)
        wave_S = _samples(*audio) if isinstance(audio, tuple) else audio_io.read(audio)
        duration_s = len(wave_S) / audio_io.RATE_HZ
        if speech is None:
            segments = detect_speech(wave_S, self.config.vad)
        else:
            segments = union(speech, duration_s=duration_s)
        windows = sliding_windows(
            segments,
            window_s=self.config.window_s,
            hop_s=self.config.hop_s,
            min_window_s=self.config.min_window_s,
            duration_s=duration_s,
        )
        if segments:
            emb_ND = self.model.embed_windows(wave_S, windows.times_N2)
        else:
            emb_ND = np.zeros((0, 0), dtype=np.float32)
        return EmbeddedRecording(
            recording="audio" if path is None else path.stem,
            path=path,
            duration_s=duration_s,
            speech=segments,
            # speech that was given is meant literally, its pauses included
            max_pause_s=self.config.max_pause_s if speech is None else 0.0,
            windows=windows,
            emb_ND=emb_ND,
        )

    def label(
        self,
        embedded: EmbeddedRecording,
        *,
        num_speakers: int | None = None,
        min_speakers: int = 1,
        max_speakers: int | None = None,
    ) -> Annotation:
        """Do the rest: cluster what `embed` returned; arguments and result are those of `__call__`."""
        return annotate(
            embedded,
            self.clusterer,
            num_speakers=num_speakers,
            min_speakers=min_speakers,
            max_speakers=max_speakers,
        )


def annotate(
    embedded: EmbeddedRecording,
    clusterer: Clusterer,
    *,
    num_speakers: int | None = None,
    min_speakers: int = 1,
    max_speakers: int | None = None,
) -> Annotation:
    """Cluster the windows of a recording and write the outcome on its timeline.

    Args:
        embedded: from `Diarizer.embed`.
        clusterer: any clusterer.
        num_speakers: as in `Diarizer.__call__`, and so are the bounds.
        min_speakers: see there.
        max_speakers: see there.

    Raises:
        InputError: counts that this recording cannot satisfy.
    """
    from pyannote.core import Annotation
    from pyannote.core import Segment as Turn

    annotation = Annotation(uri=embedded.recording)
    if not embedded.speech:  # then no count of speakers can be wrong
        return annotation
    try:
        clustering = clusterer.fit_predict(
            embedded.emb_ND,
            times_N2=embedded.windows.times_N2,
            num_speakers=num_speakers,
            min_speakers=min_speakers,
            max_speakers=max_speakers,
        )
    except InputError as error:  # a clusterer knows rows, not files
        raise InputError(error.message, path=embedded.path, hint=error.hint) from error
    spans = label_speech(
        embedded.speech, embedded.windows, clustering.labels_N, max_pause_s=embedded.max_pause_s
    )
    for track, span in enumerate(spans):
        annotation[Turn(span.start_s, span.end_s), track] = f"speaker{span.label:02d}"
    return annotation


def calibrated_clusterer(
    method: str, settings: Mapping[str, object], calibration: Mapping[str, float]
) -> Clusterer:
    """Build a clusterer from explicit settings, then the model's calibration, then its defaults.

    The calibration may hold ``ahc_threshold``. VBx starts from AHC too, but finds that threshold in the
    recording, as published: on unseen speakers this was better, for their similarities are their own.

    Raises:
        InputError: no such clusterer or setting.
    """
    calibrated: dict[str, object] = {}
    if method == "ahc" and "ahc_threshold" in calibration:
        calibrated["threshold"] = calibration["ahc_threshold"]
    return make_clusterer(method, {**calibrated, **settings})


def _samples(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Check samples that come from Python, and bring them to 16 kHz mono float32."""
    if samples.ndim not in (1, 2) or len(samples) == 0 or rate_hz <= 0:
        raise InputError(
            f"audio of shape {samples.shape} at {rate_hz} Hz; expected (samples,) or (samples, channels)"
        )
    if not np.issubdtype(samples.dtype, np.floating):
        raise InputError(f"audio samples are {samples.dtype}; expected floats in [-1, 1]")
    if not np.isfinite(samples).all():
        raise InputError("the audio holds NaN or infinite samples")
    mono = samples.astype(np.float32, copy=False)
    return audio_io.resample(mono if mono.ndim == 1 else mono.mean(axis=1), rate_hz, audio_io.RATE_HZ)
