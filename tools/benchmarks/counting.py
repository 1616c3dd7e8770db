"""Clusterers on conversations of training speakers: numbers of speakers and DER, for any embeddings.

    python tools/benchmarks/counting.py simulate --data corpora --out exp/counting
    python tools/benchmarks/counting.py embed --out exp/counting --name small
    python tools/benchmarks/counting.py embed --out exp/counting --name campplus --model campplus.bin \
        --format 3dspeaker
    python tools/benchmarks/counting.py table --out exp/counting --name campplus
    python tools/benchmarks/counting.py fit --out exp/counting --name small --name campplus

``simulate`` makes 63 conversations of two minutes: of 2 to 8 speakers of commonvoice/train (four clips or
more), speechocean762/train and librispeech_excerpt/more (without the benchmark's speakers), three seeds, a
third each close to the microphone, in a measured room with noise, and over the telephone. ``embed`` computes
the windows of each once; ``table`` and ``fit`` take seconds. ``fit`` prints the coefficients of
`sdpn.clustering.merging.STEP_ODDS` and how they do on corpora that they were not fitted to.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import softmax

from sdpn.augmentation.conditions import telephone
from sdpn.benchmark.held_out import LIBRISPEECH_SPEAKERS, is_held_out_sound
from sdpn.cli.table import format_markdown
from sdpn.clustering.base import Clusterer
from sdpn.clustering.merging import Merging, step_features
from sdpn.clustering.recording_model import fit_recording
from sdpn.clustering.registry import CLUSTERERS, make_clusterer
from sdpn.diarization.pipeline import Diarizer, EmbeddedRecording, label_recording
from sdpn.diarization.vad import detect_speech
from sdpn.interop.load import load_model
from sdpn.io import audio
from sdpn.io.rttm import Turn, from_annotation, read_rttm
from sdpn.metrics.diarization import NIST_COLLAR_S, score_recordings, total_figures
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
SEEDS, COUNTS, DURATION_S = (1, 2, 3), range(2, 9), 120.0
FEWEST_CLIPS = 4

#: Weight of a recording of one speaker in the fit: there are as many as conversations of 2 to 8 speakers.
ONE_SPEAKER = 0.15
FEWEST_WINDOWS = 20  # of a speaker who makes a recording of his own


class Example(NamedTuple):
    """A conversation with its windows."""

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
    """Write the conversations, and the condition of each."""
    for number, (corpus, path) in enumerate(CORPORA.items()):
        speakers = out / "speakers" / corpus
        speakers.mkdir(parents=True, exist_ok=True)
        for folder in sorted((data / path).iterdir()):
            few = corpus == "commonvoice" and len(list(folder.iterdir())) < FEWEST_CLIPS
            held_out = corpus == "librispeech" and folder.name in LIBRISPEECH_SPEAKERS
            if folder.is_dir() and not few and not held_out and not (speakers / folder.name).exists():
                os.symlink(folder.resolve(), speakers / folder.name)
        folders = Folders(
            corpora=[speakers],
            rir=data / "rir",
            noise=data / "noise",
            draws=lambda path: not is_held_out_sound(path),
        )
        for seed in SEEDS:
            config = SimulationConfig(
                num=len(COUNTS),
                seed=seed,
                duration_s=DURATION_S,
                min_speakers=COUNTS[0],
                max_speakers=COUNTS[-1],
                room_share=1.0,
                noise_share=1.0,
            )
            drawn = plan(config, voxconverse(), folders, detect_speech, jobs=1, progress=silently)
            conditions, lines = {}, []
            for index, each in enumerate(sorted(drawn, key=lambda line: len(line.speakers))):
                condition = CONDITIONS[(index + seed + number) % len(CONDITIONS)]
                conditions[each.recording] = condition
                close = tuple(who._replace(room=None) for who in each.speakers)
                wet = condition == "room and noise"
                lines.append(each if wet else replace(each, noise=None, speakers=close))
            folder = out / "conversations" / f"{corpus}.{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            render(lines, folders, folder, jobs=1, progress=silently)
            (folder / "conditions.json").write_text(json.dumps(conditions), encoding="utf-8")


def embed(out: Path, name: str, model: Path | None, format: str | None) -> None:
    """Embed the windows of all conversations."""
    diarizer = Diarizer(load_model(model, format))
    examples = []
    for folder in sorted((out / "conversations").iterdir()):
        turns_of = read_rttm(folder / "reference.rttm")
        for recording, condition in json.loads((folder / "conditions.json").read_text("utf-8")).items():
            wave = audio.read(folder / f"{recording}.flac")
            if condition == "telephone":
                wave = telephone(wave, np.random.default_rng(0))
            key = f"{folder.name}.{recording}"
            turns = [replace(turn, recording=key) for turn in turns_of[recording]]
            embedded = replace(diarizer.embed((wave, audio.RATE_HZ)), recording=key)
            examples.append(Example(folder.name.partition(".")[0], condition, turns, embedded)._asdict())
    with (out / f"{name}.pkl").open("wb") as file:
        pickle.dump(examples, file)


def read(out: Path, name: str) -> list[Example]:
    """The conversations of `embed`, of this machine's own making."""
    with (out / f"{name}.pkl").open("rb") as file:
        return [Example(**each) for each in pickle.load(file)]


def table(examples: Sequence[Example]) -> str:
    """Every clusterer, with the number estimated and given."""
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
    rows = [
        (name, each.corpus, *row) for name, examples in of.items() for each in examples for row in _rows(each)
    ]
    num = max(len(features) for *_, features in rows)
    names, corpora, counts, weights = (np.array([row[column] for row in rows]) for column in range(4))
    features_RKF = np.zeros((len(rows), num, 4))
    possible_RK = np.zeros((len(rows), num), dtype=bool)
    for index, (*_, features) in enumerate(rows):
        features_RKF[index, : len(features)], possible_RK[index, : len(features)] = features, True
    true_R = np.minimum(counts, possible_RK.sum(axis=1)) - 1

    def posterior(weights_F: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        sums_RK = np.cumsum(features_RKF[chosen] @ weights_F, axis=1)
        result: np.ndarray = softmax(np.where(possible_RK[chosen], sums_RK, -np.inf), axis=1)
        return result

    def solve(chosen: np.ndarray) -> np.ndarray:
        def cost(weights_F: np.ndarray) -> float:
            right = posterior(weights_F, chosen)[np.arange(chosen.sum()), true_R[chosen]]
            likelihood = np.average(np.log(right + 1e-9), weights=weights[chosen])
            return float(0.01 * (weights_F**2).mean() - likelihood)

        solution: np.ndarray = minimize(cost, np.zeros(4), method="L-BFGS-B").x
        return solution

    found_R, sure_R = np.zeros(len(rows)), np.zeros(len(rows))
    for corpus in CORPORA:
        out = corpora == corpus
        posterior_RK = posterior(solve(~out), out)
        median = (posterior_RK.cumsum(axis=1) < 0.5).sum(axis=1)
        found_R[out], sure_R[out] = median + 1, posterior_RK[np.arange(len(median)), median]
    lines = ["constant, loss, distance, second: " + ", ".join(f"{w:.3f}" for w in solve(counts > 0))]
    for name in of:
        for single in (False, True):
            chosen = (names == name) & ((counts == 1) == single)
            wrong, order = found_R[chosen] - counts[chosen], np.argsort(-sure_R[chosen])
            half = order[: len(order) // 2]
            lines.append(
                f"{name}, {'one speaker' if single else 'conversations'}: exact {np.mean(wrong == 0):.2f}, "
                f"bias {wrong.mean():+.2f}, mean probability {sure_R[chosen].mean():.2f}; surer half: exact "
                f"{np.mean(wrong[half] == 0):.2f}, mean probability {sure_R[chosen][half].mean():.2f}"
            )
    return "\n".join(lines)


def _rows(example: Example) -> list[tuple[int, float, np.ndarray]]:
    """Number, weight and features of the levels: of all, and of the one who speaks most."""
    embedded = example.embedded
    times_N2, emb_ND = embedded.windows.times_N2, embedded.emb_ND
    rows = [(example.num_speakers, 1.0, _features(emb_ND, times_N2))]
    shares_NK = _speech(example.turns, times_N2)
    most = int(np.bincount(shares_NK.argmax(axis=1)).argmax())
    alone_N = (shares_NK.argmax(axis=1) == most) & (shares_NK.sum(axis=1) - shares_NK.max(axis=1) < 0.1)
    if alone_N.sum() >= FEWEST_WINDOWS:
        rows.append((1, ONE_SPEAKER, _features(emb_ND[alone_N], times_N2[alone_N])))
    return rows


def _features(emb_ND: np.ndarray, times_N2: np.ndarray) -> np.ndarray:
    merging: Any = Merging()
    model = fit_recording(cosine(emb_ND), times_N2)
    levels = merging.levels(emb_ND, model, np.full(len(emb_ND), merging.loop_prob))
    steps = [step_features(num, levels[num], emb_ND.shape[1]) for num in range(2, max(levels) + 1)]
    return np.array([(0.0, 0.0, 0.0, 0.0), *steps])


def _speech(turns: Sequence[Turn], times_N2: np.ndarray) -> np.ndarray:
    """Seconds of each speaker in each window, (N, K)."""
    names = sorted({turn.speaker for turn in turns})
    seconds_NK = np.zeros((len(times_N2), len(names)))
    for turn in turns:
        overlap_N = np.minimum(times_N2[:, 1], turn.end_s) - np.maximum(times_N2[:, 0], turn.onset_s)
        seconds_NK[:, names.index(turn.speaker)] += np.maximum(overlap_N, 0.0)
    return seconds_NK


if __name__ == "__main__":
    main()
