"""Confidence of turns and forecast of the DER, on simulated conversations in many conditions.

    python tools/benchmarks/confidence.py embed --data corpora --out exp/confidence --part train --name fast
    python tools/benchmarks/confidence.py embed --data corpora --out exp/confidence --part dev \
        --name campplus --model campplus.bin --format 3dspeaker --precision bf16
    python tools/benchmarks/confidence.py fit --out exp/confidence --name fast --name small --name campplus
    python tools/benchmarks/confidence.py read --out exp/confidence --name fast --plot docs/img/confidence.svg

``embed`` makes two-minute conversations of 2 to 6 speakers in each of `CONDITIONS`, of training or dev
speakers of two corpora, and keeps the embedded windows (of this machine's own making: a pickle). ``fit``
prints the coefficients of `sdpn.diarization.confidence`, and how those do that were fitted without a
condition on that condition. ``read`` reads them on dev conversations. Both take, beside these, the
conversations of folders of ``counting.py embed`` (``--counting DIR``: three minutes, 2 to 8 speakers, dry, in
a room with noise, and over the telephone).
"""

from __future__ import annotations

import argparse
import json
import pickle
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from counting import read as conversations_of_counting
from scipy.optimize import linear_sum_assignment, minimize
from scipy.special import expit, log_softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score

from sdpn.augmentation.codecs import Coding, clip_peaks, through_codec
from sdpn.augmentation.conditions import telephone
from sdpn.benchmark.held_out import LIBRISPEECH_SPEAKERS, is_held_out_sound
from sdpn.clustering.base import Clustering
from sdpn.clustering.count_calibration import COUNT_ODDS, TERMS, CountEvidence, calibrated_counts, count_terms
from sdpn.clustering.merging import Merging
from sdpn.clustering.one_voice import known_cosines
from sdpn.diarization import forecast
from sdpn.diarization.confidence import FEATURES, RIGHT_ODDS, turn_features
from sdpn.diarization.forecast import OFFSET, recording_features
from sdpn.diarization.pipeline import Diarizer, EmbeddedRecording
from sdpn.diarization.timeline import LabelledSpan, label_speech
from sdpn.diarization.vad import detect_speech
from sdpn.interop.load import load_model
from sdpn.io import audio
from sdpn.io.atomic import atomic_write_text
from sdpn.io.rttm import Turn
from sdpn.metrics.diarization import score_recordings, total_figures
from sdpn.simulation.manifest import Conversation, read_manifest, write_manifest
from sdpn.simulation.mixing import mix
from sdpn.simulation.simulate import SimulationConfig, plan, silently
from sdpn.simulation.sources import Folders
from sdpn.simulation.turn_statistics import voxconverse

CORPORA = {
    "train": {
        "commonvoice": "commonvoice/train",
        "speechocean762": "speechocean762/train",
    },
    "dev": {"commonvoice": "commonvoice/dev", "speechocean762": "speechocean762/dev"},
}
FEWEST_CLIPS = 4
#: Of the conversations; those of ``--seed`` 1 begin `_APART` later.
SEED = {"train": 301, "dev": 401}
_APART = 1000

#: What is done to a conversation before it is mixed, and to its samples.
Change = Callable[[Conversation], Conversation]
Degrade = Callable[[np.ndarray], np.ndarray]


class Condition(NamedTuple):
    """How conversations of a condition are made.

    Attributes:
        change: of the conversation, which is drawn in a room with noise.
        degrade: of its samples.
        drawn: which conversations of a corpus are taken: those of `DRAWN`.
    """

    change: Change = lambda line: line
    degrade: Degrade = lambda wave: wave
    drawn: str = "usual"


def close(line: Conversation) -> Conversation:
    """Close to the microphone."""
    return replace(line, speakers=tuple(who._replace(room=None) for who in line.speakers))


def quiet(line: Conversation) -> Conversation:
    """Without noise."""
    return replace(line, noise=None)


def dry(line: Conversation) -> Conversation:
    """Close and without noise."""
    return close(quiet(line))


def noisy(least_db: float, most_db: float) -> Change:
    """Close, in noise at an SNR between two."""

    def change(line: Conversation) -> Conversation:
        assert line.noise is not None
        share = (line.noise.snr_db - 5.0) / 15.0  # it was drawn from 5 to 20 dB
        return close(replace(line, noise=replace(line.noise, snr_db=least_db + share * (most_db - least_db))))

    return change


def near_and_far(line: Conversation) -> Conversation:
    """Every second speaker is far from the microphone."""
    speakers = [who if index % 2 else who._replace(room=None) for index, who in enumerate(line.speakers)]
    return quiet(replace(line, speakers=tuple(speakers)))


def uneven(line: Conversation) -> Conversation:
    """Speakers whose levels differ by 12 dB from one to the next."""
    phrases = tuple(
        each._replace(gain_db=each.gain_db - 12.0 * (line.utterances[each.utterance].speaker % 3))
        for each in line.phrases
    )
    return dry(replace(line, phrases=phrases))


def over_telephone(wave: np.ndarray) -> np.ndarray:
    """All of it."""
    return telephone(wave, np.random.default_rng(0))


def half_telephone(wave: np.ndarray) -> np.ndarray:
    """The second half."""
    half = len(wave) // 2
    return np.concatenate([wave[:half], over_telephone(wave[half:])])


def clipped(wave: np.ndarray) -> np.ndarray:
    """Cut off at a tenth of the peak."""
    return clip_peaks(wave, 0.1)


def opus(wave: np.ndarray) -> np.ndarray:
    """As calls over poor connections."""
    return through_codec(wave, Coding("opus", 8))


CONDITIONS: dict[str, Condition] = {
    "dry": Condition(dry),
    "noise 10-20 dB": Condition(noisy(10.0, 20.0)),
    "noise 0-8 dB": Condition(noisy(0.0, 8.0)),
    "room": Condition(quiet),
    "room and noise": Condition(),
    "telephone": Condition(dry, over_telephone),
    "telephone in noise": Condition(noisy(5.0, 15.0), over_telephone),
    "half on the telephone": Condition(dry, half_telephone),
    "uneven levels": Condition(uneven),
    "near and far": Condition(near_and_far),
    "Opus 8 kbit/s": Condition(dry, opus),
    "clipped": Condition(dry, clipped),
    "half minutes": Condition(drawn="half minutes"),
    "many speakers": Condition(dry, drawn="many speakers"),
    "one speaker": Condition(drawn="one speaker"),
}

#: Settings of the conversations that are drawn, and how many for each that a condition takes. Those of most
#: conditions are drawn from one pool, of which each takes a part.
DRAWN: dict[str, tuple[dict[str, float], int]] = {
    "usual": ({}, 3),
    "half minutes": ({"duration_s": 30.0, "min_speakers": 1, "max_speakers": 4}, 1),
    "many speakers": ({"min_speakers": 7, "max_speakers": 10}, 1),
    "one speaker": ({"min_speakers": 1, "max_speakers": 1}, 1),
}


class Example(NamedTuple):
    """A conversation with its reference and its windows."""

    corpus: str
    condition: str
    turns: list[Turn]
    embedded: EmbeddedRecording


def conversations(
    data: Path, out: Path, part: str, num: int, seed: int
) -> list[tuple[str, str, Folders, Conversation]]:
    """Corpus, condition, folders and line of each conversation; drawn once."""
    found = []
    for corpus, path in CORPORA[part].items():
        folders = Folders(
            corpora=[_speakers(data / path, out / "speakers" / part / corpus)],
            rir=data / "rir",
            noise=data / "noise",
            draws=is_held_out_sound if part == "dev" else lambda path: not is_held_out_sound(path),
        )
        pools = {}
        for number, (kind, (settings, times)) in enumerate(DRAWN.items()):
            manifest = out / f"{part}.{corpus}.{number}.{seed}.jsonl"
            if not manifest.is_file():
                config = SimulationConfig(
                    num=times * num,
                    seed=SEED[part] + number + _APART * seed,
                    **{"room_share": 1.0, "noise_share": 1.0, "duration_s": 120.0, **settings},  # type: ignore[arg-type]
                )
                lines = plan(config, voxconverse(), folders, detect_speech, jobs=1, progress=silently)
                write_manifest(manifest, lines)
            pools[kind] = read_manifest(manifest)
        for number, (name, condition) in enumerate(CONDITIONS.items()):
            pool = pools[condition.drawn]
            for index in range(num):
                line = condition.change(pool[(number * num + index) % len(pool)])
                recording = f"{corpus}-{seed}-{number:02d}-{index}"
                found.append((corpus, name, folders, replace(line, recording=recording)))
    return found


def _speakers(corpus: Path, folder: Path) -> Path:
    """A folder of links to the speakers with enough clips, without the benchmark's."""
    folder.mkdir(parents=True, exist_ok=True)
    for speaker in sorted(corpus.iterdir()):
        few = not speaker.is_dir() or len(list(speaker.iterdir())) < FEWEST_CLIPS
        held_out = "librispeech" in str(corpus) and speaker.name in LIBRISPEECH_SPEAKERS
        if not few and not held_out and not (folder / speaker.name).exists():
            (folder / speaker.name).symlink_to(speaker.resolve())
    return folder


def embed(args: argparse.Namespace) -> None:
    """Embed the windows of all conversations."""
    model = load_model(args.model, args.format, precision=args.precision)
    diarizer = Diarizer(model)
    examples = []
    args.out.mkdir(parents=True, exist_ok=True)
    atomic_write_text(args.out / f"{args.name[0]}.json", json.dumps(dict(model.calibration)) + "\n")
    for corpus, name, folders, line in conversations(args.data, args.out, args.part, args.num, args.seed):
        wave = CONDITIONS[name].degrade(mix(line, folders.load).astype(np.float32) / 32768)
        embedded = replace(diarizer.embed((wave, audio.RATE_HZ)), recording=line.recording)
        examples.append(Example(corpus, name, line.turns(), embedded)._asdict())
        if zlib.crc32(line.recording.encode()) % 20 == 0:
            print(len(examples), line.recording, flush=True)
    with (args.out / f"{args.part}.{args.name[0]}.{args.seed}.pkl").open("wb") as file:
        pickle.dump(examples, file)


def read_examples(out: Path, part: str, name: str, others: Sequence[Path] = ()) -> list[Example]:
    """What `embed` wrote, and ``counting.py embed`` in other folders."""
    found = []
    for folder in others:
        found += [Example(*each[1:]) for each in conversations_of_counting(folder, name)]
    for path in sorted(out.glob(f"{part}.{name}.*.pkl")):
        with path.open("rb") as file:
            found += [Example(**each) for each in pickle.load(file)]
    return found


@dataclass(frozen=True, kw_only=True)
class WithEvidence(Merging):
    """Keeps what the posterior of the number is made of."""

    evidence: list[CountEvidence] = field(default_factory=list)

    def calibrated(self, evidence: CountEvidence) -> np.ndarray:
        """As always."""
        self.evidence.append(evidence)
        return super().calibrated(evidence)


class Judged(NamedTuple):
    """A diarized conversation: what confidence and forecast are made of, and what was right.

    Attributes:
        condition: of the conversation.
        embedded: the conversation.
        spans: its turns.
        features_SF: of its turns, with an unknown number of speakers.
        right_S: whether the one who speaks most of a turn is whom its label stands for.
        seconds_S: length of the turns.
        der: at collar 0 with overlap.
        true: number of speakers.
        evidence: of their number; None where it was not asked (one window).
    """

    condition: str
    embedded: EmbeddedRecording
    spans: list[LabelledSpan]
    features_SF: np.ndarray
    right_S: np.ndarray
    seconds_S: np.ndarray
    der: float
    true: int
    evidence: CountEvidence | None


def judge(example: Example, cosines: Mapping[str, Any]) -> Judged | None:
    """Diarize with what is known of the model, and compare with the reference; None without speech."""
    embedded = example.embedded
    if not embedded.speech:
        return None
    clusterer = WithEvidence(**cosines)
    clustering = clusterer.fit_predict(embedded.emb_ND, times_N2=embedded.windows.times_N2)
    spans = label_speech(
        embedded.speech, embedded.windows, clustering.labels_N, max_pause_s=embedded.max_pause_s
    )
    turns = [
        Turn(embedded.recording, span.start_s, span.end_s - span.start_s, str(span.label)) for span in spans
    ]
    reference = [replace(turn, recording=embedded.recording) for turn in example.turns]
    scored = score_recordings({embedded.recording: reference}, {embedded.recording: turns})
    return Judged(
        condition=example.condition,
        embedded=embedded,
        spans=spans,
        features_SF=turn_features(embedded, clustering.labels_N, spans, None),
        right_S=right_turns(turns, reference),
        seconds_S=np.array([turn.duration_s for turn in turns]),
        der=total_figures(scored).components.der,
        true=len({turn.speaker for turn in reference}),
        evidence=clusterer.evidence[0] if clusterer.evidence else None,
    )


def right_turns(turns: Sequence[Turn], reference: Sequence[Turn]) -> np.ndarray:
    """Whether the speaker to whom a turn's label is assigned, as for a DER, speaks for most of the turn."""
    labels, names = sorted({turn.speaker for turn in turns}), sorted({turn.speaker for turn in reference})
    shared_TS = np.zeros((len(turns), len(names)))
    for row, turn in enumerate(turns):
        for other in reference:
            seconds = min(turn.end_s, other.end_s) - max(turn.onset_s, other.onset_s)
            shared_TS[row, names.index(other.speaker)] += max(seconds, 0.0)
    number_T = np.array([labels.index(turn.speaker) for turn in turns])
    shared_LS = np.zeros((len(labels), len(names)))
    np.add.at(shared_LS, number_T, shared_TS)
    rows, columns = linear_sum_assignment(shared_LS, maximize=True)
    of_label = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    own_T = np.array(
        [shared_TS[row, of_label[label]] if label in of_label else 0.0 for row, label in enumerate(number_T)]
    )
    seconds_T = np.array([turn.duration_s for turn in turns])
    right: np.ndarray = own_T >= 0.5 * seconds_T
    return right


class Model(NamedTuple):
    """Coefficients of the number's posterior, confidence and forecast."""

    counts: np.ndarray
    odds: np.ndarray
    weights: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    low: float
    high: float
    unusual: float

    def likely_counts(self, each: Judged) -> dict[int, float] | None:
        """Probabilities of numbers of speakers."""
        if each.evidence is None:
            return None
        found = Clustering(np.zeros(1, dtype=int), None, calibrated_counts(each.evidence, self.counts))
        return found.likely_counts

    def turns(self, each: Judged) -> np.ndarray:
        """Features of the turns, with what is known of the number of speakers."""
        counts, features_SF = self.likely_counts(each), each.features_SF.copy()
        if counts is not None:
            number = len({span.label for span in each.spans})
            features_SF[:, FEATURES.index("sureness")] = counts.get(number, 0.0)
        return features_SF

    def sure(self, each: Judged) -> np.ndarray:
        """Confidence of turns."""
        chances: np.ndarray = expit(self.turns(each) @ self.odds)
        return chances

    def recording(self, each: Judged) -> np.ndarray:
        """Features of the recording."""
        return recording_features(
            each.embedded, each.spans, self.turns(each), self.sure(each).tolist(), self.likely_counts(each)
        )

    def log_der(self, each: Judged) -> float:
        """Forecast."""
        return float((self.recording(each) - self.mean) / self.scale @ self.weights)

    def distance(self, each: Judged) -> float:
        """From usual recordings."""
        scaled_F = (self.recording(each) - self.mean) / self.scale
        return float(np.sqrt((scaled_F[1:] ** 2).mean()))


def fit_counts(of: Sequence[Judged], penalty: float = 1.0) -> np.ndarray:
    """Weights of the terms of the number's log odds, by maximum likelihood; the posterior itself is usual."""
    pairs = [
        (count_terms(each.evidence), each.true - 1)
        for each in of
        if each.evidence is not None and each.true <= len(each.evidence.posterior_K)
    ]
    usual = np.eye(len(TERMS))[0]

    def loss(odds_T: np.ndarray) -> tuple[float, np.ndarray]:
        total, slope_T = 0.5 * penalty * ((odds_T - usual) ** 2).sum(), penalty * (odds_T - usual)
        for terms_KT, true in pairs:
            log_K = log_softmax(terms_KT @ odds_T)
            total -= log_K[true]
            slope_T = slope_T + np.exp(log_K) @ terms_KT - terms_KT[true]
        return float(total), slope_T

    found: np.ndarray = minimize(loss, usual, jac=True, method="L-BFGS-B").x
    return found


class LeftOut(NamedTuple):
    """A model without its range that was fitted without a condition, and the residuals that it has there."""

    model: Model
    residuals: list[float]


def fit_model(of: Mapping[str, Sequence[Judged]]) -> Model:
    """Fit to several encoders together, each of the same weight, with the range of conditions left out."""
    return with_range(fit_medians(of), list(leave_out(of).values()))


def leave_out(of: Mapping[str, Sequence[Judged]]) -> dict[str, LeftOut]:
    """Fit without each condition in turn."""
    found = {}
    for condition in CONDITIONS:
        model = fit_medians(without(of, condition))
        found[condition] = LeftOut(
            model,
            [
                float(np.log(judged.der + OFFSET)) - model.log_der(judged)
                for conversations in of.values()
                for judged in conversations
                if judged.condition == condition
            ],
        )
    return found


def with_range(model: Model, parts: Sequence[LeftOut]) -> Model:
    """The model with the range that nine tenths of these residuals lie in."""
    low, high = np.quantile([value for part in parts for value in part.residuals], [0.05, 0.95])
    return model._replace(low=float(low), high=float(high))


def fit_medians(of: Mapping[str, Sequence[Judged]]) -> Model:
    """A model without its range."""
    each = [(name, judged) for name, conversations in of.items() for judged in conversations]
    nothing = np.zeros(0)
    counts = fit_counts([judged for _, judged in each])
    model = Model(counts, nothing, nothing, nothing, nothing, low=0.0, high=0.0, unusual=0.0)
    features_TF = np.concatenate([model.turns(judged) for _, judged in each])
    right_T = np.concatenate([judged.right_S for _, judged in each])
    total = {name: sum(len(judged.right_S) for judged in conversations) for name, conversations in of.items()}
    weights_T = np.concatenate([np.full(len(judged.right_S), 1000 / total[name]) for name, judged in each])
    scale_F = np.maximum(features_TF.std(axis=0), 1e-6)
    regression = LogisticRegression(C=0.3, max_iter=5000)  # the constant has no penalty
    regression.fit((features_TF / scale_F)[:, 1:], right_T, sample_weight=weights_T)
    model = model._replace(odds=np.concatenate([regression.intercept_, regression.coef_[0] / scale_F[1:]]))
    rows_RF = np.stack([model.recording(judged) for _, judged in each])
    mean, scale = rows_RF.mean(axis=0), np.maximum(rows_RF.std(axis=0), 1e-6)
    mean[0], scale[0] = 0.0, 1.0
    shares_R = np.array([1 / len(of[name]) for name, _ in each])
    target_R = np.log(np.array([judged.der for _, judged in each]) + OFFSET)
    ridge = Ridge(alpha=0.3, fit_intercept=False)
    scaled_RF = (rows_RF - mean) / scale
    ridge.fit(scaled_RF, target_R, sample_weight=shares_R)
    distances = np.sqrt((scaled_RF[:, 1:] ** 2).mean(axis=1))
    unusual = float(np.quantile(distances, 0.99))
    return model._replace(weights=ridge.coef_, mean=mean, scale=scale, unusual=unusual)


def without(of: Mapping[str, Sequence[Judged]], condition: str) -> dict[str, list[Judged]]:
    """The conversations of all other conditions."""
    return {
        name: [judged for judged in conversations if judged.condition != condition]
        for name, conversations in of.items()
    }


def figures(conversations: Sequence[Judged], model: Model) -> str:
    """AUROC of 'this turn is wrong', ECE, and how often the DER is within the forecast range."""
    sure_T = np.concatenate([model.sure(judged) for judged in conversations])
    right_T = np.concatenate([judged.right_S for judged in conversations])
    auroc = roc_auc_score(~right_T, -sure_T) if 0 < right_T.sum() < len(right_T) else float("nan")
    logs = [model.log_der(judged) for judged in conversations]
    within = [
        model.low <= np.log(judged.der + OFFSET) - log <= model.high
        for judged, log in zip(conversations, logs, strict=True)
    ]
    errors = [abs(np.exp(log) - OFFSET - each.der) for each, log in zip(conversations, logs, strict=True)]
    der = float(np.mean([judged.der for judged in conversations]))
    unusual = float(np.mean([model.distance(judged) > model.unusual for judged in conversations]))
    return (
        f"{len(right_T)} turns, wrong {100 * (1 - right_T.mean()):.1f} %, AUROC {auroc:.3f}, "
        f"ECE {ece(sure_T, right_T):.3f} ({least_ece(sure_T):.3f}); "
        f"DER {100 * der:.1f} %, within the range {sum(within)} of {len(within)}, "
        f"mean error {100 * float(np.mean(errors)):.1f} points, warned {100 * unusual:.0f} %; "
        f"number of speakers: {counting(conversations, model)}"
    )


def counting(conversations: Sequence[Judged], model: Model) -> str:
    """Exact counts and how far the posterior of the number is calibrated."""
    known = [(judged, model.likely_counts(judged)) for judged in conversations]
    found = [
        (judged, counts) for judged, counts in known if counts is not None and judged.evidence is not None
    ]
    sure = np.array([counts.get(judged.evidence.found, 0.0) for judged, counts in found])  # type: ignore[union-attr]
    exact = np.array([judged.evidence.found == judged.true for judged, _ in found])  # type: ignore[union-attr]
    of_true = np.array([max(counts.get(judged.true, 0.0), 1e-3) for judged, counts in found])
    return (
        f"exact {exact.sum()} of {len(exact)}, mean probability {sure.mean():.2f}, "
        f"ECE {ece(sure, exact, 5):.3f} ({least_ece(sure, 5):.3f}), "
        f"log loss {-np.log(of_true).mean():.2f}"
    )


def least_ece(sure_T: np.ndarray, bins: int = 10) -> float:
    """ECE to be expected of perfectly calibrated probabilities, by chance alone."""
    rng = np.random.default_rng(0)
    return float(np.mean([ece(sure_T, rng.random(len(sure_T)) < sure_T, bins) for _ in range(200)]))


def ece(sure_T: np.ndarray, right_T: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error, in bins with the same number of turns."""
    order = np.argsort(sure_T, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(
        sum(len(part) * abs(sure_T[part].mean() - right_T[part].mean()) for part in parts) / len(sure_T)
    )


def fit(out: Path, names: Sequence[str], others: Sequence[Path]) -> None:
    """Print the coefficients, and figures of conditions that had no part in the fit."""
    train = {name: judged_examples(out, "train", name, others) for name in names}
    parts = leave_out(train)
    model = with_range(fit_medians(train), list(parts.values()))

    def numbers(values: np.ndarray) -> str:
        return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"

    print(f"COUNT_ODDS = np.array({numbers(model.counts)})")
    print(f"RIGHT_ODDS = np.array({numbers(model.odds)})")
    print(f"WEIGHTS = np.array({numbers(model.weights)})")
    print(f"MEAN = np.array({numbers(model.mean)})\nSCALE = np.array({numbers(model.scale)})")
    print(f"RANGE = ({model.low:.3f}, {model.high:.3f})\nUNUSUAL = {model.unusual:.3f}")
    for name in names:
        print(f"{name}, training conversations: {figures(train[name], model)}")
        rest = {other: train[other] for other in names if other != name}
        if rest:
            print(f"{name}, fitted to the other encoders: {figures(train[name], fit_model(rest))}")
    for condition in CONDITIONS:
        others_of = [part for name, part in parts.items() if name != condition]
        unseen = with_range(parts[condition].model, others_of)
        for name in names:
            chosen = [judged for judged in train[name] if judged.condition == condition]
            if chosen:
                print(f"without {condition}: {name}: {figures(chosen, unseen)}", flush=True)


def judged_examples(out: Path, part: str, name: str, others: Sequence[Path]) -> list[Judged]:
    """The conversations of `read_examples`, diarized."""
    cosines = known_cosines(json.loads((out / f"{name}.json").read_text()))
    found = [judge(example, cosines) for example in read_examples(out, part, name, others)]
    return [judged for judged in found if judged is not None]


def shipped() -> Model:
    """The coefficients of the package."""
    return Model(
        COUNT_ODDS,
        RIGHT_ODDS,
        forecast.WEIGHTS,
        forecast.MEAN,
        forecast.SCALE,
        *forecast.RANGE,
        forecast.UNUSUAL,
    )


def read(out: Path, names: Sequence[str], others: Sequence[Path], plot: Path | None) -> None:
    """Figures of the shipped coefficients on dev conversations."""
    model = shipped()
    curves = {}
    for name in names:
        conversations = judged_examples(out, "dev", name, others)
        print(f"{name}, dev: {figures(conversations, model)}")
        raw = model._replace(counts=np.eye(len(TERMS))[0])
        print(f"  number of speakers, not calibrated: {counting(conversations, raw)}")
        for condition in CONDITIONS:
            chosen = [judged for judged in conversations if judged.condition == condition]
            if chosen:
                print(f"  {condition}: {figures(chosen, model)}")
        sure_T = np.concatenate([model.sure(judged) for judged in conversations])
        right_T = np.concatenate([judged.right_S for judged in conversations])
        seconds_T = np.concatenate([judged.seconds_S for judged in conversations])
        curves[name] = risk_coverage(sure_T, right_T, seconds_T)
        for share in (0.5, 0.7, 0.8, 0.9, 1.0):
            coverage, risk = curves[name]
            print(
                f"  surest {100 * share:.0f} % of the time: "
                f"{100 * np.interp(share, coverage, risk):.1f} % wrong"
            )
    if plot is not None:
        draw(curves, plot)


def risk_coverage(
    sure_T: np.ndarray, right_T: np.ndarray, seconds_T: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Share of the time in the surest turns, and the share of that which is in wrong turns."""
    order = np.argsort(-sure_T, kind="stable")
    spent = np.cumsum(seconds_T[order])
    wrong = np.cumsum((seconds_T * ~right_T)[order])
    return spent / spent[-1], wrong / spent


def draw(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Plot risk against coverage."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel="surest share of the time, %", ylabel="in wrong turns, %")
    for name, (coverage, risk) in curves.items():
        keep = coverage > 0.02
        axes.plot(100 * coverage[keep], 100 * risk[keep], label=name)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, None)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("embed", "fit", "read"))
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--data", type=Path, metavar="DIR", help="embed: folder of the corpora")
    parser.add_argument(
        "--part", choices=("train", "dev"), default="train", help="embed: whose conversations"
    )
    parser.add_argument("--num", type=int, default=2, help="embed: conversations of a corpus and condition")
    parser.add_argument("--seed", type=int, default=0, help="embed: of the conversations")
    parser.add_argument("--name", action="append", default=[], help="of the embeddings")
    parser.add_argument("--model", type=Path, help="embed: the model (default: the one in the package)")
    parser.add_argument("--format", help="embed: its format")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="embed: of the network")
    parser.add_argument(
        "--counting", type=Path, action="append", default=[], metavar="DIR", help="fit, read: further ones"
    )
    parser.add_argument("--plot", type=Path, help="read: risk against coverage")
    args = parser.parse_args()
    if args.step == "embed":
        embed(args)
    elif args.step == "fit":
        fit(args.out, args.name, args.counting)
    else:
        read(args.out, args.name, args.counting, args.plot)


if __name__ == "__main__":
    main()
