"""The commands: one line on each, their modules and their parsers.

Start-up must be fast: ``sdpn --help`` imports nothing heavy, and a subcommand imports its dependencies inside
its ``run``. Each subcommand module offers

- ``DESCRIPTION`` and ``EXAMPLE``: shown by ``--help``,
- ``add_arguments(parser)``,
- ``OUTPUTS``: the options that name what is written, and what that is (`sdpn.io.atomic.OutputKind`); before
  the work each is asked whether it can be written, and no two may be one file,
- ``run(args) -> dict``: does the work, prints for people, and returns what ``--json`` stores,
- ``only_reads(args) -> bool``, only where some options make it write none of its ``OUTPUTS``,
- ``exit_code(args, results) -> int``, only if it is not always 0,
- ``shard_work(args) -> ShardWork``, only where it has ``--shard`` and ``--merge``, for ``sdpn batch``
  (`sdpn.cli.shard_arguments`),
- ``AFTER_DASHES``, only where what follows ``--`` is another command: the name of its words in ``args``,
  which ``USAGE`` says, too,
- ``settings() -> Sections``, only where it has settings (``section.key=value``, `sdpn.cli.settings`); ``run``
  finds those that were given in ``args.settings``.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from types import ModuleType

from sdpn.cli.settings import SettingsParser

#: Subcommand -> one line for ``sdpn --help``; `command_module` has its module.
COMMANDS = {
    "train": "train a speaker embedding network on unlabelled speech",
    "average": "average the last checkpoints of a training run into a model",
    "finetune": "train a model further with speaker labels: all of it, its head, or adapters",
    "adapt": "adapt a model to your own unlabelled recordings, if that improves it",
    "extract": "extract embeddings of utterances or recordings as Kaldi ark/scp",
    "compare": "compare the speakers of two recordings: score and decision",
    "backend": "train a scoring back end (PLDA, AS-norm) on unlabelled recordings",
    "pseudo-label": "cluster an unlabelled corpus into pseudo-labels to train on",
    "verify": "score verification trials: EER, minDCF and Cllr, with confidence intervals",
    "diarize": "find out who spoke when, as RTTM, JSON, subtitles or annotation tiers",
    "serve": "diarize over HTTP and a websocket",
    "enroll": "enroll people, to name speakers with 'sdpn diarize --people'",
    "words": "attach speakers to the words of a speech recogniser",
    "edit": "correct who spoke when, and let the corrections propagate",
    "link": "find the same people across recordings",
    "verify-receipt": "repeat a diarization from its receipt, and compare",
    "search": "search the settings of a training: grid, random or optuna",
    "cross-validate": "repeat a training without each fold of its data, and test on it",
    "ensemble": "measure several models as one: weights, embeddings, scores",
    "prune": "leave out small weights of a model, and measure size and error rate",
    "tune": "choose a clusterer's settings on recordings with references",
    "cluster": "cluster window embeddings into speakers, as RTTM",
    "kmeans": "cluster millions of embeddings with mini-batch k-means",
    "simulate": "simulate conversations, with references, from single utterances",
    "degrade": "copy a corpus with noise, reverberation or telephone band added, to test on",
    "pack": "pack a training corpus into a few large files, to copy and to train from",
    "batch": "run a command as batch jobs, here or with Slurm, and merge their shards",
    "data": "validate, fix, divide and combine Kaldi data directories",
    "drift": "check from checkpoints whether the prototypes are being trained",
    "benchmark": "measure models on unseen speakers in every condition, with intervals",
    "score": "score RTTM files against references: DER, JER, with confidence intervals",
    "report": "summarise an experiment folder in one offline HTML page",
    "explain": "show what a network hears, where, and in which layer",
    "models": "list the encoders, their parameters and compute",
    "convert": "convert a model of another toolkit to a model folder, or any model to ONNX",
    "config": "print the settings of a command, and where each comes from",
    "completion": "print the completion script of a shell",
}


def command_module(name: str) -> ModuleType:
    """The module of a subcommand: ``sdpn.cli.<subcommand>``, with ``_`` for ``-``."""
    return importlib.import_module(f"sdpn.cli.{name.replace('-', '_')}")


def make_parser(name: str) -> argparse.ArgumentParser:
    """The parser of a subcommand."""
    module = command_module(name)
    parser = SettingsParser(
        prog=f"sdpn {name}",
        usage=getattr(module, "USAGE", None),
        description=module.DESCRIPTION,
        epilog=f"example:\n{module.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    common = parser.add_argument_group("common options")
    common.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE as JSON")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    loudness = common.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="print results only, no progress and no log")
    loudness.add_argument(
        "--verbose", action="store_true", help="log more: versions, decisions, time and memory used"
    )
    if hasattr(module, "settings"):
        parser.sections = module.settings
    return parser
