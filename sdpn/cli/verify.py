"""``sdpn verify``: EER, minDCF and Cllr of verification trials, scored by cosine or PLDA."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdpn.cli.numbers import at_least
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

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

OUTPUTS: dict[str, OutputKind] = {
    "scores": "file",
    "det": "file",
    "save_threshold": "folder",
    "save_calibration": "file",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn verify``."""
    parser.add_argument("--trials", type=Path, required=True, metavar="FILE", help="trial list")
    parser.add_argument(
        "--embeddings",
        type=Path,
        required=True,
        metavar="SCP|ARK",
        help="embeddings as Kaldi scp or ark, for example from 'sdpn extract'",
    )
    back_end = parser.add_argument_group("scores")
    back_end.add_argument(
        "--back-end", type=Path, metavar="FILE",
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
        "--cohort", type=Path, metavar="SCP|ARK",
        help="AS-norm cohort: embeddings of speakers outside the trials",
    )  # fmt: skip
    back_end.add_argument(
        "--top-n", type=at_least(1), default=300, metavar="N",
        help="AS-norm: use the N highest cohort scores of each utterance (default: 300)",
    )  # fmt: skip
    sureness = parser.add_argument_group("confidence interval of the EER")
    sureness.add_argument(
        "--utt2spk", type=Path, metavar="TABLE",
        help="speaker of each utterance; the bootstrap then resamples speakers instead of trials",
    )  # fmt: skip
    sureness.add_argument(
        "--resamples", type=at_least(1), default=1000, metavar="N", help="bootstrap resamples (default: 1000)"
    )
    sureness.add_argument(
        "--seed", type=int, default=0, metavar="S", help="random seed of the bootstrap (default: 0)"
    )
    sureness.add_argument(
        "--utt2dur", type=Path, metavar="TABLE",
        help="seconds of each utterance, which the calibration of a back end takes into account",
    )  # fmt: skip
    out = parser.add_argument_group("output")
    out.add_argument(
        "--scores", type=Path, metavar="FILE", help="write the scores to FILE as 'utterance utterance score'"
    )
    out.add_argument(
        "--det", type=Path, metavar="FILE", help="plot the DET curve to FILE (.png, .svg or .pdf)"
    )
    out.add_argument(
        "--save-calibration", type=Path, metavar="FILE",
        help="fit log-likelihood ratios to these trials, and write the back end with them to FILE",
    )  # fmt: skip
    out.add_argument(
        "--save-threshold", type=Path, metavar="MODEL",
        help="store the cosine at the EER in this model folder, as the threshold of 'sdpn compare'",
    )  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Score, print, and return the figures."""
    from sdpn.evaluation.verify import verify
    from sdpn.io.trials import write_trial_scores

    if args.det is not None and args.det.suffix not in (".png", ".svg", ".pdf"):
        raise InputError("is not a supported image format", path=args.det, hint="use .png, .svg or .pdf")
    steps_given = args.mean or args.plda or args.cohort
    if args.back_end is not None and steps_given:
        raise InputError(
            "--back-end includes a mean, a PLDA and a cohort", hint="remove --mean, --plda and --cohort"
        )
    if args.back_end is None and (args.save_calibration is not None or args.utt2dur is not None):
        raise InputError("--save-calibration and --utt2dur need --back-end FILE, whose scores are calibrated")
    if args.save_threshold is not None and (args.back_end or steps_given):
        raise InputError(
            "--save-threshold needs plain cosines, as used by 'sdpn compare --cosine'",
            hint="remove --back-end, --mean, --plda and --cohort",
        )
    if args.save_threshold is not None and not (args.save_threshold / "config.yaml").is_file():
        raise InputError("is not a model folder, which --save-threshold needs", path=args.save_threshold)
    found = verify(
        args.trials,
        args.embeddings,
        back_end=args.back_end,
        mean=args.mean,
        plda=args.plda,
        cohort=args.cohort,
        top=args.top_n,
        utt2spk=args.utt2spk,
        utt2dur=args.utt2dur,
        calibrate=args.save_calibration is not None,
        resamples=args.resamples,
        seed=args.seed,
    )
    figures, interval = found.figures, found.figures.interval
    results = found.to_dict()
    if args.scores is not None:
        write_trial_scores(args.scores, found.trials, found.scores)
    if args.save_threshold is not None:
        from sdpn.io.model_calibration import store_calibration

        store_calibration(args.save_threshold, "verification_threshold", figures.threshold)
    if found.calibration is not None:
        from sdpn.verification.storage import read_back_end, write_back_end

        write_back_end(
            args.save_calibration, replace(read_back_end(args.back_end), calibration=found.calibration)
        )
    if args.det is not None:
        from sdpn.metrics.det import plot_det

        title = f"{args.embeddings.stem}, {args.trials.name}: {results['scores']}"
        plot_det(args.det, figures.rates, title=title, interval=interval)
    kind = "normalised score" if found.is_normalised else found.steps[0]
    bounds = f"[{100 * interval.low:.2f}, {100 * interval.high:.2f}]"
    print(f"trials        {found.num_target} target, {found.num_nontarget} non-target")
    print(f"scores        {results['scores']}")
    print(f"EER           {100 * figures.eer:.2f} % {bounds}  (at {kind} {figures.threshold:.3f})")
    print(f"minDCF(0.01)  {figures.min_dcf_001:.4f}")
    print(f"minDCF(0.05)  {figures.min_dcf_005:.4f}")
    print(f"Cllr          {figures.cllr:.4f}  (after optimal calibration {figures.min_cllr:.4f})")
    if found.calibrated_cllr is not None:
        print(f"Cllr          {found.calibrated_cllr:.4f}  of the back end's log-likelihood ratios")
    print(f"\n[low, high]: {found.interval}.")
    if args.plda is None or found.is_normalised:
        print("Cllr treats scores as log-likelihood ratios, which these are not without calibration.")
    return results
