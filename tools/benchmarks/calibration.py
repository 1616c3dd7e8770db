"""Calibration of the included models' back ends: fitted to held-out training speakers, read on dev trials.

    python tools/benchmarks/calibration.py embed --data held_out --noise noise --model fast --to held_out.npz
    python tools/benchmarks/calibration.py fit --embeddings held_out.npz --back-end sdpn/pretrained/fast \
        --to FILE
    python tools/benchmarks/calibration.py read --data shared/data --back-end FILE \
        --cells exp/benchmark/cells/eer.*.npz

An npz file holds ``ids`` (the speaker is what precedes the last hyphen), ``seconds``, and under the name of
each condition the embeddings of the same utterances. Trials are all pairs within a condition, and between the
first and each other one. ``embed`` makes one of a data directory: as recorded, in noise at 5 dB, and over a
telephone. ``read`` takes the scores of finished cells of ``sdpn benchmark`` and the lengths
from the audio.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import soundfile

import sdpn
from sdpn.augmentation.conditions import noise_at, telephone
from sdpn.extraction.embed_corpus import embed_corpus
from sdpn.io.audio import RATE_HZ
from sdpn.io.inputs import find_utterances
from sdpn.io.trials import read_trials
from sdpn.metrics.verification import cllr, equal_error_rate, error_rates, min_cllr
from sdpn.verification.back_end import BackEnd
from sdpn.verification.calibration import fit_calibration
from sdpn.verification.storage import read_back_end, write_back_end


def main() -> None:
    """Embed, fit, or read."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("embed", "fit", "read"))
    parser.add_argument("--embeddings", type=Path, nargs="+", default=[])
    parser.add_argument("--back-end", type=Path, help="fit, read")
    parser.add_argument("--to", type=Path, help="embed: the npz file; fit: the calibrated back end")
    parser.add_argument("--data", type=Path, help="embed: data directory; read: folder of the corpora")
    parser.add_argument("--model", help="embed")
    parser.add_argument("--noise", type=Path, help="embed: data directory or folder")
    parser.add_argument("--cells", type=Path, nargs="+", default=[])
    args = parser.parse_args()
    if args.step == "embed":
        embed(args.data, args.noise, args.model, args.to)
        return
    back_end = read_back_end(args.back_end)
    if args.step == "fit":
        parts = [trials(path, back_end) for path in args.embeddings]
        scores, is_target, seconds_N2 = (np.concatenate(column) for column in zip(*parts, strict=True))
        for name, seconds in (("by length", seconds_N2), ("line", None)):
            fitted = fit_calibration(scores, is_target, seconds)
            figures = error_rates(scores, is_target)
            print(
                f"{name}: {np.round(fitted.weights_W, 3).tolist()}, Cllr "
                f"{cllr(fitted(scores, seconds), is_target):.3f}, smallest {min_cllr(figures):.3f}"
            )
        if args.to is not None:
            fitted = fit_calibration(scores, is_target, seconds_N2)
            write_back_end(args.to, replace(back_end, calibration=fitted))
        return
    assert back_end.calibration is not None
    for path in args.cells:
        corpus = args.data / path.name.split(".")[1] / "dev"
        listed = read_trials(corpus.parent / "dev_trials")
        lengths = np.array([_seconds(corpus, name) for name in listed.ids])
        with np.load(path) as cell:
            scores, is_target = cell["back end"], cell["is_target"]
        seconds_N2 = np.stack([lengths[listed.first], lengths[listed.second]], axis=1)
        assert (is_target == listed.is_target).all()
        rates = error_rates(scores, is_target)
        print(
            f"{path.name}: EER {100 * equal_error_rate(rates)[0]:.2f} %, "
            f"Cllr of scores {cllr(scores, is_target):.3f}, "
            f"of ratios {cllr(back_end.calibration(scores, seconds_N2), is_target):.3f}, "
            f"smallest {min_cllr(rates):.3f}"
        )


def embed(data: Path, noise: Path, model: str, to: Path) -> None:
    """Embeddings of every utterance as recorded and in the other conditions."""
    utterances = find_utterances(data, [])
    in_noise = noise_at([entry.read() for entry in find_utterances(noise, [])], (5.0, 5.0))
    rng = np.random.default_rng(0)
    seconds = np.zeros(len(utterances))

    def pieces(wave_S: np.ndarray, index: int) -> list[np.ndarray]:
        seconds[index] = len(wave_S) / RATE_HZ
        return [wave_S, in_noise(wave_S, rng), telephone(wave_S, rng)]

    found = embed_corpus(sdpn.load_model(model), utterances, pieces=pieces)
    emb_NCD = np.stack([each.embeddings_ND for each in found])
    columns = dict(zip(("as recorded", "noise 5 dB", "telephone"), emb_NCD.transpose(1, 0, 2), strict=True))
    ids = np.array([each.id for each in utterances])
    np.savez(to, ids=ids, seconds=seconds, **columns)


def trials(path: Path, back_end: BackEnd) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, whether one speaker, and lengths of pairs."""
    with np.load(path) as file:
        arrays = dict(file)
    speakers = np.array([name.rpartition("-")[0] for name in arrays.pop("ids")])
    seconds = arrays.pop("seconds")
    num, conditions = len(speakers), list(arrays)
    emb_MD = np.concatenate([arrays[name] for name in conditions])
    first, second = np.triu_indices(num, 1)
    found = []
    for one, other in combinations_with_replacement(range(len(conditions)), 2):
        if one == other or one == 0:
            scores = back_end.score(emb_MD, first + one * num, second + other * num)
            lengths = np.stack([seconds[first], seconds[second]], axis=1)
            found.append((scores, speakers[first] == speakers[second], lengths))
    scores, is_target, seconds_N2 = (np.concatenate(column) for column in zip(*found, strict=True))
    return scores, is_target, seconds_N2


def _seconds(corpus: Path, name: str) -> float:
    """Length of an utterance of the trials."""
    path = next(iter(corpus.glob(f"{name}.*")), None) or next(corpus.glob(f"*/{name}.*"))
    return float(soundfile.info(path).duration)


if __name__ == "__main__":
    main()
