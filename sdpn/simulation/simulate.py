"""Simulation of conversations from corpora with one folder per speaker, or from a manifest.

The speech in each clean utterance is detected before mixing and becomes the reference. Each conversation is
then planned (`sdpn.simulation.conversation`) as a line of the manifest, and mixed from that line alone
(`sdpn.simulation.mixing`). Each conversation has its own random generator and is mixed separately, so that
the number of processes has no effect.

Related simulators: Landini et al., "From Simulated Mixtures to Simulated Conversations as Training Data for
End-to-End Neural Diarization" (Interspeech 2022), and the multi-speaker simulator of NeMo (Park et al.,
2023).
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import soundfile

from sdpn.errors import InputError
from sdpn.io import audio
from sdpn.io.atomic import atomic_directory
from sdpn.io.audio import RATE_HZ
from sdpn.io.corpus import CorpusFile, find_speakers
from sdpn.io.rttm import write_rttms
from sdpn.io.uem import write_uem
from sdpn.simulation.conversation import Phrase, Spoken, converse
from sdpn.simulation.manifest import (
    Ambience,
    Conversation,
    Noise,
    PlacedPhrase,
    Sameness,
    SimulatedRoom,
    SourceFile,
    Speaker,
    SpeakerUtterance,
    file_digest,
    read_manifest,
    write_manifest,
)
from sdpn.simulation.mixing import mix
from sdpn.simulation.sketch import sketch
from sdpn.simulation.sources import Folders, check_sources, sources_by_folder
from sdpn.simulation.turn_statistics import TurnStatistics, estimate, voxconverse, write_statistics

logger = logging.getLogger(__name__)

#: Detects the speech of a recording (S,): (start, end) in seconds, in chronological order.
DetectSpeech = Callable[[np.ndarray], Iterable[tuple[float, float]]]

#: Phrases are split where the power over 30 ms falls this far below that of the phrase.
_DIP_DB = 20.0

#: Minimum length of a part after splitting, in seconds.
_LEAST_PHRASE_S = 0.25

#: Frame of the power measure, in samples (10 ms).
_FRAME = RATE_HZ // 100

#: Deviation of the level of a speaker's utterances, in dB.
_UTTERANCE_SPREAD_DB = 1.0

#: Signal-to-noise ratio of the ambience that lies over every conversation.
_AMBIENCE_SNR_DB = (30.0, 45.0)

#: Clips of noise in one conversation.
_NUM_CLIPS = 8

T = TypeVar("T")
R = TypeVar("R")


class OnProgress(Protocol):
    """Iterates over items and shows progress."""

    def __call__(self, items: Iterable[T], *, description: str, total: int) -> Iterable[T]: ...


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """Settings of a simulation.

    Attributes:
        num: number of conversations.
        seed: random seed.
        duration_s: duration of each.
        min_speakers: minimum number of speakers in a conversation.
        max_speakers: maximum; all numbers in the range occur equally often.
        level_db: range of a conversation's speech level, in dB below full scale.
        level_spread_db: standard deviation of the speakers' levels around it.
        room_share: share of conversations in a room; in the others, speakers are close to the microphone.
        room_decay_s: range of the reverberation time RT60 of simulated rooms.
        noise_share: share of conversations with recorded noise, those in a room first.
        noise_snr_db: range of its signal-to-noise ratio.
    """

    num: int
    seed: int
    duration_s: float = 180.0
    min_speakers: int = 2
    max_speakers: int = 6
    level_db: tuple[float, float] = (-32.0, -22.0)
    level_spread_db: float = 3.0
    room_share: float = 0.5
    room_decay_s: tuple[float, float] = (0.15, 0.6)
    noise_share: float = 0.5
    noise_snr_db: tuple[float, float] = (5.0, 20.0)

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: a number is out of its range.
        """
        for name, value, low, high in (
            ("the number of conversations", self.num, 1, 10**6),
            ("the seed", self.seed, 0, 2**63),
            ("the duration in seconds", self.duration_s, 1.0, 86400.0),
            ("the minimum number of speakers", self.min_speakers, 1, 100),
            ("the maximum number of speakers", self.max_speakers, self.min_speakers, 100),
            ("the spread of levels in dB", self.level_spread_db, 0.0, 20.0),
            ("the share of rooms", self.room_share, 0.0, 1.0),
            ("the share of noise", self.noise_share, 0.0, 1.0),
            ("the lower signal-to-noise ratio in dB", self.noise_snr_db[0], -40.0, 100.0),
            ("the upper signal-to-noise ratio in dB", self.noise_snr_db[1], self.noise_snr_db[0], 100.0),
        ):
            if not low <= value <= high:
                raise InputError(f"{name} is {value:g}; expected {low:g} to {high:g}")


class Speech(NamedTuple):
    """The speech of an utterance: its phrases and the power of their samples."""

    file: SourceFile
    phrases: tuple[tuple[int, int], ...]
    power: float


def silently(items: Iterable[T], *, description: str, total: int) -> Iterable[T]:  # noqa: ARG001
    """Show nothing: an `OnProgress`."""
    return items


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What `simulate` or `reproduce` has written.

    Attributes:
        conversations: in their order, with the hashes of their samples.
        compared: how the samples of each recording compare with the manifest's.
        statistics: their turn statistics; None if they have no turns.
        source: the turn statistics they were drawn from.
    """

    conversations: list[Conversation]
    compared: dict[str, Sameness]
    statistics: TurnStatistics | None
    source: TurnStatistics

    def those(self, sameness: Sameness) -> list[str]:
        """Recordings whose samples compare with the manifest's in this way."""
        return [name for name, found in self.compared.items() if found == sameness]

    @property
    def changed(self) -> list[str]:
        """Recordings whose samples differ from the manifest's by more than rounding."""
        return self.those("different")

    @property
    def hours(self) -> float:
        """Duration of all of them."""
        return sum(conversation.duration_s for conversation in self.conversations) / 3600

    @property
    def num_speakers(self) -> int:
        """Different speakers in all of them."""
        return len({speaker.id for conversation in self.conversations for speaker in conversation.speakers})


def simulate(
    config: SimulationConfig,
    folders: Folders,
    out: Path,
    detect_speech: DetectSpeech,
    *,
    statistics: TurnStatistics | None = None,
    jobs: int = 1,
    progress: OnProgress = silently,
) -> Simulated:
    """Simulate conversations with references, and write them as a folder.

    Args:
        config: what to draw.
        folders: the recordings to draw from.
        out: written as a whole, in place of an older simulation: ``<recording>.flac``, ``wav.scp``,
            ``reference.rttm``, ``reference.uem``, ``manifest.jsonl``, ``statistics.json``.
        detect_speech: finds the speech of a clean utterance, such as `sdpn.diarization.vad.detect_speech`; a
            function that another process can import.
        statistics: how turns are taken; None takes VoxConverse's.
        jobs: processes; their number changes nothing.
        progress: is shown the speakers and the conversations.

    Raises:
        InputError: ``out`` holds something else, or as `plan` and `render`.
    """
    _check_out(out)
    statistics = voxconverse() if statistics is None else statistics
    planned = plan(config, statistics, folders, detect_speech, jobs=jobs, progress=progress)
    return _write(planned, statistics, folders, out, jobs=jobs, progress=progress)


def reproduce(
    manifest: Path, folders: Folders, out: Path, *, jobs: int = 1, progress: OnProgress = silently
) -> Simulated:
    """Write the conversations of a manifest again.

    Args:
        manifest: ``manifest.jsonl`` of an earlier simulation.
        folders: where its recordings lie.
        out: as in `simulate`.
        jobs: processes.
        progress: is shown the conversations.

    Raises:
        InputError: ``out`` holds something else, the manifest cannot be read, or a recording is missing or
            has changed.
    """
    _check_out(out)
    planned = read_manifest(manifest)
    check_sources(planned, folders, manifest)
    return _write(planned, voxconverse(), folders, out, jobs=jobs, progress=progress)


def _check_out(out: Path) -> None:
    """What stands at ``out`` is replaced only where it is an older simulation."""
    if out.is_dir() and any(out.iterdir()) and not (out / "manifest.jsonl").is_file():
        raise InputError(
            "contains files other than a simulation, which would be lost",
            path=out,
            hint="choose a new folder",
        )


def _write(
    planned: Sequence[Conversation],
    source: TurnStatistics,
    folders: Folders,
    out: Path,
    *,
    jobs: int,
    progress: OnProgress,
) -> Simulated:
    with atomic_directory(out) as folder:
        done = render(planned, folders, folder, jobs=jobs, progress=progress)
        write_manifest(folder / "manifest.jsonl", done)
        turns = {conversation.recording: conversation.turns() for conversation in done}
        statistics = None
        if any(len({turn.speaker for turn in each}) > 1 for each in turns.values()):
            statistics = estimate(turns, f"{len(done)} simulated conversations")
            write_statistics(folder / "statistics.json", statistics)
    compared = {
        before.recording: before.compared_with(now) for before, now in zip(planned, done, strict=True)
    }
    return Simulated(conversations=done, compared=compared, statistics=statistics, source=source)


def plan(
    config: SimulationConfig,
    statistics: TurnStatistics,
    folders: Folders,
    detect_speech: DetectSpeech,
    *,
    jobs: int,
    progress: OnProgress,
) -> list[Conversation]:
    """Draw conversations.

    Args:
        config: settings.
        statistics: turn statistics.
        folders: folders of the recordings.
        detect_speech: detects the speech of a clean utterance; must be picklable.
        jobs: number of processes for speech detection.
        progress: shows the progress over speakers.

    Returns:
        the conversations, not mixed yet.

    Raises:
        InputError: a folder is missing or empty, an utterance cannot be read, speakers are too few, one has
            no speech, or a conversation is too short for its speakers.
    """
    files = find_speakers(folders.corpora)
    casts = _casts(config, sorted(files))
    appearances = [name for cast in casts for name in cast]
    people = sorted(set(appearances))
    find_speech = partial(_find_speech, seed=config.seed, detect_speech=detect_speech)
    tasks = [(name, files[name], config.duration_s * appearances.count(name)) for name in people]
    with _mapper(jobs) as mapper:
        found = dict(
            zip(
                people,
                progress(mapper(find_speech, tasks), description="detecting speech", total=len(tasks)),
                strict=True,
            )
        )
    silent = sum(number for _, number in found.values())
    if silent:
        logger.info("skipped %d utterances without speech", silent)
    rooms = None if folders.rir is None else sources_by_folder(folders.rir, folders.draws)
    noises = None if folders.noise is None else sources_by_folder(folders.noise, folders.draws)
    order = _generator(config.seed, "rooms").permutation(config.num)
    return [
        draw_conversation(
            _generator(config.seed, f"conversation {index}"),
            config,
            statistics,
            {name: found[name][0] for name in cast},
            recording=f"sim{index:0{len(str(config.num - 1))}d}",
            in_room=bool(order[index] < round(config.room_share * config.num)),
            rooms=rooms,
            noises=noises if order[index] < round(config.noise_share * config.num) else None,
        )
        for index, cast in enumerate(casts)
    ]


def draw_conversation(
    rng: np.random.Generator,
    config: SimulationConfig,
    statistics: TurnStatistics,
    cast: Mapping[str, Sequence[Speech]],
    *,
    recording: str,
    in_room: bool,
    rooms: Sequence[Sequence[SourceFile]] | None = None,
    noises: Sequence[Sequence[SourceFile]] | None = None,
) -> Conversation:
    """Draw one conversation.

    Args:
        rng: random generator.
        config: settings.
        statistics: turn statistics.
        cast: the speech of the speakers, by name.
        recording: its id.
        in_room: whether the speakers are in a room.
        rooms: measured responses, grouped by room. None simulates a room.
        noises: clips of noise, grouped by kind; None for no noise.

    Raises:
        InputError: it is too short for its speakers.
    """
    phrases = [
        [[Phrase(number, *span) for span in each.phrases] for number, each in enumerate(speech)]
        for speech in cast.values()
    ]
    spoken = converse(rng, statistics, phrases, config.duration_s)
    utterances, placed = _set_levels(rng, config, list(cast.values()), spoken)
    places = _places(rng, config, rooms, len(cast)) if in_room else [None] * len(cast)
    return Conversation(
        recording=recording,
        num_samples=round(config.duration_s * RATE_HZ),
        speakers=tuple(Speaker(name, place) for name, place in zip(cast, places, strict=True)),
        utterances=utterances,
        phrases=placed,
        noise=None if noises is None else _noise(rng, config, noises),
        ambience=Ambience(snr_db=round(rng.uniform(*_AMBIENCE_SNR_DB), 2), seed=_seed(rng)),
    )


def render(
    conversations: Sequence[Conversation], folders: Folders, out: Path, *, jobs: int, progress: OnProgress
) -> list[Conversation]:
    """Mix conversations and write them with their reference.

    Args:
        conversations: the conversations.
        folders: folders of the recordings.
        out: an existing folder for ``<recording>.flac`` (16 kHz, 16 bits), ``wav.scp``,
            ``reference.rttm`` and ``reference.uem``.
        jobs: number of processes.
        progress: shows the progress over conversations.

    Returns:
        the conversations with the hashes and sketches of their samples.

    Raises:
        InputError: a recording cannot be read or does not fit the manifest.
    """
    with _mapper(jobs) as mapper:
        mixed = mapper(partial(_render_one, folders=folders, out=out), conversations)
        done = list(progress(mixed, description="mixing", total=len(conversations)))
    write_rttms(out / "reference.rttm", [turn for conversation in done for turn in conversation.turns()])
    write_uem(out / "reference.uem", {each.recording: [(0.0, each.duration_s)] for each in done})
    scp = "".join(f"{each.recording} {each.recording}.flac\n" for each in done)
    (out / "wav.scp").write_text(scp, encoding="utf-8")
    return done


def find_phrases(samples: np.ndarray, file: SourceFile, detect_speech: DetectSpeech) -> Speech | None:
    """Find the phrases of a clean utterance.

    Args:
        samples: (S,) at 16 kHz.
        file: its file.
        detect_speech: detects the speech.

    Returns:
        the phrases, or None without speech.
    """
    phrases: list[tuple[int, int]] = []
    for start_s, end_s in detect_speech(samples):
        start, end = round(start_s * RATE_HZ), min(round(end_s * RATE_HZ), len(samples))
        cuts = [start, *(start + cut for cut in split_at_dips(samples[start:end])), end]
        phrases += [(a, b) for a, b in pairwise(cuts) if b > a]
    spoken = np.concatenate([samples[start:end] for start, end in phrases] or [samples[:0]])
    power = float(np.mean(spoken.astype(np.float64) ** 2)) if len(spoken) else 0.0
    return Speech(file, tuple(phrases), power) if power > 0 else None


def split_at_dips(samples: np.ndarray) -> list[int]:
    """Positions at which a segment of speech can be divided: quiet moments, mostly between words.

    Args:
        samples: (S,) speech.

    Returns:
        ascending samples inside the segment, at least `_LEAST_PHRASE_S` from each other and from its ends.
    """
    num_frames = len(samples) // _FRAME
    power = np.mean(
        samples[: num_frames * _FRAME].reshape(num_frames, _FRAME).astype(np.float64) ** 2, axis=1
    )
    if num_frames < 3:
        return []
    smooth = np.convolve(power, np.ones(3) / 3, mode="same")
    cuts: list[int] = []
    least = round(_LEAST_PHRASE_S * RATE_HZ)
    for frame in np.argsort(smooth, kind="stable"):
        if smooth[frame] > power.mean() * 10 ** (-_DIP_DB / 10):
            break
        cut = int(frame) * _FRAME + _FRAME // 2
        if all(abs(cut - other) >= least for other in (0, len(samples), *cuts)):
            cuts.append(cut)
    return sorted(cuts)


def _casts(config: SimulationConfig, speakers: Sequence[str]) -> list[list[str]]:
    """Draw the speakers of each conversation; as far as possible, all are used equally often."""
    if len(speakers) < config.max_speakers:
        raise InputError(
            f"the corpora have {len(speakers)} speakers, too few for conversations of {config.max_speakers}",
            hint="use fewer, or give a second --corpus",
        )
    rng = _generator(config.seed, "casts")
    sizes = np.resize(np.arange(config.min_speakers, config.max_speakers + 1), config.num)
    waiting: list[str] = []
    casts = []
    for size in rng.permutation(sizes):
        cast = waiting[:size]
        waiting = waiting[size:]
        if len(cast) < size:
            others = [str(name) for name in rng.permutation(speakers) if name not in cast]
            missing = int(size) - len(cast)
            cast, waiting = [*cast, *others[:missing]], others[missing:]
        casts.append(cast)
    return casts


def _find_speech(
    task: tuple[str, Sequence[CorpusFile], float],
    *,
    seed: int,
    detect_speech: DetectSpeech,
) -> tuple[list[Speech], int]:
    """Detect the speech of a speaker's utterances, in random order, until there is enough.

    Args:
        task: the speaker, its files and the required seconds of speech.
        seed: random seed of the order.
        detect_speech: detects the speech.

    Returns:
        the utterances with speech, and the number of those without.
    """
    speaker, files, enough_s = task
    found: list[Speech] = []
    silent, found_s = 0, 0.0
    for index in _generator(seed, f"speaker {speaker}").permutation(len(files)):
        if found_s >= enough_s:
            break
        samples = audio.read(files[index].path)
        source = SourceFile(files[index].name.as_posix(), file_digest(files[index].path))
        speech = find_phrases(samples, source, detect_speech)
        if speech is None:
            silent += 1
            continue
        found.append(speech)
        found_s += sum(end - start for start, end in speech.phrases) / RATE_HZ
    if not found:
        raise InputError(
            f"no speech found in the {len(files)} utterances of speaker {speaker}",
            path=files[0].path.parent,
        )
    return found, silent


def _set_levels(
    rng: np.random.Generator,
    config: SimulationConfig,
    speeches: Sequence[Sequence[Speech]],
    spoken: Sequence[Spoken],
) -> tuple[tuple[SpeakerUtterance, ...], tuple[PlacedPhrase, ...]]:
    """The utterances that are used, and the phrases with gains: each speaker has an individual level."""
    level_db = rng.uniform(*config.level_db)
    levels_db = [level_db + rng.normal(0.0, config.level_spread_db) for _ in speeches]
    numbers: dict[tuple[int, int], int] = {}
    gains_db: dict[tuple[int, int], float] = {}
    placed: list[PlacedPhrase] = []
    for speaker, phrase, onset in spoken:
        key = (speaker, phrase.utterance)
        if key not in numbers:
            power_db = 10 * np.log10(speeches[speaker][phrase.utterance].power)
            gain_db = levels_db[speaker] + rng.normal(0.0, _UTTERANCE_SPREAD_DB) - power_db
            numbers[key], gains_db[key] = len(numbers), round(float(gain_db), 2)
        placed.append(PlacedPhrase(numbers[key], phrase.start, phrase.end, onset, gains_db[key]))
    utterances = tuple(SpeakerUtterance(speaker, speeches[speaker][index].file) for speaker, index in numbers)
    return utterances, tuple(_join(placed))


def _join(phrases: Iterable[PlacedPhrase]) -> list[PlacedPhrase]:
    """Merge phrases that are adjacent both in their utterance and in the conversation."""
    joined: list[PlacedPhrase] = []
    last: dict[int, int] = {}
    for phrase in phrases:
        index = last.get(phrase.utterance)
        before = None if index is None else joined[index]
        if (
            index is not None
            and before is not None
            and phrase.start == before.end
            and abs(phrase.onset - (before.onset + before.end - before.start)) <= 1  # the rounding of onsets
        ):
            joined[index] = before._replace(end=phrase.end)
        else:
            last[phrase.utterance] = len(joined)
            joined.append(phrase)
    return joined


def _places(
    rng: np.random.Generator,
    config: SimulationConfig,
    measured: Sequence[Sequence[SourceFile]] | None,
    num_speakers: int,
) -> list[SourceFile | SimulatedRoom]:
    """A position in one room for each speaker: a response from one folder, or a simulated one."""
    if measured is not None:
        room = measured[int(rng.integers(len(measured)))]
        order = rng.permutation(len(room))
        return [room[order[index % len(order)]] for index in range(num_speakers)]
    rt60_s = round(rng.uniform(*config.room_decay_s), 3)
    return [SimulatedRoom(rt60_s, _seed(rng)) for _ in range(num_speakers)]


def _noise(
    rng: np.random.Generator, config: SimulationConfig, noises: Sequence[Sequence[SourceFile]]
) -> Noise:
    """Noise of one kind: clips from one folder."""
    kind = noises[int(rng.integers(len(noises)))]
    clips = tuple(kind[index] for index in rng.permutation(len(kind))[:_NUM_CLIPS])
    return Noise(snr_db=round(rng.uniform(*config.noise_snr_db), 2), clips=clips)


def _render_one(conversation: Conversation, *, folders: Folders, out: Path) -> Conversation:
    samples = mix(conversation, folders.load)
    soundfile.write(out / f"{conversation.recording}.flac", samples, RATE_HZ, subtype="PCM_16")
    digest = hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()
    return replace(conversation, sha256=digest, sketch=sketch(samples))


@contextmanager
def _mapper(jobs: int) -> Iterator[Callable[[Callable[[T], R], Iterable[T]], Iterable[R]]]:
    """``map`` in this process or over several."""
    if jobs == 1:
        yield map
        return
    # spawned, since a forked process would inherit locks of torch's threads
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool.map


def _generator(seed: int, name: str) -> np.random.Generator:
    """A separate random generator for each name."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
