#!/usr/bin/env python3
"""Synthesise speakers and conversations: the default data of the recipe, without any download.

Every speaker is a voice variant of espeak-ng with its own accent, pitch and tempo; the speakers of ``train``,
``dev`` and the meetings are disjoint. Each utterance has its own room, microphone and background noise,
so that the network has to learn invariance to these.

    OUT/train/<speaker>/<utterance>.flac     training corpus
    OUT/dev/<speaker>/<utterance>.flac       unseen speakers
    OUT/trials                               every pair of dev utterances: '1|0 utterance utterance'
    OUT/meetings/*.flac, reference.{rttm,uem}  conversations of other unseen speakers
    OUT/noise/<colour>/*.flac, OUT/rir/*.flac  for augmentation; not the noises and rooms of the recordings

The same options give the same files, whatever --nj is.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from acoustics import (
    NOISE_COLOURS,
    add_noise,
    babbling_noise,
    coloured_noise,
    microphone,
    reverberate,
    room,
    set_level,
)
from conversation import converse, trim
from espeak import ACCENTS, Synthesiser, Voice, variants
from sentences import sentence

from sdpn.cli.script import script
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory
from sdpn.io.audio import RATE_HZ
from sdpn.io.rttm import Turn, write_rttms
from sdpn.io.uem import write_uem
from sdpn.simulation.turn_statistics import Observed, observe


@dataclass(frozen=True, kw_only=True)
class Job:
    """The utterances of one speaker, synthesised in a separate process (see espeak.py).

    Attributes:
        speaker: name, which is also the name of the folder.
        voice: voice of the speaker.
        seed: random seed of the utterances.
        num_utterances: how many.
        folder: where to write recordings; None returns clean utterances instead.
    """

    speaker: str
    voice: Voice
    seed: list[int]
    num_utterances: int
    folder: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Done:
    """Outcome of a `Job`: names of the utterances, their total length, the samples where asked for."""

    speaker: str
    names: list[str]
    duration_s: float
    clean: list[np.ndarray] = field(default_factory=list)


def generator(seed: int, *names: str) -> np.random.Generator:
    """A stream of random numbers of its own for each combination of names."""
    return np.random.default_rng(_seed(seed, *names))


def cast(seed: int, num_train: int, num_dev: int, num_meetings: int) -> list[list[tuple[str, Voice]]]:
    """Choose the people: disjoint groups for dev, meetings and train, in this order.

    A variant is one person as long as the variants last. Beyond that, further training speakers share
    a variant and differ in accent, pitch and tempo.

    Raises:
        InputError: dev and meetings alone need more speakers than there are variants.
    """
    rng = generator(seed, "cast")
    names = [str(name) for name in rng.permutation(variants())]
    held_out = num_dev + num_meetings
    if held_out >= len(names):
        raise InputError(
            f"{held_out} unseen speakers are requested, but there are only {len(names)} voices",
            hint="ask for fewer dev speakers or meetings",
        )
    people = []
    for index in range(held_out + num_train):
        lap, position = divmod(index - held_out, len(names) - held_out) if index >= held_out else (0, 0)
        variant = names[index] if index < held_out else names[held_out + position]
        voice = Voice(
            variant=variant,
            accent=str(rng.choice(ACCENTS)),
            pitch=int(rng.integers(30, 71)),
            pitch_range=int(rng.integers(30, 71)),
            words_per_minute=int(rng.integers(145, 200)),
        )
        suffix = f"_{lap + 1}" if lap else ""
        people.append((variant.lower().replace(" ", "_") + suffix, voice))
    return [people[:num_dev], people[num_dev:held_out], people[held_out:]]


def record(rng: np.random.Generator, clean: np.ndarray) -> np.ndarray:
    """A clean utterance (S,) as some microphone in some room would have taken it, (S,) float32."""
    padded = np.concatenate([np.zeros(round(rng.uniform(0.05, 0.3) * RATE_HZ), np.float32), clean])
    recorded = reverberate(padded, room(rng, rng.uniform(0.1, 0.5), rng.uniform(2.0, 12.0)))
    recorded = microphone(rng, recorded, 6.0)
    colour = NOISE_COLOURS[str(rng.choice(sorted(NOISE_COLOURS)))]
    noisy = add_noise(recorded, babbling_noise(rng, len(recorded), colour), rng.uniform(10.0, 30.0))
    return set_level(noisy, rng.uniform(-30.0, -22.0))


def speak(job: Job) -> Done:
    """Let one speaker say everything; runs in a fresh process."""
    rng = np.random.default_rng(job.seed)
    synthesiser = Synthesiser()
    names, clean = [], []
    duration_s = 0.0
    for index in range(job.num_utterances):
        # nobody speaks twice in exactly the same way
        voice = Voice(
            variant=job.voice.variant,
            accent=job.voice.accent,
            pitch=int(np.clip(job.voice.pitch + rng.integers(-5, 6), 0, 99)),
            pitch_range=job.voice.pitch_range,
            words_per_minute=round(job.voice.words_per_minute * rng.uniform(0.9, 1.1)),
        )
        text = " ".join(sentence(rng) for _ in range(rng.integers(1, 3)))
        spoken = trim(synthesiser.speak(text, voice))
        if not len(spoken):
            raise RuntimeError(f"espeak-ng made silence of {text!r} as {voice}")
        name = f"{job.speaker}-{index:03d}"
        if job.folder is None:
            clean.append(spoken)
        else:
            _write(job.folder / job.speaker / f"{name}.flac", record(rng, spoken))
        names.append(name)
        duration_s += len(spoken) / RATE_HZ
    return Done(speaker=job.speaker, names=names, duration_s=duration_s, clean=clean)


def write_meetings(out: Path, seed: int, groups: list[list[Done]], duration_s: float) -> float:
    """Write one conversation per group of speakers, with reference.rttm and reference.uem.

    Returns:
        speech time with more than one speaker, as a fraction of the speech time.
    """
    observed: list[Observed] = []
    spoken: list[Turn] = []
    for index, group in enumerate(groups):
        name = f"meeting{index:02d}"
        mix, turns = converse(
            generator(seed, name), name, {done.speaker: done.clean for done in group}, duration_s
        )
        _write(out / f"{name}.flac", mix)
        spoken += turns
        observed.append(observe(turns))
    write_rttms(out / "reference.rttm", spoken)
    write_uem(out / "reference.uem", {turn.recording: [(0.0, duration_s)] for turn in spoken})
    return sum(one.overlapped_s for one in observed) / sum(one.speech_s for one in observed)


def write_augmentation(out: Path, seed: int) -> None:
    """Write noises (5 s, three of each colour, steady and babbling) and 20 rooms."""
    for colour, exponent in NOISE_COLOURS.items():
        for index in range(6):
            make = babbling_noise if index % 2 else coloured_noise
            noise = make(generator(seed, "noise", colour, str(index)), 5 * RATE_HZ, exponent)
            _write(out / "noise" / colour / f"{colour}{index}.flac", set_level(noise, -25.0))
    for index in range(20):
        rng = generator(seed, "rir", str(index))
        response = room(rng, rng.uniform(0.1, 0.7), rng.uniform(0.0, 12.0))
        _write(out / "rir" / f"room{index:02d}.flac", 0.9 * response / np.max(np.abs(response)))


def synthesise(out: Path, args: argparse.Namespace) -> None:
    """Make everything below ``out`` and print what it is."""
    sizes = [2 + index % 3 for index in range(args.meetings)]
    dev, guests, train = cast(args.seed, args.train_speakers, args.dev_speakers, sum(sizes))
    # a turn takes some 4 s with its pause: enough words for everyone, even if one speaks most of the time
    num_turns = round(args.meeting_s / 3)
    jobs = [
        Job(
            speaker=name,
            voice=voice,
            seed=_seed(args.seed, split, name),
            num_utterances=count,
            folder=None if split == "meetings" else out / split,
        )
        for split, people, count in (
            ("train", train, args.utterances),
            ("dev", dev, args.dev_utterances),
            ("meetings", guests, num_turns),
        )
        for name, voice in people
    ]
    # a fresh process per speaker, because espeak-ng remembers; the fork server makes that cheap
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "scipy.fft", "scipy.signal"])
    with context.Pool(args.nj, maxtasksperchild=1) as pool:
        done = pool.map(speak, jobs, chunksize=1)
    trained, unseen = done[: len(train)], done[len(train) : len(train) + len(dev)]
    talking = iter(done[len(train) + len(dev) :])
    groups = [list(itertools.islice(talking, size)) for size in sizes]
    overlap = write_meetings(out / "meetings", args.seed, groups, args.meeting_s)
    pairs = itertools.combinations([(one.speaker, name) for one in unseen for name in one.names], 2)
    trials = [f"{int(who == whom)} {one} {other}\n" for (who, one), (whom, other) in pairs]
    (out / "trials").write_text("".join(trials), encoding="utf-8")
    write_augmentation(out, args.seed)
    for split, group in (("train", trained), ("dev", unseen)):
        print(
            f"synthesised {split}: {len(group)} speakers, {sum(len(one.names) for one in group)} utterances, "
            f"{sum(one.duration_s for one in group) / 60:.1f} min"
        )
    targets = sum(line.startswith("1") for line in trials)
    print(f"synthesised trials: {targets} target, {len(trials) - targets} non-target")
    print(
        f"synthesised meetings: {len(sizes)} of {args.meeting_s} s, {min(sizes)} to {max(sizes)} speakers, "
        f"{overlap:.1%} of the speech overlapped"
    )


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make; an old one is replaced")
    parser.add_argument("--train_speakers", type=_positive, default=60, help="default 60")
    parser.add_argument("--utterances", type=_positive, default=12, help="per training speaker; default 12")
    parser.add_argument("--dev_speakers", type=_positive, default=14, help="default 14")
    parser.add_argument("--dev_utterances", type=_positive, default=10, help="per dev speaker; default 10")
    parser.add_argument("--meetings", type=_positive, default=6, help="number of conversations; default 6")
    parser.add_argument("--meeting_s", type=_positive, default=60, help="their length in s; default 60")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--nj", type=_positive, default=2, help="processes; default 2")
    args = parser.parse_args(argv)
    with atomic_directory(args.out) as folder:
        synthesise(folder, args)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def _seed(seed: int, *names: str) -> list[int]:
    return [seed, *(zlib.crc32(name.encode()) for name in names)]


def _write(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE_HZ, subtype="PCM_16")


if __name__ == "__main__":
    sys.exit(main())
