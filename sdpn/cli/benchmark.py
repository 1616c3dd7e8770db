"""``sdpn benchmark``: one table of a model, or of several side by side."""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sdpn.cli.clusterer_arguments import add_diarization_clusterer, quiet_clusterers
from sdpn.cli.diarization_arguments import diarization_config, diarization_settings
from sdpn.cli.model_arguments import FORMATS
from sdpn.cli.numbers import at_least
from sdpn.cli.progress import Meter, track
from sdpn.cli.segmentation_arguments import add_network_arguments
from sdpn.cli.table import format_markdown
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind
from sdpn.pretrained import SHIPPED, model_path

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sdpn.benchmark.measure import ModelFile
    from sdpn.benchmark.plan import Part, Plan
    from sdpn.cli.settings import Sections

DESCRIPTION = """\
Measure models on unseen speakers, in every condition, with intervals: EER on trial lists (clean, in noise, in
a room, over a telephone, at other gains), DER and the number of speakers on conversations simulated from
several seeds (dry, in a room with noise, over a telephone), DER on meetings, and CPU time per hour of audio.
--data is the folder of the corpora, laid out as docs/benchmark.md describes.

With several --model, the table has a column for each, and the paired difference to the first with its
interval decides between them. Writes to --out:
  benchmark.json, benchmark.md     all figures
  cells/, conversations/           what is finished; rerunning the command continues a killed run
"""

EXAMPLE = """\
  sdpn benchmark --data corpora --out exp/benchmark
  sdpn benchmark --data corpora --out exp/benchmark --quick --parts eer
  sdpn benchmark --data corpora --out exp/benchmark --model exp/mini/model \\
      --model campplus.bin --format sdpn --format 3dspeaker
  sdpn benchmark --data corpora --out exp/benchmark --parts der,ami,cost --segmentation segmentation-3.0
  sdpn benchmark --data corpora --out exp/benchmark vad.threshold=0.4 merging.prior_odds=0.5
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn benchmark``."""
    parser.add_argument(
        "--model",
        type=model_path,
        action="append",
        metavar="M",
        help="model of any supported format, or the name of an included one; repeatable "
        f"(default: {SHIPPED.name})",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        action="append",
        metavar="F",
        help=f"format of the model: {', '.join(FORMATS)}; one for each --model, in their order (default: "
        "detected from their files)",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the corpora")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where figures and work go")
    parser.add_argument(
        "--manifest",
        type=Path,
        metavar="FILE",
        help="manifest of conversations of speechocean762/dev, which become a row of their own",
    )
    parser.add_argument(
        "--parts",
        metavar="P,P",
        help="parts to measure, of eer, der, ami and cost (default: all)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="one seed, short conversations, fewer conditions: a first look"
    )
    parser.add_argument(
        "--jobs", type=at_least(1), default=1, metavar="N", help="number of processes (default: %(default)s)"
    )
    add_diarization_clusterer(parser, why="that of sdpn diarize")
    add_network_arguments(parser.add_argument_group("overlap"))
    parser.set_defaults(num_speakers=None)


def settings() -> Sections:
    """The settings of the diarization pipeline."""
    return diarization_settings()


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, print the table, write the figures.

    Raises:
        InputError: an option, a model or a corpus is wrong.
    """
    formats = _formats(args)
    config = diarization_config(args)
    from sdpn.benchmark.figures import table_header, table_row
    from sdpn.benchmark.measure import ModelFile
    from sdpn.benchmark.run import run_benchmark
    from sdpn.io.atomic import atomic_write_text

    models = [ModelFile(path, format) for path, format in zip(args.model or [None], formats, strict=True)]
    plan = _plan(args)
    meter = Meter(quiet=args.quiet, unit="cells")
    with quiet_clusterers():
        done = run_benchmark(
            models,
            data=args.data,
            out=args.out,
            plan=plan,
            config=config,
            segmentation=args.segmentation,
            manifest=args.manifest,
            jobs=args.jobs,
            progress=partial(track, quiet=args.quiet),
            on_cell=lambda what, number, total: meter.show("measuring", number, total, what),
        )
    meter.finish()
    different = [name for name, sameness in done.manifest.items() if sameness in ("different", "unknown")]
    if different:
        logger.warning(
            "%d of %d conversations differ from the manifest: %s",
            *(len(different), len(done.manifest), " ".join(different[:3])),
        )
    results = {
        "data": str(args.data),
        "settings": {**asdict(config), "settings": dict(config.settings)},
        "segmentation": args.segmentation,
        "plan": {**asdict(plan), "parts": list(plan.parts)},
        "code": done.code,
        "manifest": done.manifest,
        "models": [{**about, "name": name} for about, name in zip(done.models, _names(models), strict=True)],
        "rows": [asdict(row) for row in done.rows],
    }
    table = format_markdown(table_header(_names(models)), [table_row(row) for row in done.rows])
    document = {
        "schema": "sdpn.benchmark/1",
        "command": ["sdpn", "benchmark"],
        "configuration": {"data": str(args.data), "quick": args.quick, "settings": args.settings},
        "results": results,
    }
    atomic_write_text(args.out / "benchmark.json", json.dumps(document, indent=2, allow_nan=False) + "\n")
    atomic_write_text(args.out / "benchmark.md", table + "\n")
    print(table)
    return results


def _formats(args: argparse.Namespace) -> list[str | None]:
    """The format of each model."""
    number = len(args.model or [None])
    given: list[str | None] = args.format or [None] * number
    if len(given) != number:
        raise InputError(f"{len(given)} --format for {number} models", hint="give one for each --model")
    return given


def _plan(args: argparse.Namespace) -> Plan:
    from sdpn.benchmark.plan import PARTS, Plan

    parts = PARTS if args.parts is None else tuple(part for part in args.parts.split(",") if part)
    plan = Plan(parts=cast("Collection[Part]", parts))
    return plan.quick() if args.quick else plan


def _names(models: Sequence[ModelFile]) -> list[str]:
    """Short names: the shortest ends of the paths that are distinct, a folder ``model`` by its parent."""
    paths = [model.found.resolve() for model in models]
    parts = [path.parts[:-1] if path.name == "model" else path.parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
