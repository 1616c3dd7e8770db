"""``sdpn verify``: EER, minDCF and Cllr of verification trials, scored by cosine or PLDA."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.numbers import at_least
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from sdpn.io.trials import Trials
    from sdpn.metrics.resampling import Interval
    from sdpn.verification.plda import Plda
    from sdpn.verification.similarity import Similarity

DESCRIPTION = """\
Score verification trials: equal error rate (EER) with a bootstrap confidence interval, minimum detection cost
(minDCF, both costs 1, normalised so that always rejecting costs 1), and the cost of log-likelihood ratios
(Cllr, in bits), as it is and after optimal calibration.

Trials are in the format of VoxCeleb ('1|0 utterance utterance') or Kaldi ('utterance utterance
target|nontarget'). Scores are cosines of embeddings, or with --plda log-likelihood ratios, after subtraction
of --mean and before AS-norm with --cohort. --back-end replaces all three by a back end that 'sdpn backend'
has trained on unlabelled recordings."""

EXAMPLE = """\
  sdpn verify --trials data/dev/trials --embeddings exp/mini/embeddings/embeddings.scp
  sdpn verify --trials data/dev/trials --embeddings dev.scp --mean train.scp --cohort train.scp \\
    --utt2spk data/dev/utt2spk --det det.svg
  sdpn verify --trials data/dev/trials --embeddings dev.scp --back-end exp/mini/model"""

_CONFIDENCE = 0.95

OUTPUTS: dict[str, OutputKind] = {"scores": "file", "det": "file", "save_threshold": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn verify``."""
    parser.add_argument("--trials", type=Path, required=True, metavar="FILE", help="trial list")
    parser.add_argument(
        "--embeddings",
        type=Path,
        required=True,
        metavar="SCP",
        help="embeddings as Kaldi scp or ark, for example from 'sdpn extract'",
    )
    back_end = parser.add_argument_group("scores")
    back_end.add_argument(
        "--back-end", type=Path, metavar="MODEL",
        help="score with the PLDA and AS-norm of this back end: a model folder that has one, or a back-end "
             "file",
    )  # fmt: skip
    back_end.add_argument(
        "--mean", type=Path, metavar="FILE",
        help="mean to subtract from every embedding: that of an scp or ark, or a file with one Kaldi vector",
    )  # fmt: skip
    back_end.add_argument(
        "--plda", type=Path, metavar="FILE", help="score with this Kaldi PLDA instead of the cosine"
    )
    back_end.add_argument(
        "--cohort", type=Path, metavar="SCP",
        help="AS-norm cohort: embeddings of speakers outside the trials",
    )  # fmt: skip
    back_end.add_argument(
        "--top-n", type=at_least(1), default=300, metavar="N",
        help="AS-norm: use the N highest cohort scores of each utterance (default: 300)",
    )  # fmt: skip
    sureness = parser.add_argument_group("confidence interval of the EER")
    sureness.add_argument(
        "--utt2spk", type=Path, metavar="FILE",
        help="speaker of each utterance; the bootstrap then resamples speakers instead of trials",
    )  # fmt: skip
    sureness.add_argument(
        "--resamples", type=at_least(1), default=1000, metavar="N", help="bootstrap resamples (default: 1000)"
    )
    sureness.add_argument(
        "--seed", type=int, default=0, metavar="S", help="random seed of the bootstrap (default: 0)"
    )
    out = parser.add_argument_group("output")
    out.add_argument(
        "--scores", type=Path, metavar="FILE", help="write the scores to FILE as 'utterance utterance score'"
    )
    out.add_argument(
        "--det", type=Path, metavar="FILE", help="plot the DET curve to FILE (.png, .svg or .pdf)"
    )
    out.add_argument(
        "--save-threshold", type=Path, metavar="MODEL",
        help="store the cosine at the EER in this model folder, as the threshold of 'sdpn compare'",
    )  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Score, print, and return the figures."""
    from sdpn.io.kaldi import read_vectors
    from sdpn.io.trials import read_trials
    from sdpn.metrics.verification import cllr, equal_error_rate, error_rates, min_cllr, min_dcf

    if args.det is not None and args.det.suffix not in (".png", ".svg", ".pdf"):
        raise InputError("is not a supported image format", path=args.det, hint="use .png, .svg or .pdf")
    steps_given = args.mean or args.plda or args.cohort
    if args.back_end is not None and steps_given:
        raise InputError(
            "--back-end includes a mean, a PLDA and a cohort", hint="remove --mean, --plda and --cohort"
        )
    if args.save_threshold is not None and (args.back_end or steps_given):
        raise InputError(
            "--save-threshold needs plain cosines, as used by 'sdpn compare --cosine'",
            hint="remove --back-end, --mean, --plda and --cohort",
        )
    if args.save_threshold is not None and not (args.save_threshold / "config.yaml").is_file():
        raise InputError("is not a model folder, which --save-threshold needs", path=args.save_threshold)
    trials = read_trials(args.trials)
    num_target = int(trials.is_target.sum())
    num_nontarget = len(trials) - num_target
    if not num_target or not num_nontarget:
        raise InputError(
            f"has {num_target} target and {num_nontarget} non-target trials; both are needed",
            path=args.trials,
        )
    speakers = None if args.utt2spk is None else _speakers(trials, args.utt2spk)
    rows = _rows(trials, read_vectors(args.embeddings), args.embeddings)
    if args.back_end is not None:
        scores, steps = _by_back_end(args, rows, trials)
    else:
        scores, steps = _by_steps(args, rows, trials)
    is_normalised = args.cohort is not None or args.back_end is not None
    kind = "normalised score" if is_normalised else steps[0]

    rates = error_rates(scores, trials.is_target)
    eer, threshold = equal_error_rate(rates)
    interval, method = _interval(scores, trials, speakers, args)
    results = {
        "eer": eer,
        "min_dcf_001": min_dcf(rates, 0.01),
        "min_dcf_005": min_dcf(rates, 0.05),
        "num_target": num_target,
        "num_nontarget": num_nontarget,
        "threshold": threshold,
        "eer_low": interval.low,
        "eer_high": interval.high,
        "eer_interval": method,
        "cllr": cllr(scores, trials.is_target),
        "min_cllr": min_cllr(rates),
        "scores": ", ".join(steps),
    }
    if args.scores is not None:
        _write_scores(args.scores, trials, scores)
    if args.save_threshold is not None:
        from sdpn.io.calibration import store_calibration

        store_calibration(args.save_threshold, "verification_threshold", threshold)
    if args.det is not None:
        from sdpn.metrics.det import plot_det

        title = f"{args.embeddings.stem}, {args.trials.name}: {results['scores']}"
        plot_det(args.det, rates, title=title, interval=interval)
    bounds = f"[{100 * interval.low:.2f}, {100 * interval.high:.2f}]"
    print(f"trials        {num_target} target, {num_nontarget} non-target")
    print(f"scores        {results['scores']}")
    print(f"EER           {100 * eer:.2f} % {bounds}  (at {kind} {threshold:.3f})")
    print(f"minDCF(0.01)  {results['min_dcf_001']:.4f}")
    print(f"minDCF(0.05)  {results['min_dcf_005']:.4f}")
    print(f"Cllr          {results['cllr']:.4f}  (after optimal calibration {results['min_cllr']:.4f})")
    print(f"\n[low, high]: {method}.")
    if args.plda is None or is_normalised:
        print("Cllr treats scores as log-likelihood ratios, which these are not without calibration.")
    return results


def _by_back_end(args: argparse.Namespace, rows: np.ndarray, trials: Trials) -> tuple[np.ndarray, list[str]]:
    """Scores (N,) of a back end, and a description of its steps."""
    from sdpn.verification.storage import model_of_embeddings, read_back_end

    back_end = read_back_end(args.back_end)
    back_end.refuse_other_model(model_of_embeddings(args.embeddings), path=args.embeddings)
    try:
        scores = back_end.score(rows, trials.first, trials.second)
    except InputError as error:
        raise InputError(error.message, path=args.embeddings, hint=error.hint) from None
    return scores, [
        "PLDA log-likelihood ratio",
        "mean subtracted",
        "length 1",
        f"AS-norm (top {back_end.top} of {len(back_end.cohort_CD)})",
    ]


def _by_steps(args: argparse.Namespace, rows: np.ndarray, trials: Trials) -> tuple[np.ndarray, list[str]]:
    """Scores (N,) by the steps given as options, and their description."""
    import numpy as np

    from sdpn.io.kaldi import read_vectors
    from sdpn.verification.plda import read_plda
    from sdpn.verification.trial_scores import score_trials

    mean = None if args.mean is None else _mean(args.mean, rows.shape[1])
    plda = None if args.plda is None else read_plda(args.plda)
    utterances = _similarity(rows, trials.ids, args.embeddings, mean, plda)
    scores = score_trials(utterances, trials.first, trials.second)
    kind = "cosine" if args.plda is None else "PLDA log-likelihood ratio"
    steps = [kind] + ["mean subtracted"] * (mean is not None)
    if args.cohort is not None:
        cohort = read_vectors(args.cohort)
        cohort_rows = np.stack(list(cohort.values()))
        if cohort_rows.shape[1] != rows.shape[1]:
            raise InputError(
                f"the cohort has {cohort_rows.shape[1]} dimensions, the embeddings have {rows.shape[1]}",
                path=args.cohort,
            )
        strangers = _similarity(cohort_rows, list(cohort), args.cohort, mean, plda)
        top = min(args.top_n, len(strangers))
        scores = _normalised(scores, trials, utterances, strangers, top, args.cohort)
        steps.append(f"AS-norm (top {top} of {len(strangers)})")
    return scores, steps


def _rows(trials: Trials, vectors: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    """The embeddings of ``trials.ids``, float32 (M, D)."""
    import numpy as np

    is_unknown = np.array([name not in vectors for name in trials.ids])
    if is_unknown.any():
        name, line = _first_trial(trials, is_unknown)
        raise InputError(
            f"utterance {name!r} has no embedding in {path}"
            f" ({is_unknown.sum()} of {len(is_unknown)} utterances have none)",
            path=trials.path,
            line=line,
        )
    return np.stack([vectors[name] for name in trials.ids])


def _first_trial(trials: Trials, is_marked: np.ndarray) -> tuple[str, int]:
    """The first trial with a marked utterance: the utterance's name, and the trial's line."""
    import numpy as np

    trial = int(np.argmax(is_marked[trials.first] | is_marked[trials.second]))
    at = next(at for at in (trials.first[trial], trials.second[trial]) if is_marked[at])
    return trials.ids[at], int(trials.lines[trial])


def _mean(path: Path, dimension: int) -> np.ndarray:
    """The mean of a table of vectors, or the one vector of a file; float64 (D,)."""
    import numpy as np

    from sdpn.io.ark import open_ark, vector_at
    from sdpn.io.kaldi import read_vectors

    if path.suffix in (".scp", ".ark"):
        mean: np.ndarray = np.stack(list(read_vectors(path).values())).mean(axis=0, dtype=np.float64)
    else:
        try:
            mean = vector_at(open_ark(path), 0)[0].astype(np.float64)
        except FileNotFoundError:
            raise InputError("no such file", path=path) from None
        except (OSError, ValueError) as error:
            raise InputError(
                f"is not a Kaldi vector ({error})",
                path=path,
                hint="the name of a table of vectors must end in .scp or .ark",
            ) from error
        if not np.isfinite(mean).all():
            raise InputError("the vector contains NaN or infinite values", path=path)
    if len(mean) != dimension:
        raise InputError(f"has {len(mean)} dimensions, but the embeddings have {dimension}", path=path)
    return mean


def _similarity(
    rows: np.ndarray, names: list[str], path: Path, mean: np.ndarray | None, plda: Plda | None
) -> Similarity:
    """The similarity of embeddings: cosine or PLDA, after subtraction of the mean."""
    import numpy as np

    from sdpn.verification.similarity import cosine

    rows = rows.astype(np.float64)
    if mean is not None:
        rows -= mean
    is_zero = ~rows.any(axis=1)
    if is_zero.any():
        raise InputError(
            f"the embedding of {names[int(np.argmax(is_zero))]!r} is all zeros and has no direction",
            path=path,
            hint="extract it again" if mean is None else "it equals the mean",
        )
    return cosine(rows) if plda is None else plda.similarity(rows)


def _normalised(
    scores: np.ndarray, trials: Trials, utterances: Similarity, cohort: Similarity, top: int, path: Path
) -> np.ndarray:
    """AS-norm of the scores (N,)."""
    import numpy as np

    from sdpn.verification.trial_scores import as_norm, cohort_statistics

    means, deviations = cohort_statistics(utterances, cohort, top=top)
    if not deviations.all():
        raise InputError(
            f"the {top} highest scores of {trials.ids[int(np.argmin(deviations))]!r} against the cohort "
            "are all equal, so their standard deviation is zero",
            path=path,
            hint="use a cohort of hundreds of different utterances",
        )
    return as_norm(scores, trials.first, trials.second, means, deviations)


def _speakers(trials: Trials, path: Path) -> np.ndarray:
    """Number of the speaker of each utterance, integer (M,), once they agree with the trials' labels."""
    import numpy as np

    from sdpn.io.kaldi import read_table

    table = read_table(path)
    is_unknown = np.array([name not in table for name in trials.ids])
    if is_unknown.any():
        name, line = _first_trial(trials, is_unknown)
        raise InputError(f"utterance {name!r} has no speaker in {path}", path=trials.path, line=line)
    numbers: dict[str, int] = {}
    speakers = np.array([numbers.setdefault(table[name], len(numbers)) for name in trials.ids])
    is_wrong = (speakers[trials.first] == speakers[trials.second]) != trials.is_target
    if is_wrong.any():
        trial = int(np.argmax(is_wrong))
        names = [trials.ids[trials.first[trial]], trials.ids[trials.second[trial]]]
        raise InputError(
            f"a {'target' if trials.is_target[trial] else 'non-target'} trial of {names[0]!r}, who is"
            f" {table[names[0]]!r} in {path}, and {names[1]!r}, who is {table[names[1]]!r}"
            f" ({is_wrong.sum()} such trials)",
            path=trials.path,
            line=int(trials.lines[trial]),
        )
    return speakers


def _interval(
    scores: np.ndarray, trials: Trials, speakers: np.ndarray | None, args: argparse.Namespace
) -> tuple[Interval, str]:
    """The interval of the EER, and a description of how it was computed."""
    from sdpn.metrics.eer_interval import eer_interval_over_speakers, eer_interval_over_trials

    options = {"resamples": args.resamples, "confidence": _CONFIDENCE, "seed": args.seed}
    said = f"the middle {100 * _CONFIDENCE:g} % of {args.resamples} bootstrap resamples (seed {args.seed}) of"
    if speakers is None:
        interval = eer_interval_over_trials(scores, trials.is_target, **options)
        return interval, (
            f"{said} the trials, which assumes that they are independent: if utterances or speakers recur, "
            "the EER is less certain than this (--utt2spk resamples speakers)"
        )
    interval = eer_interval_over_speakers(
        scores, trials.is_target, speakers[trials.first], speakers[trials.second], **options
    )
    return interval, f"{said} the {len(set(speakers.tolist()))} speakers"


def _write_scores(path: Path, trials: Trials, scores: np.ndarray) -> None:
    from sdpn.io.atomic import atomic_write_text

    rows = zip(trials.first.tolist(), trials.second.tolist(), scores.tolist(), strict=True)
    atomic_write_text(
        path,
        "".join(f"{trials.ids[first]} {trials.ids[second]} {score:.6f}\n" for first, second, score in rows),
    )
