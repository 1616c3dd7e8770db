"""The diarization pipeline: recording -> speech -> windows -> embeddings -> speakers -> turns.

Shapes: S samples, N windows, D embedding dimensions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from sdpn.clustering.base import Clusterer, check_counts
from sdpn.clustering.one_voice import COSINES, known_cosines
from sdpn.clustering.registry import make_clusterer
from sdpn.diarization.confidence import turn_confidence, turn_features
from sdpn.diarization.embedded import EmbeddedRecording
from sdpn.diarization.embedding import EmbedsWindows, WindowEmbedder
from sdpn.diarization.forecast import DerForecast, forecast_der
from sdpn.diarization.given_speech import GivenSpeech
from sdpn.diarization.level import Levelled, frame_levels, levelled
from sdpn.diarization.local_speech import (
    LocalSegmentation,
    SegmentationConfig,
    SegmentsSpeech,
)
from sdpn.diarization.overlap import (
    OverlappingTurns,
    overlapping_turns,
    windows_to_cluster,
    with_others,
)
from sdpn.diarization.segmented_speech import SegmentedSpeech
from sdpn.diarization.speech import Segment
from sdpn.diarization.timeline import LabelledSpan, label_speech
from sdpn.diarization.vad import SpeechDetector, VadConfig, network_of
from sdpn.diarization.windows import WindowPlanner, Windows, concatenate_windows
from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ, Audio, Channel, open_audio

if TYPE_CHECKING:
    from pyannote.core import Annotation

#: Called with the seconds of audio processed and in total; None if the length is not known yet.
Progress = Callable[[float, "float | None"], None]


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """Settings of the pipeline up to the windows' embeddings, and of the turns at its end.

    Attributes:
        vad: settings of voice activity detection. The detector's own defaults find less speech than
            annotators mark in rooms: on simulated conversations of training speakers in measured rooms with
            noise they gave 26 % missed speech and 1 % false alarms, the defaults here 17 % and 3 %.
        window_s: maximum length of the window for one embedding.
        hop_s: hop from one window to the next; at most ``window_s``.
        min_window_s: minimum window; shorter speech is extended with context to this length.
        max_pause_s: longest pause within a turn. The default is the shortest pause that ended an utterance in
            NIST's Rich Transcription evaluations.
        segmentation: settings of the local segmentation, if there is a network.
    """

    vad: VadConfig = field(default_factory=lambda: VadConfig(threshold=0.3, min_silence_s=0.3, pad_s=0.1))
    window_s: float = 1.5
    hop_s: float = 0.75
    min_window_s: float = 0.5
    max_pause_s: float = 0.3
    segmentation: SegmentationConfig = field(default_factory=SegmentationConfig)

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
class DiarizationConfig(PipelineConfig):
    """Settings of the whole pipeline.

    Attributes:
        method: name of the clusterer, see `sdpn.clustering.registry`. ``merging`` was best on conversations
            of training speakers, of half a minute to an hour, for a weak and a strong embedding
            (docs/clustering.md).
        settings: fields of the clusterer that differ from what `calibrated_clusterer` chooses.
    """

    method: str = "merging"
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LabelledRecording:
    """Who spoke when, and how sure the number of speakers is.

    Attributes:
        annotation: the turns; with a segmentation network they overlap where two speak.
        exclusive: the same with one speaker at a time.
        count_posterior: probabilities of numbers of speakers, those of at least 0.001; None if the clusterer
            gives none, or there was nothing to decide.
        confidence: probability that a turn is right (`sdpn.diarization.confidence`), by its track in
            ``annotation``.
        exclusive_confidence: the same of ``exclusive``.
        forecast: the DER to expect; None without speech.
        unheard: how many of the speakers have a single window, and only since so many were required.
    """

    annotation: Annotation
    exclusive: Annotation
    count_posterior: dict[int, float] | None
    confidence: dict[int, float] = field(default_factory=dict)
    exclusive_confidence: dict[int, float] = field(default_factory=dict)
    forecast: DerForecast | None = None
    unheard: int = 0

    def _repr_html_(self) -> str:
        """The turns as a timeline, in a notebook."""
        return str(self.annotation._repr_html_())


class Diarizer:
    """Speaker diarization: who spoke when.

    >>> diarizer = Diarizer(sdpn.load_model("exp/mini/model"))
    >>> annotation = diarizer("meeting.wav", max_speakers=6)
    >>> for segment, _, speaker in annotation.itertracks(yield_label=True):
    ...     print(f"{segment.start:.2f} {segment.end:.2f} {speaker}")

    Args:
        model: from `sdpn.load_model`, or anything else with ``embed_windows`` and ``calibration``.
        config: None takes the defaults.
        segmentation: from `sdpn.load_segmentation`, for turns that overlap where two speak; None for one
            speaker at a time.

    Raises:
        InputError: an unknown clusterer or setting.
    """

    def __init__(
        self,
        model: EmbedsWindows,
        *,
        config: DiarizationConfig | None = None,
        segmentation: SegmentsSpeech | None = None,
    ) -> None:
        self.model = model
        self.segmentation = segmentation
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
        channel: Channel | Literal["separate"] = None,
        exclusive: bool = False,
    ) -> Annotation:
        """Diarize one recording.

        Args:
            audio: a file, (samples, rate in Hz) or anything else that `sdpn.io.audio.open_audio` takes; any
                rate and number of channels.
            num_speakers: exact number of speakers; overrides the bounds.
            min_speakers: minimum number of speakers.
            max_speakers: maximum number of speakers.
            speech: (start, end) in seconds, used instead of voice activity detection.
            channel: channel to read, counted from 0; None and "mix" average all; with "separate" each has its
                own speakers, to which the counts apply, as in telephone calls.
            exclusive: one speaker at a time, also with a segmentation network.

        Returns:
            turns of ``speaker00``, ``speaker01``, ... numbered by first appearance (channel after channel);
            within a channel they overlap only with a segmentation network. The ``uri`` is the file's stem.
            Empty without speech.

        Raises:
            InputError: the audio cannot be read, or cannot satisfy the number of speakers.
        """
        check_counts(num_speakers=num_speakers, min_speakers=min_speakers, max_speakers=max_speakers)
        if channel == "separate":
            embedded = self.embed_channels(audio, speech=speech)
        else:
            embedded = [self.embed(audio, speech=speech, channel=channel)]
        labelled = self.label_with_counts(
            embedded, num_speakers=num_speakers, min_speakers=min_speakers, max_speakers=max_speakers
        )
        return together([one.exclusive if exclusive else one.annotation for one in labelled])

    def embed(
        self,
        audio: Audio,
        *,
        speech: Sequence[tuple[float, float]] | None = None,
        channel: Channel = None,
        keep_truncated: bool = False,
        progress: Progress | None = None,
    ) -> EmbeddedRecording:
        """Run the expensive part: read, detect speech, embed its windows.

        The recording is read once, from start to end, keeping at most a few minutes of samples in memory.
        Pass the result to `label`, or to `label_recording` with any number of clusterers.

        Args:
            audio: as in `__call__`.
            speech: as in `__call__`.
            channel: as in `__call__`, but for "separate".
            keep_truncated: read a truncated file as far as it goes, with a warning.
            progress: called with the seconds of audio processed and in total.

        Raises:
            InputError: audio that cannot be read.
        """
        with open_audio(audio, channel=channel, keep_truncated=keep_truncated) as stream:
            streaming = self._streaming(speech)
            for piece in levelled(stream.blocks()):
                streaming.push(piece)
                if progress is not None:
                    progress(streaming.read_s, stream.expected_s)
            number = channel if isinstance(channel, int) else None
            return streaming.finish(recording=stream.name, path=stream.path, channel=number)

    def embed_channels(
        self,
        audio: Audio,
        *,
        speech: Sequence[tuple[float, float]] | None = None,
        keep_truncated: bool = False,
        progress: Progress | None = None,
    ) -> list[EmbeddedRecording]:
        """As `embed`, for each channel separately; reads the file once."""
        with open_audio(audio, keep_truncated=keep_truncated) as stream:
            each = [self._streaming(speech) for _ in range(stream.num_channels)]
            copies = itertools.tee(stream.channel_blocks(), len(each))  # read in step: none gets ahead

            def single(blocks: Iterator[tuple[np.ndarray, ...]], number: int) -> Iterator[np.ndarray]:
                return (block[number] for block in blocks)

            channels = [levelled(single(copy, number)) for number, copy in enumerate(copies)]
            for pieces in zip(*channels, strict=True):
                for streaming, piece in zip(each, pieces, strict=True):
                    streaming.push(piece)
                if progress is not None:
                    progress(each[0].read_s, stream.expected_s)
            return [
                streaming.finish(recording=stream.name, path=stream.path, channel=number)
                for number, streaming in enumerate(each)
            ]

    def _streaming(self, speech: Sequence[tuple[float, float]] | None) -> _Stream:
        local = None
        if self.segmentation is not None:
            local = LocalSegmentation(self.segmentation, self.config.segmentation)
        source: SpeechDetector | SegmentedSpeech | GivenSpeech
        if speech is not None:
            source = GivenSpeech(speech)
        elif local is None or self.config.segmentation.speech == "detector":
            source = SpeechDetector(self.config.vad, network=network_of(self.model))
        else:
            source = SegmentedSpeech(self.config.vad, self.config.segmentation, local, network_of(self.model))
        # given speech is used literally, including its pauses
        max_pause_s = self.config.max_pause_s if speech is None else 0.0
        planner = WindowPlanner(
            window_s=self.config.window_s, hop_s=self.config.hop_s, min_window_s=self.config.min_window_s
        )
        return _Stream(
            source, planner, WindowEmbedder(self.model), max_pause_s, local, self.config.segmentation
        )

    def label(
        self,
        embedded: EmbeddedRecording,
        *,
        num_speakers: int | None = None,
        min_speakers: int = 1,
        max_speakers: int | None = None,
    ) -> Annotation:
        """Cluster the result of `embed`; arguments and result are those of `__call__`."""
        return self.label_with_counts(
            [embedded], num_speakers=num_speakers, min_speakers=min_speakers, max_speakers=max_speakers
        )[0].annotation

    def label_channels(
        self,
        channels: Sequence[EmbeddedRecording],
        *,
        num_speakers: int | None = None,
        min_speakers: int = 1,
        max_speakers: int | None = None,
    ) -> list[Annotation]:
        """Cluster the result of `embed_channels`, each channel separately, with distinct speaker labels."""
        labelled = self.label_with_counts(
            channels, num_speakers=num_speakers, min_speakers=min_speakers, max_speakers=max_speakers
        )
        return [each.annotation for each in labelled]

    def label_with_counts(
        self,
        channels: Sequence[EmbeddedRecording],
        *,
        num_speakers: int | None = None,
        min_speakers: int = 1,
        max_speakers: int | None = None,
    ) -> list[LabelledRecording]:
        """As `label_channels`, with the posterior of the number of speakers.

        >>> embedded = diarizer.embed("meeting.wav")
        >>> (labelled,) = diarizer.label_with_counts([embedded])
        >>> labelled.count_posterior
        {3: 0.21, 4: 0.68, 5: 0.11}
        """
        done: list[LabelledRecording] = []
        for embedded in channels:
            done.append(
                label_recording(
                    embedded,
                    self.clusterer,
                    num_speakers=num_speakers,
                    min_speakers=min_speakers,
                    max_speakers=max_speakers,
                    first=sum(len(each.annotation.labels()) for each in done),
                )
            )
        return done


class _Stream:
    """Streaming state of a recording, or of one of its channels."""

    def __init__(
        self,
        source: SpeechDetector | SegmentedSpeech | GivenSpeech,
        planner: WindowPlanner,
        embedder: WindowEmbedder,
        max_pause_s: float,
        local: LocalSegmentation | None,
        segmentation: SegmentationConfig,
    ) -> None:
        self._source, self._planner, self._embedder = source, planner, embedder
        self._max_pause_s, self._local, self._segmentation = max_pause_s, local, segmentation
        self._num_samples = 0
        self._speech: list[Segment] = []
        self._windows: list[Windows] = []
        self._levels: list[np.ndarray] = []

    @property
    def read_s(self) -> float:
        """Duration read so far, in seconds."""
        return self._num_samples / RATE_HZ

    def push(self, piece: Levelled) -> None:
        """Take the next chunk."""
        self._num_samples += len(piece.wave_S)
        self._levels.append(frame_levels(piece.rms_T))
        if self._local is not None:
            self._local.push(piece.wave_S)
        windows = self._plan(self._source.push(piece), self._source.growing)
        self._embedder.push(
            piece.wave_S, windows.times_N2, self._source.undecided_from_s - self._planner.reach_s
        )

    def finish(self, *, recording: str, path: Path | None, channel: int | None) -> EmbeddedRecording:
        """End the recording."""
        local = None if self._local is None else self._local.finish()
        emb_ND = self._embedder.finish(self._plan(self._source.finish(), None).times_N2)
        windows = concatenate_windows(self._windows)
        windows.times_N2[:, 1] = np.minimum(windows.times_N2[:, 1], self.read_s)
        return EmbeddedRecording(
            recording=recording,
            path=path,
            channel=channel,
            duration_s=self.read_s,
            speech=self._speech,
            max_pause_s=self._max_pause_s,
            windows=windows,
            emb_ND=emb_ND,
            local=local,
            segmentation=self._segmentation,
            level_db_T=np.concatenate([np.zeros(0, dtype=np.int8), *self._levels]),
        )

    def _plan(self, finished: list[Segment], growing: Segment | None) -> Windows:
        self._speech += finished
        windows = self._planner.push(finished, growing)
        self._windows.append(windows)
        return windows


def label_recording(
    embedded: EmbeddedRecording,
    clusterer: Clusterer,
    *,
    num_speakers: int | None = None,
    min_speakers: int = 1,
    max_speakers: int | None = None,
    first: int = 0,
) -> LabelledRecording:
    """Cluster the windows of a recording and map the labels back to time.

    Args:
        embedded: from `Diarizer.embed`.
        clusterer: any clusterer.
        num_speakers: see `Diarizer.__call__`.
        min_speakers: see `Diarizer.__call__`.
        max_speakers: see `Diarizer.__call__`.
        first: number of the first speaker.

    Raises:
        InputError: counts that this recording cannot satisfy.
    """
    if not embedded.speech:  # without speech, any number of speakers is satisfied
        return LabelledRecording(
            annotation=_annotation(embedded, [], []),
            exclusive=_annotation(embedded, [], []),
            count_posterior=None,
        )
    chosen_N = np.ones(len(embedded.emb_ND), dtype=bool)
    if embedded.local is not None:
        chosen_N = windows_to_cluster(
            embedded.local,
            embedded.windows.times_N2,
            embedded.segmentation,
            duration_s=embedded.duration_s,
            at_least=max(num_speakers or 1, min_speakers),
        )
    try:
        clustering = clusterer.fit_predict(
            embedded.emb_ND[chosen_N],
            times_N2=embedded.windows.times_N2[chosen_N],
            num_speakers=num_speakers,
            min_speakers=min_speakers,
            max_speakers=max_speakers,
        )
    except InputError as error:  # clusterers do not know the file
        raise InputError(error.message, path=embedded.path, hint=error.hint) from error
    return labelled_by(
        embedded,
        with_others(embedded.emb_ND, chosen_N, clustering.labels_N),
        counts=clustering.likely_counts,
        unheard=clustering.unheard,
        first=first,
    )


def labelled_by(
    embedded: EmbeddedRecording,
    labels_N: np.ndarray,
    *,
    counts: dict[int, float] | None,
    unheard: int = 0,
    first: int = 0,
    names: Sequence[str] | None = None,
) -> LabelledRecording:
    """The turns of a recording whose windows have speakers.

    Args:
        embedded: from `Diarizer.embed`, with speech.
        labels_N: speaker of each window, from 0.
        counts: probabilities of numbers of speakers, if they are known.
        unheard: see `LabelledRecording`.
        first: number of the first speaker.
        names: of the speakers, by their label; None numbers them.
    """
    found = _turns(embedded, labels_N)
    if names is None:
        called = [f"speaker{first + number:02d}" for number in range(int(found.labels_N.max()) + 1)]
    else:
        used, where = np.unique(found.labels_N, return_index=True)
        of_number = dict(zip(used.tolist(), (names[label] for label in labels_N[where]), strict=True))
        called = [of_number[number] for number in range(len(used))]
    features_SF = turn_features(embedded, found.labels_N, found.exclusive, counts)
    sure = exclusive_sure = turn_confidence(features_SF)
    if found.turns is not found.exclusive:
        sure = turn_confidence(turn_features(embedded, found.labels_N, found.turns, counts))
    forecast = None
    if found.exclusive:
        forecast = forecast_der(embedded, found.exclusive, features_SF, exclusive_sure, counts)
    return LabelledRecording(
        annotation=_annotation(embedded, found.turns, called),
        exclusive=_annotation(embedded, found.exclusive, called),
        count_posterior=counts,
        confidence=dict(enumerate(sure)),
        exclusive_confidence=dict(enumerate(exclusive_sure)),
        forecast=forecast,
        unheard=unheard,
    )


def _turns(embedded: EmbeddedRecording, labels_N: np.ndarray) -> OverlappingTurns:
    if embedded.local is None:
        spans = label_speech(embedded.speech, embedded.windows, labels_N, max_pause_s=embedded.max_pause_s)
        return OverlappingTurns(spans, spans, labels_N)
    return overlapping_turns(
        embedded.local,
        embedded.speech,
        embedded.windows,
        labels_N,
        embedded.emb_ND,
        embedded.segmentation,
        duration_s=embedded.duration_s,
        max_pause_s=embedded.max_pause_s,
    )


def _annotation(
    embedded: EmbeddedRecording, spans: Sequence[LabelledSpan], names: Sequence[str]
) -> Annotation:
    """Spans in pyannote's type, with the names of the speakers by their label."""
    from pyannote.core import Segment as Turn

    from sdpn.io.annotation import ShownAnnotation

    annotation = ShownAnnotation(uri=embedded.recording)
    for track, span in enumerate(spans):
        annotation[Turn(span.start_s, span.end_s), track] = names[span.label]
    return annotation


def together(annotations: Sequence[Annotation]) -> Annotation:
    """Merge annotations of one recording, each turn on its own track."""
    from sdpn.io.annotation import ShownAnnotation

    merged = ShownAnnotation(uri=annotations[0].uri)
    turns = (turn for annotation in annotations for turn in annotation.itertracks(yield_label=True))
    for track, (segment, _, speaker) in enumerate(turns):
        merged[segment, track] = speaker
    return merged


def calibrated_clusterer(
    method: str, settings: Mapping[str, object], calibration: Mapping[str, float]
) -> Clusterer:
    """Build a clusterer from explicit settings, then the model's calibration, then its defaults.

    The calibration may hold ``ahc_threshold`` for AHC, and ``same_cosine`` and ``different_cosine`` for
    `sdpn.clustering.merging`. VBx is also initialised by AHC, but estimates the threshold from the recording,
    as published: this was better on unseen speakers, whose similarities differ.

    Raises:
        InputError: no such clusterer or setting.
    """
    calibrated: dict[str, object] = {}
    if method == "ahc" and "ahc_threshold" in calibration:
        calibrated["threshold"] = calibration["ahc_threshold"]
    if method == "merging" and not COSINES & settings.keys():
        calibrated |= known_cosines(calibration)
    return make_clusterer(method, {**calibrated, **settings})
