"""``sdpn tune``: settings of a clusterer, chosen on recordings with references."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.clusterer_arguments import add_clusterer_arguments, quiet_clusterers
from sdpn.cli.diarization_arguments import diarization_config, pipeline_sections
from sdpn.cli.model_arguments import add_model_arguments, load
from sdpn.cli.numbers import seconds
from sdpn.cli.progress import Meter
from sdpn.cli.table import format_table
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from sdpn.cli.settings import Sections
    from sdpn.tuning.tune import Tuned

DESCRIPTION = """\
Choose the settings of a clusterer on your own recordings: the combination with the lowest DER there. Each
recording is embedded once; then every combination of the values is tried, the defaults first.

What is best on some recordings looks better there than it is. So the DER is also given with every recording
left out of the choice in turn; if that is not below the DER of the defaults, keep the defaults. Do not report
figures on recordings that you tuned on.

Writes to --out:
  settings.yaml    the choice, for sdpn diarize --config
  trials.jsonl     every trial, with the errors of each recording; rerunning the command goes on from it
"""

EXAMPLE = """\
  sdpn tune --ref dev.rttm --out exp/tuned dev/*.flac
  sdpn tune --ref dev.rttm --out exp/tuned --method vbx --try fa=0.1,0.25 --try fb=1,5,10 dev/
  sdpn diarize --config exp/tuned/settings.yaml --out out/ meeting.wav
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn tune``."""
    parser.add_argument("audio", nargs="+", type=Path, metavar="AUDIO", help="files, or folders")
    parser.add_argument(
        "--ref", nargs="+", type=Path, required=True, metavar="RTTM",
        help="reference files, or folders of *.rttm",
    )  # fmt: skip
    parser.add_argument(
        "--uem", type=Path, metavar="UEM", help="regions to score ('recording channel start end')"
    )
    add_model_arguments(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the files go")
    parser.add_argument("--force", action="store_true", help="start again")
    add_clusterer_arguments(parser, default="merging", why="that of sdpn diarize", threshold=None)
    parser.add_argument(
        "--try",
        dest="grid",
        action="append",
        default=[],
        metavar="KEY=V,V",
        help="values of a setting of the clusterer; repeatable: all combinations are tried (default: the "
        "settings that decide on the number of speakers)",
    )
    parser.add_argument(
        "--collar", type=seconds, metavar="S",
        help="seconds not scored on each side of a reference boundary, as in NIST's md-eval (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--skip-overlap", action="store_true", help="exclude overlapping reference speech from scoring"
    )


def settings() -> Sections:
    """The settings of the pipeline."""
    return pipeline_sections()


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Try all combinations, print the table, write the choice.

    Raises:
        InputError: as `sdpn.tuning.tune.tune`, or an option or the reference is wrong.
    """
    args.threshold, args.num_speakers, args.config = None, None, None
    config = diarization_config(args)
    if config.settings:
        raise InputError(
            f"{config.method}.{next(iter(config.settings))} is a setting of the clusterer",
            hint="give it with --try",
        )
    from sdpn import __version__
    from sdpn.diarization.pipeline import Diarizer
    from sdpn.evaluation.score import rttm_files
    from sdpn.io.inputs import recordings
    from sdpn.io.rttm import read_rttms
    from sdpn.io.uem import read_uem
    from sdpn.tuning.grid import USUAL, combinations, parse_grid
    from sdpn.tuning.tune import tune

    grid = parse_grid(args.grid, config.method) or USUAL[config.method]
    combinations(config.method, grid)  # before the model is loaded
    audio_of = recordings(args.audio)
    reference = read_rttms(rttm_files(args.ref))
    regions = None if args.uem is None else read_uem(args.uem)
    model = load(args)
    meter = Meter(quiet=args.quiet, unit="steps")
    try:
        with quiet_clusterers():
            tuned = tune(
                Diarizer(model, config=config),
                audio_of,
                reference,
                grid,
                args.out,
                made_with={"sdpn": __version__, "model": model.fingerprint},
                regions=regions,
                collar_s=args.collar or 0.0,
                skip_overlap=args.skip_overlap,
                force=args.force,
                on_progress=meter.show,
            )
    finally:
        meter.finish()
    results = _results(tuned, config.method)
    _print(results, args.out)
    return results


def _results(tuned: Tuned, method: str) -> dict[str, Any]:
    rows = [
        {
            "settings": trial.settings,
            "der": trial.error_rate(),
            "exact": sum(map(int.__eq__, trial.counts, tuned.num_speakers)),
            "bias": sum(trial.counts) / len(trial.counts) - sum(tuned.num_speakers) / len(trial.counts),
        }
        for trial in tuned.trials
    ]
    return {
        "method": method,
        "recordings": list(tuned.recordings),
        "trials": rows,
        "best": tuned.best.settings,
        "der": tuned.best.error_rate(),
        "der_left_out": tuned.left_out,
        "der_defaults": tuned.trials[0].error_rate(),
    }


def _print(results: dict[str, Any], out: Path) -> None:
    number = len(results["recordings"])
    rows = [
        [
            " ".join(f"{key}={value}" for key, value in row["settings"].items()) or "defaults",
            f"{100 * row['der']:.2f}",
            f"{row['exact']} of {number}",
            f"{row['bias']:+.2f}",
        ]
        for row in sorted(results["trials"], key=lambda row: float(row["der"]))
    ]
    print(format_table(["settings", "DER %", "exact number", "bias"], rows))
    best, left_out, defaults = (100 * results[key] for key in ("der", "der_left_out", "der_defaults"))
    print(
        f"chosen: {rows[0][0]}, DER {best:.2f} % on these {number} recordings; each left out of the choice "
        f"in turn {left_out:.2f} %; defaults {defaults:.2f} %"
    )
    if left_out >= defaults and results["best"]:
        print("the choice is no better than the defaults on recordings that it was not made on: keep those")
    print(f"written: {out / 'settings.yaml'}")
