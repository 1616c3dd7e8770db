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
that 'sdpn extract' computed. --write-halves writes the data directory of the halves for this. Corpora that
share no speaker are given one by one, and clustered each by itself.

Up to 20,000 utterances of a corpus are merged directly; those of a larger one are first clustered into
points.
"""

EXAMPLE = """\
  sdpn pseudo-label --model exp/mini/model --data data/train --out exp/labels
  sdpn train --config conf/pseudo.yaml --data data/train --out exp/second --objective pseudo \\
    --labels exp/labels --init exp/mini/model

  sdpn pseudo-label --model exp/mini/model --data data/sentences --data data/audiobooks --out exp/labels

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
        "--data",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="Kaldi data directory, or folder of recordings; repeated for corpora that share no speaker",
    )
    add_model_arguments(corpus)
    add_device_argument(corpus)
    corpus.add_argument(
        "--embeddings",
        type=Path,
        action="append",
        default=[],
        metavar="SCP|ARK",
        help="instead of --data, and repeated like it: embeddings of utterances",
    )
    corpus.add_argument(
        "--halves",
        type=Path,
        action="append",
        default=[],
        metavar="SCP|ARK",
        help="for every --embeddings: those of the halves, UTT-1 and UTT-2",
    )
    clusters = parser.add_argument_group("clusters")
    clusters.add_argument(
        "--method",
        choices=("auto", "average", "kmeans", "ahc"),
        default="auto",
        help="average: average linkage, for speakers with very different numbers of utterances; ahc: Ward's "
        "linkage, for similar numbers; kmeans: k-means initialised by it; auto: average or kmeans, whichever "
        "agrees better on the halves (default: %(default)s)",
    )
    clusters.add_argument(
        "--clusters",
        type=at_least(2),
        action="append",
        default=[],
        metavar="K",
        help="number of clusters of each corpus; if repeated, the best of them is chosen (default: the best "
        "of a grid)",
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
    corpora = _corpora(args)
    from sdpn.extraction.pseudo_label import pseudo_label

    labelled = pseudo_label(corpora, method=args.method, counts=args.clusters, utt2spk=args.utt2spk)
    labelled.write(args.out)
    if len(corpora) > 1:
        for path, corpus in zip(args.data or args.embeddings, labelled.found.corpora, strict=True):
            print(f"{corpus.count} clusters of {len(corpus.labels_N)} utterances ({corpus.method}): {path}")
    of = f"{len(labelled.ids)} utterances, the largest of {labelled.largest}"
    print(f"{labelled.found.count} clusters of {of}: {args.out}")
    if labelled.agreement is not None:
        nmi, purity, ari = labelled.agreement.nmi, labelled.agreement.purity, labelled.agreement.ari
        print(f"agreement with the speakers: NMI {nmi:.3f}, purity {purity:.3f}, ARI {ari:.3f}")
    _print_left_out(labelled.left_out, "have no label")
    return labelled.to_dict()


def _check_options(args: argparse.Namespace) -> None:
    given = [name for name in OUTPUTS if getattr(args, name) is not None]
    if len(given) != 1:
        raise InputError("give either --out, or --write-halves")
    if bool(args.data) == bool(args.embeddings):
        raise InputError("give either --data, or --embeddings and --halves")
    if len(args.embeddings) != len(args.halves):
        raise InputError("--embeddings and --halves belong together: as many of one as of the other")
    if args.embeddings and (args.model is not None or args.format is not None):
        raise InputError("--model is for --data; embeddings are there already")
    if args.write_halves is not None and len(args.data) != 1:
        raise InputError("--write-halves needs --data, once")


def _corpora(args: argparse.Namespace) -> list[EmbeddedHalves]:
    """The corpora as embeddings, of utterances and of halves."""
    from sdpn.extraction.halves import read_halves

    if not args.data:
        return [read_halves(*paths) for paths in zip(args.embeddings, args.halves, strict=True)]
    return _embed(args)


def _embed(args: argparse.Namespace) -> list[EmbeddedHalves]:
    from sdpn.extraction.halves import embed_with_halves

    corpora = [find_utterances(data, [], check_files=False) for data in args.data]
    model = load(args)
    meter = Meter(quiet=args.quiet)
    try:
        return [
            embed_with_halves(model, utterances, on_progress=partial(meter.show, "embedding"))
            for utterances in corpora
        ]
    finally:
        meter.finish()


def _write_halves(args: argparse.Namespace) -> dict[str, Any]:
    from sdpn.extraction.halves import halve, write_halves

    (data,) = args.data
    utterances = find_utterances(data, [], check_files=False)
    try:
        found = halve(track(utterances, description="halves", total=len(utterances), quiet=args.quiet))
    except InputError as error:
        raise InputError(error.message, path=data) from None
    write_halves(args.write_halves, found.utterances)
    print(f"{len(found.utterances) // 2} of {len(utterances)} utterances in halves: {args.write_halves}")
    _print_left_out(found.left_out, "have no halves")
    return {"halves": len(found.utterances), "left_out": found.left_out}


def _print_left_out(left_out: Mapping[str, str], what: str) -> None:
    if left_out:
        print(f"{len(left_out)} utterances {what}:")
        for name, why in list(left_out.items())[:_SHOWN]:
            print(f"  {name}: {why}")
