"""Confidence of turns and forecast of the DER, on simulated conversations in many conditions.

    python tools/benchmarks/confidence.py embed --data corpora --out exp/confidence --part train --name fast
    python tools/benchmarks/confidence.py embed --data corpora --out exp/confidence --part dev --name
    campplus \
        --model campplus.bin --format 3dspeaker
    python tools/benchmarks/confidence.py fit --out exp/confidence --name fast --name small --name campplus
    python tools/benchmarks/confidence.py read --out exp/confidence --name fast --plot docs/img/confidence.svg

``embed`` makes two-minute conversations of 2 to 6 speakers in each of `CONDITIONS`, of training speakers of
three corpora or of dev speakers of two, and keeps the embedded windows (of this machine's own making: a
pickle). ``fit`` prints the coefficients of `sdpn.diarization.confidence`, and how those do that were fitted
without a condition on that condition. ``read`` reads them on dev conversations.
"""

from __future__ import annotations

import argparse
import functools
import pickle
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score

from sdpn.augmentation.codecs import Coding, clip_peaks, through_codec
from sdpn.augmentation.conditions import telephone
from sdpn.benchmark.held_out import LIBRISPEECH_SPEAKERS, is_held_out_sound
from sdpn.clustering.registry import make_clusterer
from sdpn.diarization import forecast
from sdpn.diarization.confidence import RIGHT_ODDS, turn_features
from sdpn.diarization.forecast import OFFSET, recording_features
from sdpn.diarization.pipeline import Diarizer, EmbeddedRecording
from sdpn.diarization.timeline import label_speech
from sdpn.diarization.vad import detect_speech
from sdpn.interop.load import load_model
from sdpn.io import audio
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
SEED = {"train": 301, "dev": 401}

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


def conversations(data: Path, out: Path, part: str, num: int) -> list[tuple[str, str, Folders, Conversation]]:
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
            manifest = out / f"{part}.{corpus}.{number}.jsonl"
            if not manifest.is_file():
                config = SimulationConfig(
                    num=times * num,
                    seed=SEED[part] + number,
                    **{"room_share": 1.0, "noise_share": 1.0, "duration_s": 120.0, **settings},  # type: ignore[arg-type]
                )
                lines = plan(config, voxconverse(), folders, detect_speech, jobs=1, progress=silently)
                write_manifest(manifest, lines)
            pools[kind] = read_manifest(manifest)
        for number, (name, condition) in enumerate(CONDITIONS.items()):
            pool = pools[condition.drawn]
            for index in range(num):
                line = condition.change(pool[(number * num + index) % len(pool)])
                recording = f"{corpus}-{number:02d}-{index}"
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
    diarizer = Diarizer(load_model(args.model, args.format))
    examples = []
    for corpus, name, folders, line in conversations(args.data, args.out, args.part, args.num):
        if args.corpus not in (None, corpus) or int(line.recording.rpartition("-")[2]) < args.first:
            continue
        wave = CONDITIONS[name].degrade(mix(line, folders.load).astype(np.float32) / 32768)
        embedded = replace(diarizer.embed((wave, audio.RATE_HZ)), recording=line.recording)
        examples.append(Example(corpus, name, line.turns(), embedded)._asdict())
        if zlib.crc32(line.recording.encode()) % 20 == 0:
            print(len(examples), line.recording, flush=True)
    part = f".{args.corpus}" * (args.corpus is not None) + f".{args.first}" * (args.first > 0)
    with (args.out / f"{args.part}.{args.name[0]}{part}.pkl").open("wb") as file:
        pickle.dump(examples, file)


def read_examples(out: Path, part: str, name: str) -> list[Example]:
    """What `embed` wrote."""
    found = []
    for path in sorted(out.glob(f"{part}.{name}.*pkl")):
        with path.open("rb") as file:
            found += [Example(**each) for each in pickle.load(file)]
    return found


class Judged(NamedTuple):
    """A diarized conversation: what confidence and forecast are made of, and what was right.

    Attributes:
        condition: of the conversation.
        features_SF: of its turns.
        right_S: whether the one who speaks most of a turn is whom its label stands for.
        seconds_S: length of the turns.
        features: of the recording, as a function of the turns' confidence.
        der: at collar 0 with overlap.
        found: number of speakers found, and
        true: their true number.
        counts: posterior of the number.
    """

    condition: str
    features_SF: np.ndarray
    right_S: np.ndarray
    seconds_S: np.ndarray
    features: Callable[[Sequence[float]], np.ndarray]
    der: float
    found: int
    true: int
    counts: dict[int, float] | None


def judge(example: Example, method: str = "merging") -> Judged | None:
    """Diarize and compare with the reference; None without speech."""
    embedded = example.embedded
    if not embedded.speech:
        return None
    clustering = make_clusterer(method).fit_predict(embedded.emb_ND, times_N2=embedded.windows.times_N2)
    spans = label_speech(
        embedded.speech, embedded.windows, clustering.labels_N, max_pause_s=embedded.max_pause_s
    )
    counts = clustering.likely_counts
    features_SF = turn_features(embedded, clustering.labels_N, spans, counts)
    turns = [
        Turn(embedded.recording, span.start_s, span.end_s - span.start_s, str(span.label)) for span in spans
    ]
    reference = [replace(turn, recording=embedded.recording) for turn in example.turns]
    scored = score_recordings({embedded.recording: reference}, {embedded.recording: turns})
    return Judged(
        condition=example.condition,
        features_SF=features_SF,
        right_S=right_turns(turns, reference),
        seconds_S=np.array([turn.duration_s for turn in turns]),
        features=lambda sure: recording_features(embedded, spans, features_SF, sure, counts),
        der=total_figures(scored).components.der,
        found=clustering.num_speakers,
        true=len({turn.speaker for turn in reference}),
        counts=counts,
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
    """Coefficients of confidence and forecast."""

    odds: np.ndarray
    weights: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    low: float
    high: float
    unusual: float

    def sure(self, features_SF: np.ndarray) -> np.ndarray:
        """Confidence of turns."""
        chances: np.ndarray = expit(features_SF @ self.odds)
        return chances

    def log_der(self, each: Judged) -> float:
        """Forecast."""
        features_F = each.features(self.sure(each.features_SF).tolist())
        return float((features_F - self.mean) / self.scale @ self.weights)

    def distance(self, each: Judged) -> float:
        """From usual recordings."""
        features_F = each.features(self.sure(each.features_SF).tolist())
        return float(np.sqrt((((features_F - self.mean) / self.scale)[1:] ** 2).mean()))


def fit_model(of: Mapping[str, Sequence[Judged]], *, spread: bool = True) -> Model:
    """Fit to several encoders together, each of the same weight.

    Args:
        of: conversations of each.
        spread: whether to find the range as well, from conditions that are left out in turn.
    """
    each = [(name, judged) for name, conversations in of.items() for judged in conversations]
    features_TF = np.concatenate([judged.features_SF for _, judged in each])
    right_T = np.concatenate([judged.right_S for _, judged in each])
    total = {name: sum(len(judged.right_S) for judged in conversations) for name, conversations in of.items()}
    weights_T = np.concatenate([np.full(len(judged.right_S), 1000 / total[name]) for name, judged in each])
    scale_F = np.maximum(features_TF.std(axis=0), 1e-6)
    scale_F[0] = 1.0
    regression = LogisticRegression(C=0.3, max_iter=5000, fit_intercept=False)
    regression.fit(features_TF / scale_F, right_T, sample_weight=weights_T)
    odds = regression.coef_[0] / scale_F
    rows_RF = np.stack([judged.features(expit(judged.features_SF @ odds).tolist()) for _, judged in each])
    mean, scale = rows_RF.mean(axis=0), np.maximum(rows_RF.std(axis=0), 1e-6)
    mean[0], scale[0] = 0.0, 1.0
    shares_R = np.array([1 / len(of[name]) for name, _ in each])
    target_R = np.log(np.array([judged.der for _, judged in each]) + OFFSET)
    ridge = Ridge(alpha=0.3, fit_intercept=False)
    scaled_RF = (rows_RF - mean) / scale
    ridge.fit(scaled_RF, target_R, sample_weight=shares_R)
    distances = np.sqrt((scaled_RF[:, 1:] ** 2).mean(axis=1))
    model = Model(odds, ridge.coef_, mean, scale, 0.0, 0.0, float(np.quantile(distances, 0.99)))
    if not spread:
        return model
    residuals = []
    for condition in CONDITIONS:
        rest = fit_model(without(of, condition), spread=False)
        residuals += [
            np.log(judged.der + OFFSET) - rest.log_der(judged)
            for _, judged in each
            if judged.condition == condition
        ]
    low, high = np.quantile(residuals, [0.05, 0.95])
    return model._replace(low=float(low), high=float(high))


def without(of: Mapping[str, Sequence[Judged]], condition: str) -> dict[str, list[Judged]]:
    """The conversations of all other conditions."""
    return {
        name: [judged for judged in conversations if judged.condition != condition]
        for name, conversations in of.items()
    }


def figures(conversations: Sequence[Judged], model: Model) -> str:
    """AUROC of 'this turn is wrong', ECE, and how often the DER is within the forecast range."""
    sure_T = np.concatenate([model.sure(judged.features_SF) for judged in conversations])
    right_T = np.concatenate([judged.right_S for judged in conversations])
    auroc = roc_auc_score(~right_T, -sure_T) if 0 < right_T.sum() < len(right_T) else float("nan")
    within = [
        model.low <= np.log(judged.der + OFFSET) - model.log_der(judged) <= model.high
        for judged in conversations
    ]
    errors = [abs(np.exp(model.log_der(judged)) - OFFSET - judged.der) for judged in conversations]
    der = float(np.mean([judged.der for judged in conversations]))
    unusual = float(np.mean([model.distance(judged) > model.unusual for judged in conversations]))
    return (
        f"{len(right_T)} turns, wrong {100 * (1 - right_T.mean()):.1f} %, AUROC {auroc:.3f}, "
        f"ECE {ece(sure_T, right_T):.3f}; "
        f"DER {100 * der:.1f} %, within the range {sum(within)} of {len(within)}, "
        f"mean error of the forecast {100 * float(np.mean(errors)):.1f} points, warned {100 * unusual:.0f} %"
    )


def ece(sure_T: np.ndarray, right_T: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error, in bins with the same number of turns."""
    order = np.argsort(sure_T, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(
        sum(len(part) * abs(sure_T[part].mean() - right_T[part].mean()) for part in parts) / len(sure_T)
    )


def fit(out: Path, names: Sequence[str]) -> None:
    """Print the coefficients, and figures of conditions that had no part in the fit."""
    train = {name: judged_examples(out, "train", name) for name in names}
    model = fit_model(train)

    def numbers(values: np.ndarray) -> str:
        return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"

    print(f"RIGHT_ODDS = np.array({numbers(model.odds)})")
    print(f"WEIGHTS = np.array({numbers(model.weights)})")
    print(f"MEAN = np.array({numbers(model.mean)})\nSCALE = np.array({numbers(model.scale)})")
    print(f"RANGE = ({model.low:.3f}, {model.high:.3f})\nUNUSUAL = {model.unusual:.3f}")
    for name in names:
        print(f"{name}, training conversations: {figures(train[name], model)}")
    for condition in CONDITIONS:
        rest = fit_model(without(train, condition))
        for name in names:
            for part in ("train", "dev") if (out / f"dev.{name}.pkl").is_file() else ("train",):
                conversations = train[name] if part == "train" else judged_examples(out, "dev", name)
                chosen = [judged for judged in conversations if judged.condition == condition]
                print(f"without {condition}: {name}, {part}: {figures(chosen, rest)}", flush=True)


@functools.cache
def judged_examples(out: Path, part: str, name: str) -> list[Judged]:
    """The conversations of `embed`, diarized."""
    found = [judge(example) for example in read_examples(out, part, name)]
    return [judged for judged in found if judged is not None]


def shipped() -> Model:
    """The coefficients of the package."""
    return Model(
        RIGHT_ODDS, forecast.WEIGHTS, forecast.MEAN, forecast.SCALE, *forecast.RANGE, forecast.UNUSUAL
    )


def read(out: Path, names: Sequence[str], plot: Path | None) -> None:
    """Figures of the shipped coefficients on dev conversations."""
    model = shipped()
    curves = {}
    for name in names:
        conversations = judged_examples(out, "dev", name)
        print(f"{name}, dev: {figures(conversations, model)}")
        for condition in CONDITIONS:
            chosen = [judged for judged in conversations if judged.condition == condition]
            if chosen:
                print(f"  {condition}: {figures(chosen, model)}")
        print(f"  number of speakers: {counting(conversations)}")
        sure_T = np.concatenate([model.sure(judged.features_SF) for judged in conversations])
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


def counting(conversations: Sequence[Judged]) -> str:
    """Exact counts and how far the posterior of the number is calibrated."""
    known = [judged for judged in conversations if judged.counts is not None]
    of_found = np.array([judged.counts.get(judged.found, 0.0) for judged in known])  # type: ignore[union-attr]
    exact = np.array([judged.found == judged.true for judged in known])
    mean, error = of_found.mean(), ece(of_found, exact, 5)
    return f"exact {exact.sum()} of {len(exact)}, mean probability {mean:.2f}, ECE {error:.3f}"


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
    parser.add_argument("--num", type=int, default=4, help="embed: conversations of a corpus and condition")
    parser.add_argument("--corpus", help="embed: only this one, in a file of its own")
    parser.add_argument("--first", type=int, default=0, help="embed: without so many of each condition")
    parser.add_argument("--name", action="append", default=[], help="of the embeddings")
    parser.add_argument("--model", type=Path, help="embed: the model (default: the one in the package)")
    parser.add_argument("--format", help="embed: its format")
    parser.add_argument("--plot", type=Path, help="read: risk against coverage")
    args = parser.parse_args()
    if args.step == "embed":
        embed(args)
    elif args.step == "fit":
        fit(args.out, args.name)
    else:
        read(args.out, args.name, args.plot)


if __name__ == "__main__":
    main()
