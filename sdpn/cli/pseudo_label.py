"""``sdpn pseudo-label``: clusters of a corpus as labels to train on."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.model_arguments import add_device_argument, add_model_arguments, load
from sdpn.cli.numbers import at_least
from sdpn.cli.progress import Meter, track
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind
from sdpn.io.inputs import find_utterances

if TYPE_CHECKING:
    from sdpn.extraction.halves import EmbeddedHalves

DESCRIPTION = """\
Cluster the utterances of an unlabelled corpus into pseudo-labels for 'sdpn train --objective pseudo'. The two
halves of an utterance have the same speaker: they are used to model within-speaker variability, and to choose
the number of clusters (docs/pseudo_labels.md).

The corpus is given by --data and embedded in memory by --model, or given by the --embeddings and --halves
that 'sdpn extract' computed. --write-halves writes the data directory of the halves for this.

Up to 20,000 utterances are merged directly; those of a larger corpus are first clustered into points.
"""

EXAMPLE = """\
  sdpn pseudo-label --model exp/mini/model --data data/train --out exp/labels
  sdpn train --config conf/pseudo.yaml --data data/train --out exp/second --objective pseudo \\
    --labels exp/labels --init exp/mini/model

  sdpn pseudo-label --data data/train --write-halves data/train_halves
  sdpn extract --model exp/mini/model --data data/train --out exp/whole
  sdpn extract --model exp/mini/model --data data/train_halves --out exp/halves
  sdpn pseudo-label --embeddings exp/whole/embeddings.scp --halves exp/halves/embeddings.scp \\
    --out exp/labels
"""

#: Utterances that were left out and are named on the terminal.
_SHOWN = 5

OUTPUTS: dict[str, OutputKind] = {"out": "file", "write_halves": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn pseudo-label``."""
    parser.add_argument("--out", type=Path, metavar="FILE", help="output file with 'utterance cluster' lines")
    corpus = parser.add_argument_group("corpus")
    corpus.add_argument(
        "--data", type=Path, metavar="DIR", help="Kaldi data directory, or folder of recordings"
    )
    add_model_arguments(corpus)
    add_device_argument(corpus)
    corpus.add_argument(
        "--embeddings", type=Path, metavar="SCP|ARK", help="instead of --data: embeddings of utterances"
    )
    corpus.add_argument(
        "--halves", type=Path, metavar="SCP|ARK", help="with it: embeddings of their halves, UTT-1 and UTT-2"
    )
    clusters = parser.add_argument_group("clusters")
    clusters.add_argument(
        "--method",
        choices=("kmeans", "ahc"),
        default="kmeans",
        help="ahc: Ward's linkage; kmeans: k-means initialised by it (default: %(default)s)",
    )
    clusters.add_argument(
        "--clusters",
        type=at_least(2),
        action="append",
        default=[],
        metavar="K",
        help="number of clusters; if repeated, the best of them is chosen (default: the best of a grid)",
    )
    clusters.add_argument(
        "--utt2spk",
        type=Path,
        metavar="TABLE",
        help="true speakers, only for reporting the agreement with the clusters",
    )
    steps = parser.add_argument_group("single step (without --out)")
    steps.add_argument(
        "--write-halves", type=Path, metavar="DIR", help="write the halves of --data as a data directory"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Embed or read, cluster, write.

    Raises:
        InputError: an option, a file or the number of utterances is wrong.
    """
    _check_options(args)
    if args.write_halves is not None:
        return _write_halves(args)
    embedded = _embedded(args)
    from sdpn.extraction.pseudo_label import pseudo_label

    labelled = pseudo_label(embedded, method=args.method, counts=args.clusters, utt2spk=args.utt2spk)
    labelled.write(args.out)
    of = f"{len(labelled.ids)} utterances, the largest of {labelled.largest}"
    print(f"{labelled.found.count} clusters of {of}: {args.out}")
    if labelled.agreement is not None:
        nmi, purity, ari = labelled.agreement.nmi, labelled.agreement.purity, labelled.agreement.ari
        print(f"agreement with the speakers: NMI {nmi:.3f}, purity {purity:.3f}, ARI {ari:.3f}")
    _print_left_out(labelled.left_out, "have no label")
    return {"method": args.method, **labelled.to_dict()}


def _check_options(args: argparse.Namespace) -> None:
    given = [name for name in OUTPUTS if getattr(args, name) is not None]
    if len(given) != 1:
        raise InputError("give either --out, or --write-halves")
    if (args.data is None) == (args.embeddings is None):
        raise InputError("give either --data, or --embeddings and --halves")
    if (args.embeddings is None) != (args.halves is None):
        raise InputError("--embeddings and --halves belong together")
    if args.embeddings is not None and (args.model is not None or args.format is not None):
        raise InputError("--model is for --data; embeddings are there already")
    if args.write_halves is not None and args.data is None:
        raise InputError("--write-halves needs --data")


def _embedded(args: argparse.Namespace) -> EmbeddedHalves:
    """The corpus as embeddings, of utterances and of halves."""
    from sdpn.extraction.halves import read_halves

    return _embed(args) if args.data is not None else read_halves(args.embeddings, args.halves)


def _embed(args: argparse.Namespace) -> EmbeddedHalves:
    from sdpn.extraction.halves import embed_with_halves

    utterances = find_utterances(args.data, [], check_files=False)
    model = load(args)
    meter = Meter(quiet=args.quiet)
    try:
        return embed_with_halves(model, utterances, on_progress=partial(meter.show, "embedding"))
    finally:
        meter.finish()


def _write_halves(args: argparse.Namespace) -> dict[str, Any]:
    from sdpn.extraction.halves import halve, write_halves

    utterances = find_utterances(args.data, [], check_files=False)
    try:
        found = halve(track(utterances, description="halves", total=len(utterances), quiet=args.quiet))
    except InputError as error:
        raise InputError(error.message, path=args.data) from None
    write_halves(args.write_halves, found.utterances)
    print(f"{len(found.utterances) // 2} of {len(utterances)} utterances in halves: {args.write_halves}")
    _print_left_out(found.left_out, "have no halves")
    return {"halves": len(found.utterances), "left_out": found.left_out}


def _print_left_out(left_out: Mapping[str, str], what: str) -> None:
    if left_out:
        print(f"{len(left_out)} utterances {what}:")
        for name, why in list(left_out.items())[:_SHOWN]:
            print(f"  {name}: {why}")
