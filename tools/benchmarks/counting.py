"""Clusterers on conversations of training speakers: numbers of speakers and DER, for any embeddings.

    python tools/benchmarks/counting.py simulate --data corpora --out exp/counting
    python tools/benchmarks/counting.py embed --out exp/counting --name small --model small
    python tools/benchmarks/counting.py embed --out exp/counting --name campplus --model campplus.bin \
        --format 3dspeaker
    python tools/benchmarks/counting.py table --out exp/counting --name campplus
    python tools/benchmarks/counting.py fit --out exp/counting --name small --name campplus

``simulate`` makes conversations of speakers of commonvoice/train (four clips or more), speechocean762/train
and librispeech_excerpt/more (without the benchmark's speakers), with the rooms and noises of training:

- 2 to 8 speakers, two minutes, three seeds, a third each close to the microphone, in a room with noise, and
  over the telephone; three minutes, two seeds, each in all three conditions;
- half minutes in a room with noise in which others cut in, so that about a fifth of the speech is overlapped;
- 2 to 6 speakers of whom every second one is far from the microphone, whose levels differ (standard deviation
  10 dB), or who are half of the time on a telephone;
- 40 speakers in an hour, and 3 to 6 in a quarter of one.

``embed`` computes the windows of each once; ``table`` and ``fit`` take minutes. ``fit`` prints the
coefficients `sdpn.clustering.merging.PAIR_ODDS` and `STEP_ODDS`, fitted to these, to pieces of them of 30 and
75 s, and to the one who speaks most in each, alone; and how they do on corpora that they were not fitted to.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from sdpn.augmentation.conditions import telephone
from sdpn.benchmark.held_out import LIBRISPEECH_SPEAKERS, is_held_out_sound
from sdpn.cli.table import format_markdown
from sdpn.clustering import merging
from sdpn.clustering.base import Clusterer
from sdpn.clustering.merging import Level, Merging, step_features
from sdpn.clustering.recording_model import fit_recording
from sdpn.clustering.registry import CLUSTERERS, make_clusterer
from sdpn.clustering.speaker_pairs import FEATURES, Clusters, PairFeatures
from sdpn.diarization.pipeline import Diarizer, EmbeddedRecording, label_recording
from sdpn.diarization.vad import detect_speech
from sdpn.diarization.windows import Windows
from sdpn.interop.load import load_model
from sdpn.io import audio
from sdpn.io.rttm import Turn, from_annotation, read_rttm, write_rttms
from sdpn.metrics.diarization import NIST_COLLAR_S, score_recordings, total_figures
from sdpn.simulation.manifest import Conversation
from sdpn.simulation.simulate import SimulationConfig, plan, render, silently
from sdpn.simulation.sources import Folders
from sdpn.simulation.turn_statistics import voxconverse
from sdpn.verification.similarity import cosine

CONDITIONS = ("dry", "room and noise", "telephone")
CORPORA = {
    "commonvoice": "commonvoice/train",
    "speechocean762": "speechocean762/train",
    "librispeech": "librispeech_excerpt/more",
}
COUNTS = range(2, 9)
FEWEST_CLIPS = 4

#: Weight in the fit of the step odds: of one speaker alone, of pieces and half minutes, of others.
ONE_SPEAKER, PIECE = 0.5, 0.5
FEWEST_WINDOWS, FEWEST_IN_PIECE = 20, 8
PIECES_S = (30.0, 75.0)

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
    parser.add_argument("step", choices=("simulate", "embed", "table", "fit"))
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--data", type=Path, metavar="DIR", help="simulate: folder of the corpora")
    parser.add_argument("--name", action="append", default=[], help="of the embeddings")
    parser.add_argument("--model", type=Path, help="embed: the model (default: the one in the package)")
    parser.add_argument("--format", help="embed: its format")
    args = parser.parse_args()
    if args.step == "simulate":
        simulate(args.data, args.out)
    elif args.step == "embed":
        embed(args.out, args.name[0], args.model, args.format)
    elif args.step == "table":
        for name in args.name:
            print(f"\n{name}\n\n{table(read(args.out, name))}")
    else:
        print(fit({name: read(args.out, name) for name in args.name}))


def simulate(data: Path, out: Path) -> None:
    """Write the conversations; the name of a folder says kind, corpus, number and condition."""
    for number, (corpus, path) in enumerate(CORPORA.items()):
        speakers = out / "speakers" / corpus
        speakers.mkdir(parents=True, exist_ok=True)
        for folder in sorted((data / path).iterdir()):
            few = corpus == "commonvoice" and len(list(folder.iterdir())) < FEWEST_CLIPS
            held_out = corpus == "librispeech" and folder.name in LIBRISPEECH_SPEAKERS
            if folder.is_dir() and not few and not held_out and not (speakers / folder.name).exists():
                os.symlink(folder.resolve(), speakers / folder.name)
        maker = Maker(
            Folders(
                corpora=[speakers],
                rir=data / "rir",
                noise=data / "noise",
                draws=lambda path: not is_held_out_sound(path),
            ),
            out / "conversations",
            corpus,
        )
        for seed in (1, 2, 3):
            drawn = maker.draw(num=len(COUNTS), seed=seed, duration_s=120.0, counts=COUNTS)
            for index, each in enumerate(sorted(drawn, key=lambda line: len(line.speakers))):
                condition = CONDITIONS[(index + seed + number) % len(CONDITIONS)]
                wet = condition == "room and noise"
                maker.write([each if wet else close(each)], "two-minutes", f"{seed}-{index}", condition)
        for seed in (21, 22):
            drawn = maker.draw(num=len(COUNTS), seed=seed, duration_s=180.0, counts=COUNTS)
            maker.write(drawn, "three-minutes", str(seed), "room and noise")
            for condition in ("dry", "telephone"):
                maker.write(list(map(close, drawn)), "three-minutes", str(seed), condition)
        maker.write_meetings()
        drawn = maker.draw(num=5, seed=41, duration_s=180.0, counts=range(2, 7))
        far = [
            replace(
                each,
                speakers=tuple(
                    who if index % 2 else who._replace(room=None) for index, who in enumerate(each.speakers)
                ),
            )
            for each in drawn
        ]
        maker.write(far, "changes", "41", "near and far")
        maker.write(list(map(close, drawn)), "changes", "41", "half telephone")
        uneven = maker.draw(num=5, seed=41, duration_s=180.0, counts=range(2, 7), level_spread_db=10.0)
        maker.write(list(map(close, uneven)), "changes", "41", "level")
        most, duration_s = (40, 3600.0) if corpus == "commonvoice" else (4, 900.0)
        drawn = maker.draw(num=1, seed=51, duration_s=duration_s, counts=range(most, most + 1))
        maker.write(list(map(close, drawn)), "long", "51", "dry")


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

    def write(self, lines: list[Conversation], kind: str, number: str, condition: str) -> Path:
        """Render conversations into a folder of their own."""
        folder = self.out / ".".join((kind, self.corpus, number, condition.replace(" ", "-")))
        folder.mkdir(parents=True, exist_ok=True)
        render(lines, self.folders, folder, jobs=1, progress=silently)
        return folder

    def write_meetings(self) -> None:
        """Half minutes into which turns of a second conversation are mixed, at the same level."""
        rng = np.random.default_rng(5)
        first = self.draw(num=16, seed=31, duration_s=30.0, counts=range(1, 5), noise_snr_db=(5.0, 15.0))
        second = self.draw(num=16, seed=32, duration_s=30.0, counts=range(1, 3), noise_share=0.0)
        folder = self.write(first, "meetings", "31", "room and noise")
        other = self.write(second, "others", "32", "room")
        turns_of, others = read_rttm(folder / "reference.rttm"), read_rttm(other / "reference.rttm")
        turns: list[Turn] = []
        for index, name in enumerate(sorted(turns_of)):
            wave, more = audio.read(folder / f"{name}.flac"), audio.read(other / f"{name}.flac")
            cut_in = [turn for turn in others[name] if rng.random() < 0.35] if index % 4 else []
            for turn in cut_in:
                short = replace(turn, duration_s=min(turn.duration_s, 4.0))
                span = slice(round(short.onset_s * audio.RATE_HZ), round(short.end_s * audio.RATE_HZ))
                power = float((more[span] ** 2).mean())
                wave[span] += more[span][: len(wave[span])] * np.sqrt((wave**2).mean() / max(power, 1e-9))
                turns.append(short)
            soundfile.write(folder / f"{name}.flac", np.clip(wave, -1.0, 1.0), audio.RATE_HZ)
        write_rttms(
            folder / "reference.rttm", [*turns, *(turn for each in turns_of.values() for turn in each)]
        )
        shutil.rmtree(other)


def close(conversation: Conversation) -> Conversation:
    """The same, close to the microphone and without noise."""
    speakers = tuple(who._replace(room=None) for who in conversation.speakers)
    return replace(conversation, noise=None, speakers=speakers)


def embed(out: Path, name: str, model: Path | None, format: str | None) -> None:
    """Embed the windows of all conversations."""
    diarizer = Diarizer(load_model(model, format))
    examples = []
    for folder in sorted((out / "conversations").iterdir()):
        kind, corpus, _, condition = folder.name.split(".")
        for recording, turns in read_rttm(folder / "reference.rttm").items():
            wave = audio.read(folder / f"{recording}.flac")
            spoken = slice(len(wave) // 2 if condition == "half-telephone" else 0, None)
            if "telephone" in condition:
                wave[spoken] = telephone(wave[spoken], np.random.default_rng(0))
            key = f"{folder.name}.{recording}"
            turns = [replace(turn, recording=key) for turn in turns]
            embedded = replace(diarizer.embed((wave, audio.RATE_HZ)), recording=key)
            condition = condition.replace("-", " ")
            examples.append(Example(kind, corpus, condition, turns, embedded)._asdict())
    with (out / f"{name}.pkl").open("wb") as file:
        pickle.dump(examples, file)


def read(out: Path, name: str) -> list[Example]:
    """The conversations of `embed`, of this machine's own making."""
    with (out / f"{name}.pkl").open("rb") as file:
        return [Example(**each) for each in pickle.load(file)]


def table(examples: Sequence[Example]) -> str:
    """Every clusterer on conversations of two and three minutes, with the number estimated and given."""
    examples = [each for each in examples if each.kind in ("two-minutes", "three-minutes")]
    header = ["clusterer", "exact %", "bias", "DER % / ±0.25 s"]
    header += [f"{condition}: exact, bias, DER" for condition in CONDITIONS] + ["count given: DER"]
    rows = []
    for method in CLUSTERERS:
        clusterer = make_clusterer(method, {"threshold": "calibrated"} if method == "ahc" else {})
        figures = {condition: Figures.of(examples, clusterer, condition) for condition in CONDITIONS}
        whole = Figures.of(examples, clusterer)
        rows.append(
            [
                method,
                f"{100 * whole.exact:.0f}",
                f"{whole.bias:+.2f}",
                whole.der,
                *(f"{100 * each.exact:.0f} %, {each.bias:+.2f}, {each.der}" for each in figures.values()),
                Figures.of(examples, clusterer, given=True).der,
            ]
        )
    return format_markdown(header, rows)


class Figures(NamedTuple):
    """Of one clusterer."""

    exact: float
    bias: float
    der: str

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        clusterer: Clusterer,
        condition: str | None = None,
        *,
        given: bool = False,
    ) -> Figures:
        """On the conversations of one condition, or of all."""
        chosen = [each for each in examples if condition in (None, each.condition)]
        reference = {each.embedded.recording: each.turns for each in chosen}
        found = {
            each.embedded.recording: label_recording(
                each.embedded, clusterer, num_speakers=each.num_speakers if given else None
            ).annotation
            for each in chosen
        }
        hypothesis = {name: from_annotation(turns, name) for name, turns in found.items()}
        wrong = np.array(
            [len(found[each.embedded.recording].labels()) - each.num_speakers for each in chosen]
        )
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
        several = [row for row in rows if row.example.kind != "one"]
        pairs += [_pairs(row.example, found) for row in several if len(found := row.levels()) > 1]
        merging.PAIR_ODDS = _pair_odds(pairs)
    text = "PAIR_ODDS: " + ", ".join(f"{weight:.3f}" for weight in merging.PAIR_ODDS)
    levels = [row.levels() for row in rows]
    names, kinds, corpora = (
        np.array([getattr(row.example, field) if field else row.name for row in rows])
        for field in ("", "kind", "corpus")
    )
    counts = np.array([row.example.num_speakers for row in rows])
    weights = np.select([kinds == "one", np.isin(kinds, ("piece", "meetings"))], [ONE_SPEAKER, PIECE], 1.0)
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
    for corpus in CORPORA:
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


class Row(NamedTuple):
    """An example of one embedding."""

    name: str
    example: Example

    def levels(self) -> Mapping[int, Level]:
        """Of the clusterer with the coefficients of now."""
        emb_ND, times_N2 = self.example.embedded.emb_ND, self.example.embedded.windows.times_N2
        return Merging().levels(emb_ND, times_N2, fit_recording(cosine(emb_ND), times_N2))


def parts(example: Example) -> Iterator[Example]:
    """The example, pieces of it, and the one who speaks most."""
    if example.kind == "long":
        return
    yield example
    if example.kind not in ("two-minutes", "three-minutes"):
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
