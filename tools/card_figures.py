"""The figures of a model card: EER by group, condition, back end and number format; DER by condition.

    python tools/card_figures.py --dev data/dev --train data/train --spk2age corpora/speechocean762/spk2age \\
        --noise data/noise --rir data/rir --conversations sim/dev --meetings data/meetings --json card.json

Without --model, the model included in sdpn. --dev has ``trials`` and utt2spk; --conversations and --meetings
have wav.scp, reference.rttm and optionally reference.uem. Back ends are trained on --train without labels:
its utterances are the cohort of AS-norm, and the halves of each utterance are the training pairs of the PLDA.
Conditions degrade every utterance of the trials with a fixed seed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sdpn.augmentation.conditions import Condition, one_after_another, recorded_conditions, telephone
from sdpn.cli.table import format_markdown
from sdpn.diarization.pipeline import DiarizationConfig, Diarizer, annotate
from sdpn.extraction.embed_parts import embed_parts
from sdpn.interop.load import load_model, read_any
from sdpn.interop.onnx_export import export_onnx, quantise_onnx
from sdpn.io import audio
from sdpn.io.atomic import atomic_write_text
from sdpn.io.kaldi import Utterance, read_data_dir, read_table
from sdpn.io.rttm import from_annotation, read_rttm
from sdpn.io.trials import Trials, read_trials
from sdpn.io.uem import read_uem
from sdpn.metrics.diarization import score_recordings, total_figures
from sdpn.metrics.eer_interval import eer_interval_over_speakers
from sdpn.metrics.verification import equal_error_rate, error_rates
from sdpn.models.embedder import Embedder
from sdpn.pretrained import SHIPPED
from sdpn.verification.back_end import BackEnd
from sdpn.verification.learn import learn_back_end
from sdpn.verification.similarity import Similarity, cosine
from sdpn.verification.storage import has_back_end, read_back_end
from sdpn.verification.trial_scores import as_norm, cohort_statistics, score_trials

#: Younger speakers are children.
_ADULT = 16
#: Utterances that speeds are taken from.
_TIMED = 100
_SEED = 0


def main() -> None:
    """Measure, print tables, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="model folder (default: the one that comes with sdpn)")
    parser.add_argument(
        "--dev", type=Path, required=True, help="data directory of unseen speakers, with trials"
    )
    parser.add_argument("--train", type=Path, required=True, help="data directory that back ends learn from")
    parser.add_argument("--spk2age", type=Path, required=True, help="'speaker age' of the corpus of --dev")
    parser.add_argument("--noise", type=Path, required=True, help="data directory of noises")
    parser.add_argument("--rir", type=Path, required=True, help="data directory of room impulse responses")
    parser.add_argument("--conversations", type=Path, help="simulated conversations of --dev's speakers")
    parser.add_argument("--meetings", type=Path, help="real meetings")
    parser.add_argument("--json", type=Path, help="where the figures go")
    args = parser.parse_args()

    torch.set_num_threads(1)
    model = load_model(args.model)
    figures: dict[str, object] = {}
    trials = read_trials(args.dev / "trials")
    utterances = {utterance.id: utterance for utterance in read_data_dir(args.dev)}
    waves = [utterances[name].read() for name in trials.ids]
    embeddings = model.embed(waves, audio.RATE_HZ)
    back_end = _back_end_of(args.model)
    figures["eer"] = _groups(trials, embeddings, back_end, utterances, args.spk2age)
    figures["eer_by_condition"] = _conditions(model, back_end, trials, waves, noise=args.noise, rir=args.rir)
    figures["eer_by_back_end"] = _back_ends(model, trials, embeddings, read_data_dir(args.train))
    figures["eer_by_format"] = _formats(args.model, model, trials, waves)
    for name in ("conversations", "meetings"):
        folder = getattr(args, name)
        if folder is not None:
            figures[f"der_{name}"] = _der(model, folder)
    for title, rows in figures.items():
        assert isinstance(rows, dict)
        header = list(next(iter(rows.values())))
        print(f"\n{title}\n")
        print(
            format_markdown(
                ["", *header],
                [
                    [
                        key,
                        *(
                            f"{value:.2f}" if isinstance(value, float) else str(value)
                            for value in row.values()
                        ),
                    ]
                    for key, row in rows.items()
                ],
            )
        )
    if args.json is not None:
        atomic_write_text(args.json, json.dumps(figures, indent=2) + "\n")


Row = Mapping[str, float | int | str]


def _back_end_of(model: Path | None) -> BackEnd | None:
    folder = SHIPPED if model is None else model
    return read_back_end(folder) if has_back_end(folder) else None


def _scores(trials: Trials, embeddings: np.ndarray, back_end: BackEnd | None) -> dict[str, np.ndarray]:
    """Scores (N,) by the cosine, and by the model's back end if it has one."""
    scores = {"cosine": score_trials(cosine(embeddings), trials.first, trials.second)}
    if back_end is not None:
        scores["back end"] = back_end.score(embeddings, trials.first, trials.second)
    return scores


def _groups(
    trials: Trials,
    embeddings: np.ndarray,
    back_end: BackEnd | None,
    utterances: Mapping[str, Utterance],
    spk2age: Path,
) -> dict[str, Row]:
    """EER of all trials, and of those whose two utterances belong to one group."""
    scores_by = _scores(trials, embeddings, back_end)
    speakers = [utterances[name].speaker or name for name in trials.ids]
    ages = {name.rsplit("-", 1)[-1]: int(age) for name, age in read_table(spk2age).items()}
    age = np.array([ages[speaker.rsplit("-", 1)[-1]] for speaker in speakers])
    seconds = np.array([utterances[name].read().size / audio.RATE_HZ for name in trials.ids])
    groups = {
        "all": np.ones(len(speakers), dtype=bool),
        "adults": age >= _ADULT,
        "children": age < _ADULT,
        "both utterances under 3 s": seconds < 3,
        "both utterances of 3 s or more": seconds >= 3,
    }
    rows: dict[str, Row] = {}
    for name, member in groups.items():
        of_group = member[trials.first] & member[trials.second]
        rows[name] = {
            **{
                f"EER %, {by}": 100 * _eer(scores[of_group], trials.is_target[of_group])
                for by, scores in scores_by.items()
            },
            "target": int(trials.is_target[of_group].sum()),
            "non-target": int((~trials.is_target[of_group]).sum()),
        }
    _names, place = np.unique(speakers, return_inverse=True)
    for by, scores in scores_by.items():
        interval = eer_interval_over_speakers(
            scores, trials.is_target, place[trials.first], place[trials.second], confidence=0.95
        )
        for name, row in rows.items():
            said = f"{100 * interval.low:.2f}–{100 * interval.high:.2f}" if name == "all" else ""
            rows[name] = {**row, f"interval, {by}": said}
    return rows


def _conditions(
    model: Embedder,
    back_end: BackEnd | None,
    trials: Trials,
    waves: Sequence[np.ndarray],
    *,
    noise: Path,
    rir: Path,
) -> dict[str, Row]:
    conditions: dict[str, list[Condition]] = {
        "as recorded": [],
        "noise at 15 dB": recorded_conditions(noise=noise, snr_db=(15.0, 15.0)),
        "noise at 5 dB": recorded_conditions(noise=noise, snr_db=(5.0, 5.0)),
        "a measured room each": recorded_conditions(rir=rir),
        "telephone (300-3400 Hz, 8 bits of µ-law)": [telephone],
    }
    rows: dict[str, Row] = {}
    for name, steps in conditions.items():
        rng, degrade = np.random.default_rng(_SEED), one_after_another(*steps)
        embeddings = model.embed([degrade(wave, rng) for wave in waves], audio.RATE_HZ)
        rows[name] = {
            f"EER %, {by}": 100 * _eer(scores, trials.is_target)
            for by, scores in _scores(trials, embeddings, back_end).items()
        }
    return rows


def _back_ends(
    model: Embedder, trials: Trials, embeddings: np.ndarray, train: Sequence[Utterance]
) -> dict[str, Row]:
    heard = embed_parts(model, train)
    back_end = learn_back_end(heard.whole_ND, heard.parts_NPD)
    cohort, mean = heard.whole_ND, back_end.mean_D
    rows: dict[str, Row] = {}
    for name, dev, strangers in (
        ("cosine", cosine(embeddings), cosine(cohort)),
        ("cosine, mean subtracted", cosine(embeddings - mean), cosine(cohort - mean)),
        ("PLDA of utterance halves", back_end.similarity(embeddings), back_end.similarity(cohort)),
    ):
        scores = score_trials(dev, trials.first, trials.second)
        means, deviations = cohort_statistics(dev, strangers, top=back_end.top)
        normalised = as_norm(scores, trials.first, trials.second, means, deviations)
        rows[name] = {
            "EER %": 100 * _eer(scores, trials.is_target),
            "EER % with AS-norm": 100 * _eer(normalised, trials.is_target),
        }
    return rows


def _formats(
    path: Path | None, model: Embedder, trials: Trials, waves: Sequence[np.ndarray]
) -> dict[str, Row]:
    """EER of runtimes and number formats, and the speed of each with one thread, an utterance at a time."""
    with tempfile.TemporaryDirectory() as folder:
        graph, small = Path(folder) / "model.onnx", Path(folder) / "model8.onnx"
        export_onnx(graph, read_any(path), input="waveform")
        quantise_onnx(graph, small)
        runtimes = {
            "torch, fp32": model,
            "torch, bf16": load_model(path, precision="bf16"),
            "ONNX, fp32": load_model(graph),
            "ONNX, int8": load_model(small),
        }
        rows: dict[str, Row] = {}
        reference_s = 0.0
        for name, runtime in runtimes.items():
            embeddings = runtime.embed(waves, audio.RATE_HZ)
            started = time.perf_counter()
            for wave in waves[:_TIMED]:
                runtime.embed(wave, audio.RATE_HZ)
            seconds = time.perf_counter() - started
            reference_s = reference_s or seconds
            rows[name] = {
                "EER %": 100 * _trial_eer(trials, cosine(embeddings)),
                "speed": f"{reference_s / seconds:.2f} ×",
            }
    return rows


def _der(model: Embedder, folder: Path) -> dict[str, Row]:
    """DER of recordings with what is known growing from nothing to the speech and the number of speakers."""
    reference = read_rttm(folder / "reference.rttm")
    uem = folder / "reference.uem"
    regions = read_uem(uem) if uem.is_file() else None
    rows: dict[str, Row] = {}
    recordings = read_data_dir(folder)
    for method in ("vbx", "consensus"):
        diarizer = Diarizer(model, config=replace(DiarizationConfig(), method=method))
        for speech_given in (False, True):
            embedded = {
                recording.id: diarizer.embed(
                    recording.path,
                    speech=[(turn.onset_s, turn.end_s) for turn in reference[recording.id]]
                    if speech_given
                    else None,
                )
                for recording in recordings
            }
            for count_given in (False, True):
                hypothesis = {
                    name: from_annotation(
                        annotate(
                            recording,
                            diarizer.clusterer,
                            num_speakers=len({turn.speaker for turn in reference[name]})
                            if count_given
                            else None,
                        ),
                        name,
                    )
                    for name, recording in embedded.items()
                }
                speech, count = ("given" if it else "estimated" for it in (speech_given, count_given))
                whole, nist = (
                    total_figures(
                        score_recordings(
                            reference, hypothesis, regions=regions, collar_s=collar, skip_overlap=skip
                        )
                    ).components.der
                    for collar, skip in ((0.0, False), (0.25, True))
                )
                rows[f"{method}, speech {speech}, count {count}"] = {
                    "DER %": 100 * whole,
                    "±0.25 s, no overlap": 100 * nist,
                }
    return rows


def _trial_eer(trials: Trials, utterances: Similarity) -> float:
    return _eer(score_trials(utterances, trials.first, trials.second), trials.is_target)


def _eer(scores: np.ndarray, is_target: np.ndarray) -> float:
    return equal_error_rate(error_rates(scores, is_target))[0]


if __name__ == "__main__":
    main()
