"""Clusterers on simulated conversations: numbers of speakers and DER, for any embeddings.

    python tools/benchmarks/counting.py simulate --out exp/counting --sounds corpora \
        --corpus commonvoice=corpora/commonvoice/train --corpus speechocean762=corpora/speechocean762/train
    python tools/benchmarks/counting.py embed --out exp/counting --name fast
    python tools/benchmarks/counting.py embed --out exp/counting --name campplus --model campplus.bin \
        --format 3dspeaker --precision bf16
    python tools/benchmarks/counting.py table --out exp/counting --name fast --name campplus --method merging
    python tools/benchmarks/counting.py fit --out exp/counting --name fast --name campplus

``simulate`` draws from folders of one folder for each speaker (those with fewer than four files are left
out), with the rooms and noises of training, or, with ``--held-out``, with the benchmark's. Kinds (``--kind``,
repeatable; the first by default):

- ``conversations``: three ``--minutes``, 2 to 8 speakers, seven for each ``--seed`` (1, 2 and 3), a third
  each near the microphone, in a room with noise, and over the telephone;
- ``meetings``: half minutes in a room with noise in which others cut in, so that about a fifth of the speech
  is overlapped;
- ``changes``: 2 to 6 speakers of whom every second one is far from the microphone, whose levels differ
  (standard deviation 10 dB), or who are half of the time on a telephone;
- ``hour``: 20 and 40 speakers in an hour;
- ``alone``: one speaker for 15, 30 and 60 s, in each of the conditions, for each ``--seed``.

``embed`` computes the windows of each recording once and goes on where it was interrupted; with
``--conversations DIR`` of other conversations, as of `sdpn benchmark`. ``table`` tries clusterers on what
is embedded, in seconds; its last column is the share of recordings in which everybody speaks alone for the
length of a window: who does not cannot be counted. ``fit`` prints the coefficients
`sdpn.clustering.merging.PAIR_ODDS` and `STEP_ODDS`, fitted to the conversations, to pieces of them of 30 and
75 s, and to the one who speaks most in each, alone;
and how they do on corpora that they were not fitted to. ``voice`` does the same for the weights of
`sdpn.clustering.one_voice`, for models with a calibration; it needs the kind ``alone``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import yaml
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from sdpn.augmentation.conditions import telephone
from sdpn.benchmark.held_out import is_held_out_sound
from sdpn.cli.table import format_markdown
from sdpn.clustering import merging
from sdpn.clustering.base import Clusterer
from sdpn.clustering.merging import Level, Merging, step_features
from sdpn.clustering.one_voice import COSINES, Weights, two_voices
from sdpn.clustering.recording_model import fit_recording
from sdpn.clustering.registry import CLUSTERERS
from sdpn.clustering.speaker_pairs import FEATURES, Clusters, PairFeatures
from sdpn.diarization.local_speech import SegmentationConfig
from sdpn.diarization.pipeline import (
    DiarizationConfig,
    Diarizer,
    EmbeddedRecording,
    calibrated_clusterer,
    label_recording,
)
from sdpn.diarization.vad import detect_speech
from sdpn.diarization.windows import Windows
from sdpn.interop.load import load_model
from sdpn.interop.segmentation import load_segmentation
from sdpn.io import audio
from sdpn.io.atomic import atomic_directory, atomic_path, atomic_write_text
from sdpn.io.rttm import Turn, from_annotation, read_rttm, write_rttms
from sdpn.metrics.diarization import NIST_COLLAR_S, score_recordings, total_figures
from sdpn.simulation.manifest import Conversation
from sdpn.simulation.simulate import SimulationConfig, plan, render, silently
from sdpn.simulation.sources import Folders
from sdpn.simulation.turn_statistics import voxconverse
from sdpn.verification.similarity import cosine

CONDITIONS = ("dry", "room and noise", "telephone")
KINDS = ("conversations", "meetings", "changes", "hour", "alone")
COUNTS, HOUR, ALONE_S = range(2, 9), (20, 40), (15, 30, 60)
FEWEST_FILES = 4

#: Length of a window of the pipeline, and resolution of who speaks alone.
WINDOW_S, FRAME_S = 1.5, 0.01

#: Weight in the fit of the step odds: of one speaker alone, of pieces and half minutes, of others.
ONE_SPEAKER, PIECE = 0.5, 0.5
FEWEST_WINDOWS, FEWEST_IN_PIECE = 20, 8
PIECES_S = (30.0, 75.0)

#: Kinds of recordings of one speaker.
ALONE = ("one", "alone")

#: Share of the fit of `sdpn.clustering.one_voice` that is recordings of one speaker.
ALONE_SHARE = 0.35

#: Each cluster's most similar ones that make the pairs of the fit, and most clusters of a level.
NEAREST, MOST_CLUSTERS = 3, 40

#: Typical size of the features, for the penalty.
SCALE = np.array([1.0, 2.0, 0.5, 0.5, 1.0, 1.0, 1.0, 0.5, 1.0, 0.3, 1.0, 2.0, 1.0])


class Example(NamedTuple):
    """A conversation, or a part of it, with its windows."""

    kind: str
    corpus: str
    condition: str
    turns: list[Turn]
    embedded: EmbeddedRecording

    @property
    def num_speakers(self) -> int:
        """True number of speakers."""
        return len({turn.speaker for turn in self.turns})


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("simulate", "embed", "table", "fit", "voice"))
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--name", action="append", default=[], help="of the embeddings")
    group = parser.add_argument_group("simulate")
    group.add_argument("--corpus", action="append", default=[], metavar="NAME=DIR")
    group.add_argument("--sounds", type=Path, metavar="DIR", help="folder of the folders rir and noise")
    group.add_argument("--held-out", action="store_true", help="with the rooms and noises of the benchmark")
    group.add_argument("--kind", action="append", choices=KINDS)
    group.add_argument("--seed", action="append", type=int, metavar="N")
    group.add_argument("--minutes", type=float, default=3.0, metavar="M", help="of each (default: 3)")
    group = parser.add_argument_group("embed")
    group.add_argument("--conversations", type=Path, metavar="DIR", help="others than those in --out")
    group.add_argument("--model", help="a model (default: the one in the package)")
    group.add_argument("--format", help="its format")
    group.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    group.add_argument("--segmentation", help="a segmentation network")
    group.add_argument("--detector", action="store_true", help="which does not decide what is speech")
    group = parser.add_argument_group("table")
    group.add_argument("--method", action="append", choices=tuple(CLUSTERERS))
    group.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the clusterers")
    args = parser.parse_args()
    if args.step == "simulate":
        corpora = {name: Path(folder) for name, folder in (each.split("=", 1) for each in args.corpus)}
        simulate(corpora, args)
    elif args.step == "embed":
        embed(args)
    elif args.step == "table":
        settings = {key: yaml.safe_load(value) for key, value in (each.split("=", 1) for each in args.set)}
        for name in args.name:
            methods, known = args.method or list(CLUSTERERS), calibration(args.out, name)
            print(f"\n{name}\n\n{table(read(args.out, name), methods, settings, known)}")
    else:
        of = {name: read(args.out, name) for name in args.name}
        if len({each.corpus for examples in of.values() for each in examples}) < 2:
            parser.error(f"{args.step}: leaves out one corpus after the other, and needs two or more")
        if args.step == "fit":
            print(fit(of))
        else:
            print(fit_voice(of, {name: calibration(args.out, name) for name in args.name}))


def simulate(corpora: Mapping[str, Path], args: argparse.Namespace) -> None:
    """Write the conversations that are not there; a folder's name says kind, corpus, number and condition."""
    for number, (corpus, folder) in enumerate(corpora.items()):
        speakers = args.out / "speakers" / corpus
        speakers.mkdir(parents=True, exist_ok=True)
        for each in sorted(folder.iterdir()):
            is_large = each.is_dir() and len(list(each.iterdir())) >= FEWEST_FILES
            if is_large and not (speakers / each.name).exists():
                os.symlink(each.resolve(), speakers / each.name)
        folders = Folders(
            corpora=[speakers],
            rir=args.sounds / "rir",
            noise=args.sounds / "noise",
            draws=lambda path: is_held_out_sound(path) == args.held_out,
        )
        maker = Maker(folders, args.out / "conversations", corpus)
        for kind in args.kind or KINDS[:1]:
            if kind == "conversations":
                for seed in args.seed or (1, 2, 3):
                    maker.write_conversations(seed, number, 60.0 * args.minutes)
            elif kind == "meetings":
                maker.write_meetings()
            elif kind == "changes":
                maker.write_changes()
            elif kind == "alone":
                for seed in args.seed or (1, 2, 3):
                    maker.write_alone(seed)
            else:
                for most in HOUR:
                    maker.write_hour(most)


class Maker(NamedTuple):
    """Draws and writes conversations of one corpus."""

    folders: Folders
    out: Path
    corpus: str

    def draw(
        self, *, num: int, seed: int, duration_s: float, counts: range, **more: Any
    ) -> list[Conversation]:
        """Conversations in rooms with noise."""
        config = SimulationConfig(
            num=num,
            seed=seed,
            duration_s=duration_s,
            min_speakers=counts[0],
            max_speakers=counts[-1],
            **{"room_share": 1.0, "noise_share": 1.0, **more},
        )
        return plan(config, voxconverse(), self.folders, detect_speech, jobs=1, progress=silently)

    def folder(self, kind: str, number: str, condition: str) -> Path:
        """Of conversations; it is there once it is complete."""
        return self.out / ".".join((kind, self.corpus, number, condition.replace(" ", "-")))

    def write(self, lines: list[Conversation], kind: str, number: str, condition: str) -> Path:
        """Render conversations into a folder of their own."""
        folder = self.folder(kind, number, condition)
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with atomic_directory(folder) as part:
                render(lines, self.folders, part, jobs=1, progress=silently)
        return folder

    def write_conversations(self, seed: int, number: int, duration_s: float) -> None:
        """2 to 8 speakers; the conditions take turns."""
        names = [
            (f"{seed}-{index}", CONDITIONS[(index + seed + number) % len(CONDITIONS)])
            for index in range(len(COUNTS))
        ]
        if all(self.folder("conversations", *name).exists() for name in names):
            return
        drawn = self.draw(num=len(COUNTS), seed=seed, duration_s=duration_s, counts=COUNTS)
        for name, each in zip(names, sorted(drawn, key=lambda line: len(line.speakers)), strict=True):
            line = each if name[1] == "room and noise" else close(each)
            self.write([line], "conversations", *name)

    def write_alone(self, seed: int) -> None:
        """One speaker, whose clips follow each other: every length in every condition."""
        for length_s in ALONE_S:
            names = [(f"{seed}-{length_s}", condition) for condition in CONDITIONS]
            if all(self.folder("alone", *name).exists() for name in names):
                continue
            seed_of_length = 1000 * seed + length_s  # others are drawn for every length
            drawn = self.draw(
                num=len(CONDITIONS), seed=seed_of_length, duration_s=float(length_s), counts=range(1, 2)
            )
            for name, each in zip(names, drawn, strict=True):
                line = each if name[1] == "room and noise" else close(each)
                self.write([line], "alone", *name)

    def write_hour(self, most: int) -> None:
        """An hour of many speakers."""
        if not self.folder("hour", str(most), "dry").exists():
            drawn = self.draw(num=1, seed=51, duration_s=3600.0, counts=range(most, most + 1))
            self.write(list(map(close, drawn)), "hour", str(most), "dry")

    def write_changes(self) -> None:
        """Conditions that change within a recording."""
        drawn = self.draw(num=5, seed=41, duration_s=180.0, counts=range(2, 7))
        far = [
            replace(
                each,
                speakers=tuple(
                    who if index % 2 else who._replace(room=None) for index, who in enumerate(each.speakers)
                ),
            )
            for each in drawn
        ]
        self.write(far, "changes", "41", "near and far")
        self.write(list(map(close, drawn)), "changes", "41", "half telephone")
        uneven = self.draw(num=5, seed=41, duration_s=180.0, counts=range(2, 7), level_spread_db=10.0)
        self.write(list(map(close, uneven)), "changes", "41", "level")

    def write_meetings(self) -> None:
        """Half minutes into which turns of a second conversation are mixed, at the same level."""
        final = self.folder("meetings", "31", "room and noise")
        if final.exists():
            return
        final.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(5)
        first = self.draw(num=16, seed=31, duration_s=30.0, counts=range(1, 5), noise_snr_db=(5.0, 15.0))
        second = self.draw(num=16, seed=32, duration_s=30.0, counts=range(1, 3), noise_share=0.0)
        with atomic_directory(final) as folder, tempfile.TemporaryDirectory() as other:
            render(first, self.folders, folder, jobs=1, progress=silently)
            render(second, self.folders, Path(other), jobs=1, progress=silently)
            turns_of, others = (read_rttm(Path(each) / "reference.rttm") for each in (folder, other))
            turns: list[Turn] = []
            for index, name in enumerate(sorted(turns_of)):
                wave, more = (audio.read(Path(each) / f"{name}.flac") for each in (folder, other))
                for turn in [each for each in others[name] if rng.random() < 0.35] if index % 4 else []:
                    short = replace(turn, duration_s=min(turn.duration_s, 4.0))
                    span = slice(round(short.onset_s * audio.RATE_HZ), round(short.end_s * audio.RATE_HZ))
                    power = float((more[span] ** 2).mean())
                    wave[span] += more[span][: len(wave[span])] * np.sqrt((wave**2).mean() / max(power, 1e-9))
                    turns.append(short)
                soundfile.write(folder / f"{name}.flac", np.clip(wave, -1.0, 1.0), audio.RATE_HZ)
            turns += [turn for each in turns_of.values() for turn in each]
            write_rttms(folder / "reference.rttm", turns)


def close(conversation: Conversation) -> Conversation:
    """The same, close to the microphone and without noise."""
    speakers = tuple(who._replace(room=None) for who in conversation.speakers)
    return replace(conversation, noise=None, speakers=speakers)


def embed(args: argparse.Namespace) -> None:
    """Embed the windows of all conversations that are not embedded yet."""
    (name,) = args.name
    kept = args.out / "embedded" / name
    kept.mkdir(parents=True, exist_ok=True)
    model = load_model(args.model, args.format, precision=args.precision)
    atomic_write_text(args.out / "embedded" / f"{name}.json", json.dumps(dict(model.calibration)) + "\n")
    diarizer = Diarizer(
        model,
        config=DiarizationConfig(
            segmentation=SegmentationConfig(speech="detector" if args.detector else "segmentation")
        ),
        segmentation=load_segmentation(args.segmentation) if args.segmentation else None,
    )
    # seed by seed, so that what is there after an interruption is of all corpora
    folders = (args.conversations or args.out / "conversations").iterdir()
    for folder in sorted(folders, key=lambda path: (path.name.split(".")[2], path.name)):
        kind, corpus, condition = described(folder.name)
        for recording, turns in read_rttm(folder / "reference.rttm").items():
            key = f"{folder.name}.{recording}"
            if (kept / f"{key}.pkl").exists():
                continue
            wave = audio.read(folder / f"{recording}.flac")
            spoken = slice(len(wave) // 2 if condition == "half telephone" else 0, None)
            if "telephone" in condition:
                wave[spoken] = telephone(wave[spoken], np.random.default_rng(0))
            turns = [replace(turn, recording=key) for turn in turns]
            embedded = replace(diarizer.embed((wave, audio.RATE_HZ)), recording=key)
            with atomic_path(kept / f"{key}.pkl") as path:
                path.write_bytes(pickle.dumps(Example(kind, corpus, condition, turns, embedded)._asdict()))


def described(folder: str) -> tuple[str, str, str]:
    """Kind, corpus and condition of the conversations of a folder, by its name."""
    names = folder.split(".")
    if len(names) == 3:  # of sdpn benchmark: corpus, condition and seed
        names = ["benchmark", names[0], names[2], names[1]]
    kind, corpus, _, condition = names
    return kind, corpus, condition.replace("-", " ")


def read(out: Path, name: str) -> list[Example]:
    """The conversations of `embed`, of this machine's own making."""
    paths = sorted((out / "embedded" / name).glob("*.pkl"))
    return [Example(**pickle.loads(path.read_bytes())) for path in paths]


def calibration(out: Path, name: str) -> dict[str, float]:
    """Of the model of `embed`."""
    found: dict[str, float] = json.loads((out / "embedded" / f"{name}.json").read_text())
    return found


def table(
    examples: Sequence[Example],
    methods: Sequence[str],
    settings: Mapping[str, Any],
    known: Mapping[str, float],
) -> str:
    """Clusterers, with the number estimated and given: by kind, corpus and condition."""
    groups: dict[str, list[int]] = {}
    for index, each in enumerate(examples):
        for group in (each.kind, f"{each.kind}, {each.corpus}", f"{each.kind}, {each.condition}"):
            groups.setdefault(group, []).append(index)
    header = ["", "clusterer", "recordings", "exact %", "bias", "DER % / ±0.25 s", "count given: DER"]
    header += ["all heard %"]
    rows = []
    for method in methods:
        usual = {"threshold": "calibrated"} if method == "ahc" else {}
        clusterer = calibrated_clusterer(method, {**usual, **settings}, known)
        free, given = ([labelled(each, clusterer, given=flag) for each in examples] for flag in (False, True))
        for group, chosen in sorted(groups.items()):
            members = [examples[index] for index in chosen]
            figures = Figures.of(members, [free[index] for index in chosen])
            of_given = Figures.of(members, [given[index] for index in chosen])
            exact, bias = f"{100 * figures.exact:.0f}", f"{figures.bias:+.2f}"
            heard = f"{100 * np.mean([least_alone_s(each) >= WINDOW_S for each in members]):.0f}"
            rows.append([group, method, str(len(members)), exact, bias, figures.der, of_given.der, heard])
    return format_markdown(header, rows)


def least_alone_s(example: Example) -> float:
    """Seconds that whoever speaks least speaks while nobody else does: less than a window is not found."""
    names = sorted({turn.speaker for turn in example.turns})
    frames = round(max(turn.end_s for turn in example.turns) / FRAME_S) + 1
    speaks_KT = np.zeros((len(names), frames), dtype=bool)
    for turn in example.turns:
        span = slice(round(turn.onset_s / FRAME_S), round(turn.end_s / FRAME_S))
        speaks_KT[names.index(turn.speaker), span] = True
    alone_KT = speaks_KT & (speaks_KT.sum(axis=0) == 1)
    return float(alone_KT.sum(axis=1).min()) * FRAME_S


def labelled(example: Example, clusterer: Clusterer, *, given: bool) -> Any:
    """The turns that are found."""
    number = example.num_speakers if given else None
    return label_recording(example.embedded, clusterer, num_speakers=number).annotation


class Figures(NamedTuple):
    """Of one clusterer."""

    exact: float
    bias: float
    der: str

    @classmethod
    def of(cls, examples: Sequence[Example], found: Sequence[Any]) -> Figures:
        """Of conversations with the turns found."""
        reference = {each.embedded.recording: each.turns for each in examples}
        hypothesis = {turns.uri: from_annotation(turns, turns.uri) for turns in found}
        pairs = zip(examples, found, strict=True)
        wrong = np.array([len(turns.labels()) - each.num_speakers for each, turns in pairs])
        rates = [
            100
            * total_figures(
                score_recordings(reference, hypothesis, collar_s=collar_s, skip_overlap=skip)
            ).components.der
            for collar_s, skip in ((0.0, False), (NIST_COLLAR_S, True))
        ]
        return cls(float((wrong == 0).mean()), float(wrong.mean()), f"{rates[0]:.1f} / {rates[1]:.1f}")


def fit(of: Mapping[str, Sequence[Example]]) -> str:
    """Coefficients by maximum likelihood, and exact counts and bias on the corpora that were left out."""
    rows = [Row(name, part) for name, examples in of.items() for each in examples for part in parts(each)]
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(3):  # what is merged first depends on the coefficients
        several = [row for row in rows if row.example.kind not in ALONE]
        pairs += [_pairs(row.example, found) for row in several if len(found := row.levels()) > 1]
        merging.PAIR_ODDS = _pair_odds(pairs)
    text = "PAIR_ODDS: " + ", ".join(f"{weight:.3f}" for weight in merging.PAIR_ODDS)
    levels = [row.levels() for row in rows]
    names, kinds, corpora = (
        np.array([getattr(row.example, field) if field else row.name for row in rows])
        for field in ("", "kind", "corpus")
    )
    counts = np.array([row.example.num_speakers for row in rows])
    weights = np.select(
        [np.isin(kinds, ALONE), np.isin(kinds, ("piece", "meetings"))], [ONE_SPEAKER, PIECE], 1.0
    )
    for name in of:
        weights[names == name] /= weights[names == name].sum()
    num = max(map(len, levels))
    features_RKF = np.zeros((len(rows), num, len(SCALE) + 1))
    possible_RK = np.zeros((len(rows), num), dtype=bool)
    for index, each in enumerate(levels):
        possible_RK[index, : len(each)] = True
        for count in range(2, len(each) + 1):
            features_RKF[index, count - 1] = step_features(count, each[count]) / np.append(SCALE, 0.5)
    true_R = np.minimum(counts, possible_RK.sum(axis=1)) - 1

    def posterior(weights_F: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        sums_RK = np.cumsum(features_RKF[chosen] @ weights_F, axis=1)
        result: np.ndarray = softmax(np.where(possible_RK[chosen], sums_RK, -np.inf), axis=1)
        return result

    def solve(chosen: np.ndarray) -> np.ndarray:
        def cost(weights_F: np.ndarray) -> float:
            right = posterior(weights_F, chosen)[np.arange(chosen.sum()), true_R[chosen]]
            likelihood = np.average(np.log(right + 1e-9), weights=weights[chosen])
            return float(0.03 * (weights_F**2).mean() - likelihood)

        solution: np.ndarray = minimize(cost, np.zeros(len(SCALE) + 1), method="L-BFGS-B").x
        return solution

    found_R, sure_R = np.zeros(len(rows)), np.zeros(len(rows))
    for corpus in sorted(set(corpora)):
        out = corpora == corpus
        posterior_RK = posterior(solve(~out), out)
        median = (posterior_RK.cumsum(axis=1) < 0.5).sum(axis=1)
        found_R[out], sure_R[out] = median + 1, posterior_RK[np.arange(len(median)), median]
    steps = solve(np.ones(len(rows), dtype=bool)) / np.append(SCALE, 0.5)
    lines = [text, "STEP_ODDS: " + ", ".join(f"{weight:.3f}" for weight in steps)]
    for name in of:
        for kind in sorted(set(kinds)):
            chosen = (names == name) & (kinds == kind)
            wrong, order = found_R[chosen] - counts[chosen], np.argsort(-sure_R[chosen])
            half = order[: len(order) // 2]
            lines.append(
                f"{name}, {kind} ({chosen.sum()}): exact {np.mean(wrong == 0):.2f}, "
                f"bias {wrong.mean():+.2f}, mean probability {sure_R[chosen].mean():.2f}; surer half: "
                f"exact {np.mean(wrong[half] == 0):.2f}, mean probability {sure_R[chosen][half].mean():.2f}"
            )
    return "\n".join(lines)


def fit_voice(of: Mapping[str, Sequence[Example]], known: Mapping[str, Mapping[str, float]]) -> str:
    """Weights of `sdpn.clustering.one_voice` beside the step odds as they are, and how they do.

    By maximum likelihood of the number; embeddings count the same. Exact counts and bias (before VBx) are of
    weights that were fitted without the corpus, and, as "before", of the step odds alone.
    """
    rows = [Row(name, part) for name, examples in of.items() for each in examples for part in parts(each)]
    rows = [row for row in rows if len(row.example.embedded.emb_ND) >= FEWEST_IN_PIECE]
    cosines: dict[str, Any] = {name: {key: known[name][key] for key in COSINES} for name in of}
    clusterers = {name: Merging(**each) for name, each in cosines.items()}
    levels = [row.levels(clusterers[row.name]) for row in rows]
    num = max(map(len, levels))
    steps_RK, own_RK, usual_RK = (np.zeros((len(rows), num)) for _ in range(3))
    possible_RK = np.arange(num) < np.array([[len(each)] for each in levels])
    for index, each in enumerate(levels):
        for count in range(2, len(each) + 1):
            steps_RK[index, count - 1] = step_features(count, each[count]) @ merging.STEP_ODDS
            shares = each[count].shares
            assert shares is not None
            own_RK[index, count - 1], usual_RK[index, count - 1] = shares
    names, corpora = (
        np.array(values) for values in zip(*((r.name, r.example.corpus) for r in rows), strict=True)
    )
    kinds = np.array(["alone" if row.example.num_speakers == 1 else row.example.kind for row in rows])
    counts = np.array([row.example.num_speakers for row in rows])
    true_R = np.minimum(counts, possible_RK.sum(axis=1)) - 1
    weights = np.where(kinds == "piece", PIECE, 1.0)
    for name in of:
        for is_alone, share in ((True, ALONE_SHARE), (False, 1.0 - ALONE_SHARE)):
            chosen = (names == name) & ((kinds == "alone") == is_alone)
            weights[chosen] *= share / weights[chosen].sum()

    def posterior(voice: Weights | None) -> np.ndarray:
        odds_RK = steps_RK.copy()
        if voice is not None:
            odds_RK += two_voices(own_RK, usual_RK, np.arange(num) == 1, voice)
        odds_RK[:, 0] = 0.0
        result: np.ndarray = softmax(np.where(possible_RK, odds_RK.cumsum(axis=1), -np.inf), axis=1)
        return result

    def solve(chosen: np.ndarray) -> Weights:
        def weights_of(values: np.ndarray) -> Weights:
            return Weights(
                values[0], values[1], float(np.exp(values[2])), values[3], float(np.exp(values[4]))
            )

        def cost(values: np.ndarray) -> float:
            right = posterior(weights_of(values))[np.arange(len(rows)), true_R][chosen]
            penalty = 0.002 * ((values - start) ** 2).sum()
            return float(penalty - np.average(np.log(right + 1e-5), weights=weights[chosen]))

        start = np.array([0.3, 0.5, np.log(0.15), 0.5, np.log(0.15)])
        options = {"maxiter": 800, "xatol": 2e-3, "fatol": 1e-5}
        return weights_of(minimize(cost, start, method="Nelder-Mead", options=options).x)

    before_R = 1 + (posterior(None).cumsum(axis=1) < 0.5).sum(axis=1)
    found_R = np.zeros(len(rows))
    for corpus in sorted(set(corpora)):
        out = corpora == corpus
        found_R[out] = 1 + (posterior(solve(~out)).cumsum(axis=1) < 0.5).sum(axis=1)[out]
    fitted = solve(np.ones(len(rows), dtype=bool))
    lines = ["WEIGHTS: " + ", ".join(f"{key} {value:.3f}" for key, value in fitted._asdict().items())]
    for name in of:
        for kind in sorted(set(kinds)):
            chosen = (names == name) & (kinds == kind)
            wrong, before = found_R[chosen] - counts[chosen], before_R[chosen] - counts[chosen]
            lines.append(
                f"{name}, {kind} ({chosen.sum()}): exact {np.mean(wrong == 0):.2f}, bias {wrong.mean():+.2f};"
                f" before: exact {np.mean(before == 0):.2f}, bias {before.mean():+.2f}"
            )
    return "\n".join(lines)


class Row(NamedTuple):
    """An example of one embedding."""

    name: str
    example: Example

    def levels(self, clusterer: Merging | None = None) -> Mapping[int, Level]:
        """Of the clusterer with the coefficients of now."""
        emb_ND, times_N2 = self.example.embedded.emb_ND, self.example.embedded.windows.times_N2
        model = fit_recording(cosine(emb_ND), times_N2)
        return (clusterer or Merging()).levels(emb_ND, times_N2, model)


def parts(example: Example) -> Iterator[Example]:
    """The example, pieces of it, and the one who speaks most."""
    if example.kind == "hour":
        return
    yield example
    if example.kind != "conversations":
        return
    times_N2 = example.embedded.windows.times_N2
    seconds_NK = speech(example.turns, times_N2)
    seed = int.from_bytes(hashlib.sha256(example.embedded.recording.encode()).digest()[:4], "big")
    for length_s in PIECES_S:
        start_s = np.random.default_rng(seed).uniform(0.0, max(times_N2[-1, 1] - length_s, 1.0))
        chosen_N = (times_N2[:, 0] >= start_s) & (times_N2[:, 1] <= start_s + length_s)
        heard = (seconds_NK[chosen_N].sum(axis=0) > 0.8).sum()
        if chosen_N.sum() >= FEWEST_IN_PIECE and heard:
            yield only(example, chosen_N, "piece")
    most = int(np.bincount(seconds_NK.argmax(axis=1)).argmax())
    alone_N = (seconds_NK.argmax(axis=1) == most) & (seconds_NK.sum(axis=1) - seconds_NK.max(axis=1) < 0.1)
    if alone_N.sum() >= FEWEST_WINDOWS:
        yield only(example, alone_N, "one")


def only(example: Example, chosen_N: np.ndarray, kind: str) -> Example:
    """Some of the windows, and the turns of those who are heard there."""
    embedded = example.embedded
    windows = Windows(
        times_N2=embedded.windows.times_N2[chosen_N], segment_N=embedded.windows.segment_N[chosen_N]
    )
    names = sorted({turn.speaker for turn in example.turns})
    heard_K = speech(example.turns, windows.times_N2).sum(axis=0) > 0.8
    if kind == "one":
        heard_K = np.arange(len(names)) == speech(example.turns, windows.times_N2).sum(axis=0).argmax()
    heard = {name for name, is_heard in zip(names, heard_K, strict=True) if is_heard}
    return example._replace(
        kind=kind,
        turns=[turn for turn in example.turns if turn.speaker in heard],
        embedded=replace(embedded, emb_ND=embedded.emb_ND[chosen_N], windows=windows),
    )


def _pairs(example: Example, levels: Mapping[int, Level]) -> tuple[np.ndarray, np.ndarray]:
    """Features (P, F) of pairs of clusters of all levels, and whether different people speak most in both."""
    times_N2 = example.embedded.windows.times_N2
    rows_ND = cosine(example.embedded.emb_ND).features_NF
    measure = PairFeatures(rows_ND, times_N2, fit_recording(cosine(rows_ND), times_N2))
    seconds_NK = speech(example.turns, times_N2)
    features, different = [], []
    for count, level in levels.items():
        if not 2 <= count <= MOST_CLUSTERS:
            continue
        features_KKF = measure(Clusters.of(level.labels_N, rows_ND))
        losses_KK = features_KKF[..., FEATURES.index("loss")].copy()
        np.fill_diagonal(losses_KK, np.inf)
        mass_KS = np.zeros((count, seconds_NK.shape[1]))
        np.add.at(mass_KS, level.labels_N, seconds_NK)
        nearest_KM = losses_KK.argsort(axis=1)[:, : min(NEAREST, count - 1)]
        found = {(min(one, other), max(one, other)) for one in range(count) for other in nearest_KM[one]}
        first, second = np.array(sorted(found)).T
        features.append(features_KKF[first, second])
        different.append(mass_KS.argmax(axis=1)[first] != mass_KS.argmax(axis=1)[second])
    return np.concatenate(features), np.concatenate(different)


def _pair_odds(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """By logistic regression; every recording has the same weight."""
    features_PF, different_P = (np.concatenate(column) for column in zip(*pairs, strict=True))
    weights_P = np.concatenate([np.full(len(different), 100 / len(different)) for _, different in pairs])
    regression = LogisticRegression(C=10, max_iter=5000, fit_intercept=False)
    regression.fit(features_PF / SCALE, different_P, sample_weight=weights_P)
    odds_F: np.ndarray = regression.coef_[0] / SCALE
    return odds_F


def speech(turns: Sequence[Turn], times_N2: np.ndarray) -> np.ndarray:
    """Seconds of each speaker in each window, (N, K)."""
    names = sorted({turn.speaker for turn in turns})
    seconds_NK = np.zeros((len(times_N2), len(names)))
    for turn in turns:
        overlap_N = np.minimum(times_N2[:, 1], turn.end_s) - np.maximum(times_N2[:, 0], turn.onset_s)
        seconds_NK[:, names.index(turn.speaker)] += np.maximum(overlap_N, 0.0)
    return seconds_NK


if __name__ == "__main__":
    main()
