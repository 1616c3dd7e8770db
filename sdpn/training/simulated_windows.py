"""Windows of simulated conversations with known speakers: the training data of a segmentation network.

Each item of the sampler is an utterance, whose speaker takes part in the conversation. Everything is drawn
from a generator that is seeded by (run seed, epoch, utterance), so that neither a resumed run nor the number
of workers changes a sample. Conversations are planned as by `sdpn simulate`, longer than the window, and only
the window is mixed.

Rooms, noise and their strengths are those of the section ``augmentation``; its tilt, bands, clipping, codecs
and gain apply to the mixture, which has one channel.

Shapes: N utterances, S samples, T frames, L local speakers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from sdpn.augmentation.augment import AugmentationConfig, Augmenter
from sdpn.data.bad_files import BadFiles, Fault, TooManyBadFiles
from sdpn.data.sampler import Item, Mixture
from sdpn.diarization.local_speech import at_level
from sdpn.distill.segmentation import ClassedWindows, LocalSpeakersConfig, classes_of
from sdpn.errors import InputError
from sdpn.io.kaldi import Utterance, read_data_dir
from sdpn.io.recordings import Recordings
from sdpn.simulation.excerpt import excerpt
from sdpn.simulation.manifest import Conversation, Kind, SourceFile
from sdpn.simulation.mixing import mix_layers
from sdpn.simulation.simulate import SimulationConfig, Speech, draw_conversation
from sdpn.simulation.turn_statistics import TurnStatistics, voxconverse
from sdpn.training.clean_speech import CleanSpeech

#: Utterances of a speaker in a conversation.
_UTTERANCES = 3
#: What is planned before and after a window: seconds, and more for each speaker, who all get a turn.
_AROUND_S, _AROUND_SPEAKER_S = 6.0, 6.0
#: Samples before the window that are mixed for their reverberation.
_LEAD = 8000
#: Pauses of a speaker up to this are speech, in seconds.
_BRIDGED_S = 0.25
#: Memory for decoded noise, in MB.
_NOISE_MB = 256
#: Attempts to draw a window with readable speech.
_TRIES = 20


@dataclass(frozen=True)
class SpokenUtterances:
    """Utterances, who says them, and where their speech is.

    Attributes:
        utterances: the utterances (N), corpus by corpus.
        speaker_N: number of the speaker of each.
        speech: their phrases.
        sizes: utterances of each corpus.
    """

    utterances: Sequence[Utterance]
    speaker_N: np.ndarray
    speech: CleanSpeech
    sizes: tuple[int, ...]

    @cached_property
    def corpus_N(self) -> np.ndarray:
        """Number of the corpus of each utterance."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @cached_property
    def by_speaker(self) -> dict[int, np.ndarray]:
        """The utterances with speech of each speaker that has any."""
        usable = np.flatnonzero(self.speech.power_N > 0)
        order = usable[np.argsort(self.speaker_N[usable], kind="stable")]
        speakers, first = np.unique(self.speaker_N[order], return_index=True)
        return dict(zip(speakers.tolist(), np.split(order, first[1:]), strict=True))

    def split(self, share: float, least: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the utterances of training speakers, and of those kept for validation.

        Args:
            share: share of the speakers of each corpus to keep.
            least: speakers to keep, over all corpora.
            seed: random seed of the choice.

        Raises:
            InputError: there are too few speakers with speech.
        """
        speakers = np.array(sorted(self.by_speaker))
        if len(speakers) < 2 * least:
            raise InputError(
                f"the training data have {len(speakers)} speakers with speech; a segmentation network needs "
                f"{2 * least} at least, half of them for validation",
                hint="lower segmentation.max_cast, or give more --data",
            )
        rng = np.random.default_rng((seed, 5))
        corpus_of = self.corpus_N[[self.by_speaker[speaker][0] for speaker in speakers.tolist()]]
        held: list[int] = []
        for corpus in range(len(self.sizes)):
            own = rng.permutation(speakers[corpus_of == corpus])
            held += own[: round(share * len(own))].tolist()
        others = [speaker for speaker in rng.permutation(speakers).tolist() if speaker not in set(held)]
        held += others[: max(0, least - len(held))]
        kept_N = np.isin(self.speaker_N, held)
        return np.flatnonzero(~kept_N), np.flatnonzero(kept_N)


class SimulatedWindows(Dataset[tuple[np.ndarray, np.ndarray]]):
    """Windows of simulated conversations, by items (epoch, utterance).

    Args:
        spoken: all utterances.
        chosen: indices of those that may be used, ascending.
        config: the conversations.
        augmentation: rooms, noise and channels.
        seed: random seed.
        cache_mb: memory for decoded speech, in each loader process.
        weights: relative weight of each corpus, or empty.
        max_bad_share: maximum share of unreadable audio files.
        channel: channel of multichannel files; None averages them.

    Attributes:
        mixture: sizes and weights of the corpora.
        bad_files: bad files reported by all loader processes.

    Raises:
        InputError: rooms or noise cannot be read.
    """

    def __init__(
        self,
        spoken: SpokenUtterances,
        chosen: np.ndarray,
        config: LocalSpeakersConfig,
        augmentation: AugmentationConfig,
        *,
        seed: int,
        cache_mb: int,
        weights: tuple[float, ...] = (),
        max_bad_share: float = 0.01,
        channel: int | None = None,
    ) -> None:
        sizes = np.bincount(spoken.corpus_N[chosen], minlength=len(spoken.sizes))
        self.mixture = Mixture(tuple(sizes.tolist()), weights)
        self.bad_files = BadFiles(len(spoken.utterances), max_bad_share)
        self._met = BadFiles(len(spoken.utterances), max_bad_share)
        self._spoken = spoken
        self._chosen = chosen
        self._seed = seed
        self._config = config
        self._recordings = Recordings(spoken.utterances, cache_mb=cache_mb, channel=channel)
        usable = chosen[spoken.speech.power_N[chosen] > 0]
        self._usable = [usable[spoken.corpus_N[usable] == corpus] for corpus in range(len(sizes))]
        self._statistics = lively(voxconverse(), config)
        self._channel = Augmenter(_without_surroundings(augmentation))
        self._augmentation = augmentation
        self._sounds = _Sounds(augmentation)

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self._chosen)

    def __getitems__(self, items: Sequence[Item]) -> list[tuple[np.ndarray, np.ndarray, list[Fault]]]:
        """Windows (S,) float32 with their classes (T,) uint8, and bad files that were found.

        Raises:
            InputError: too many files cannot be read, or there is no speech at all.
        """
        return [self.window(epoch, index) for epoch, index in items]

    @staticmethod
    def collate(
        items: Sequence[tuple[np.ndarray, np.ndarray, list[Fault]]],
    ) -> tuple[ClassedWindows, list[Fault]]:
        """Stack windows to a batch; returns it with the bad files."""
        waves, classes, faults = zip(*items, strict=True)
        batch = ClassedWindows(
            torch.from_numpy(np.stack(waves)), torch.from_numpy(np.stack(classes).astype(np.int64))
        )
        return batch, [fault for own in faults for fault in own]

    def window(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray, list[Fault]]:
        """One window, see `__getitems__`."""
        faults: list[Fault] = []
        for attempt in range(_TRIES):
            rng = np.random.default_rng((self._seed, epoch, index, attempt))
            try:
                return *self._draw(rng, int(self._chosen[index])), faults
            except TooManyBadFiles:
                raise
            except InputError as error:  # another cast is drawn
                reason = error
                if error.path is not None:
                    faults.append(Fault(error.path, str(error)))
                    self._met.add(faults[-1:])
        raise InputError(f"no window can be drawn from the training data: {reason}")

    def _draw(self, rng: np.random.Generator, index: int) -> tuple[np.ndarray, np.ndarray]:
        config, network = self._config, self._config.network
        cast = self._cast(rng, index)
        around_s = _AROUND_S + _AROUND_SPEAKER_S * len(cast)
        noise = self._sounds.noise if rng.random() < self._augmentation.noise_probability else None
        in_room = bool(rng.random() < self._augmentation.room_probability)
        measured = self._sounds.rooms and rng.random() >= self._augmentation.simulated_room_share
        planned = draw_conversation(
            rng,
            SimulationConfig(
                num=1,
                seed=0,
                duration_s=config.window_s + around_s,
                max_speakers=max(2, len(cast)),
                level_spread_db=config.level_spread_db,
                room_decay_s=self._augmentation.room_decay_s,
                noise_snr_db=self._augmentation.noise_snr_db,
            ),
            self._statistics,
            cast,
            recording="",
            in_room=in_room,
            rooms=self._sounds.rooms if measured else None,
            noises=noise or None,
        )
        first = int(rng.integers(0, round(around_s * 16_000)))
        window = excerpt(planned, first - _LEAD, config.window_samples + _LEAD)
        if not window.phrases:  # a long pause
            first = planned.phrases[0].onset
            window = excerpt(planned, first - _LEAD, config.window_samples + _LEAD)
        if config.sparse_share and rng.random() < config.sparse_share:
            window = _sparse(window, rng)
        window = _of_most_talkative(window, network.num_speakers)
        speech, *noises = mix_layers(window, self._load, np.float32)
        active_TL = _active(window, network.num_speakers, network.hop_samples, network.window_samples)
        if rng.random() < config.silent_share:
            speech[:] = 0.0
            active_TL[:] = False
        wave = sum(noises, speech)[_LEAD:]
        channel = self._channel.draw(len(wave), rng, _no_babble)
        wave = self._channel.apply([_within_full_scale(wave)], [channel])[0]
        return at_level(wave), classes_of(active_TL, network.max_together).astype(np.uint8)

    def _cast(self, rng: np.random.Generator, index: int) -> dict[str, list[Speech]]:
        """Speakers with their speech; the first is that of an utterance, if it has any."""
        spoken, config = self._spoken, self._config
        wanted = int(rng.integers(1, config.max_cast + 1))
        corpus = int(spoken.corpus_N[index])
        speakers: dict[int, int] = {}
        if spoken.speech.power_N[index] > 0:
            speakers[int(spoken.speaker_N[index])] = index
        weights = np.array(self.mixture.weights or [len(each) for each in self._usable], dtype=np.float64)
        weights *= [len(each) > 0 for each in self._usable]
        if not weights.any():
            raise InputError("the training data have no speech")
        for _ in range(_TRIES * config.max_cast):
            if len(speakers) >= wanted:
                break
            chosen = corpus
            if rng.random() >= config.same_corpus or not len(self._usable[corpus]):
                chosen = int(rng.choice(len(weights), p=weights / weights.sum()))
            other = int(self._usable[chosen][rng.integers(len(self._usable[chosen]))])
            speakers.setdefault(int(spoken.speaker_N[other]), other)
        cast: dict[str, list[Speech]] = {}
        for speaker, utterance in speakers.items():
            own = spoken.by_speaker[speaker]
            more = rng.permutation(own[own != utterance])[: _UTTERANCES - 1]
            cast[str(speaker)] = [spoken.speech.of(each) for each in (utterance, *more.tolist())]
        return cast

    def _load(self, kind: Kind, source: SourceFile) -> np.ndarray:
        if kind != "utterance":
            return self._sounds.load(source)
        index = int(source.path)
        return self._recordings.read(index, 0, self._recordings.length(index))


class _Sounds:
    """Measured rooms and noises of data directories, grouped by the folder that they lie in."""

    def __init__(self, config: AugmentationConfig) -> None:
        self._entries: list[Utterance] = []
        self.rooms = self._groups(config.rir)
        self.noise = self._groups(config.noise)
        self._recordings = Recordings(self._entries, cache_mb=_NOISE_MB)

    def _groups(self, directory: Path | None) -> list[list[SourceFile]]:
        groups: dict[Path, list[SourceFile]] = {}
        for entry in [] if directory is None else read_data_dir(directory):
            groups.setdefault(entry.path.parent, []).append(SourceFile(str(len(self._entries)), ""))
            self._entries.append(entry)
        return list(groups.values())

    def load(self, source: SourceFile) -> np.ndarray:
        index = int(source.path)
        return self._recordings.read(index, 0, self._recordings.length(index))


def lively(statistics: TurnStatistics, config: LocalSpeakersConfig) -> TurnStatistics:
    """Turn statistics with the shorter turns and the overlap of a configuration."""
    profiles = tuple(
        replace(
            profile,
            mean_turn_s=profile.mean_turn_s * config.turn_share,
            overlap_probability=min(1.0, profile.overlap_probability * config.overlap_rate),
            interjections_per_min=profile.interjections_per_min * config.overlap_rate,
        )
        for profile in statistics.profiles
    )
    return replace(statistics, profiles=profiles)


def _without_surroundings(config: AugmentationConfig) -> AugmentationConfig:
    """Only what happens to a mixture on its way; rooms and noises are in the conversation."""
    return replace(
        config,
        noise=None,
        music=None,
        rir=None,
        combination=None,
        babble_probability=0.0,
        room_probability=0.0,
        speed_probability=0.0,
        erase_probability=0.0,
    )


def _no_babble(num_samples: int, _rng: np.random.Generator) -> np.ndarray:
    raise AssertionError(num_samples)


def _within_full_scale(wave_S: np.ndarray) -> np.ndarray:
    peak = float(np.abs(wave_S).max())
    return wave_S if peak <= 1.0 else wave_S * np.float32(1.0 / peak)


def _of_most_talkative(window: Conversation, num_speakers: int) -> Conversation:
    """A window with the speakers who say most, and no others."""
    spoken = np.zeros(len(window.speakers))
    speaker_of = [utterance.speaker for utterance in window.utterances]
    for phrase in window.phrases:
        spoken[speaker_of[phrase.utterance]] += phrase.end - phrase.start
    kept = np.argsort(-spoken, kind="stable")[:num_speakers]
    phrases = tuple(phrase for phrase in window.phrases if speaker_of[phrase.utterance] in kept)
    return replace(window, phrases=phrases)


def _sparse(window: Conversation, rng: np.random.Generator) -> Conversation:
    """A window with at most half of its phrases, and one at least."""
    share = rng.uniform(0.0, 0.5)
    kept = rng.random(len(window.phrases)) < share
    kept[rng.integers(len(kept))] = True
    return replace(
        window, phrases=tuple(each for each, stays in zip(window.phrases, kept, strict=True) if stays)
    )


def _active(window: Conversation, num_speakers: int, hop: int, frame: int) -> np.ndarray:
    """Who speaks at the centre of each frame behind the lead, (T, L) bool."""
    num_frames = max(0, (window.num_samples - _LEAD - frame) // hop + 1)
    active_TL = np.zeros((num_frames, num_speakers), dtype=bool)
    places: dict[int, int] = {}
    until: dict[int, int] = {}  # last frame of each speaker's speech so far
    for phrase in sorted(window.phrases, key=lambda each: each.onset):
        speaker = window.utterances[phrase.utterance].speaker
        first = phrase.onset - _LEAD
        start = max(0, -(-(first - frame // 2) // hop))
        end = -(-(first + phrase.end - phrase.start - frame // 2) // hop)
        if end <= 0 or start >= num_frames:
            continue
        place = places.setdefault(speaker, len(places))
        bridged = until.get(speaker, -num_frames) + _BRIDGED_S * 16_000 / hop >= start
        active_TL[max(0, until[speaker]) if bridged else start : end, place] = True
        until[speaker] = max(end, until.get(speaker, end))
    return active_TL
