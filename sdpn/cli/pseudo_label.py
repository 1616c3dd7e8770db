"""``sdpn pseudo-label``: clusters of a corpus as labels to train on."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.model_arguments import add_device_argument, add_model_arguments, find_device, load
from sdpn.cli.numbers import at_least
from sdpn.cli.progress import Meter, track
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from sdpn.extraction.halves import EmbeddedHalves

DESCRIPTION = """\
Cluster the utterances of an unlabelled corpus into pseudo-labels for 'sdpn train --objective pseudo'. The two
halves of an utterance have the same speaker: they are used to model within-speaker variability, and to choose
the number of clusters (docs/pseudo_labels.md).

The corpus is given by --data and embedded in memory by --model, or given by the --embeddings and --halves
that 'sdpn extract' computed. --write-halves writes the data directory of the halves for this.

Up to 10,000 utterances are clustered directly. For larger corpora, write the rows to cluster with
--write-rows, form thousands of clusters with 'sdpn kmeans', and merge these with --centroids (third example).
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

  sdpn pseudo-label --embeddings exp/whole/embeddings.scp --halves exp/halves/embeddings.scp \\
    --write-rows exp/rows
  sdpn kmeans --clusters 5000 --out exp/centroids exp/rows/embeddings.scp
  sdpn pseudo-label --embeddings exp/whole/embeddings.scp --halves exp/halves/embeddings.scp \\
    --centroids exp/centroids/utt2cluster --out exp/labels
"""

#: Utterances that were left out and are named on the terminal.
_SHOWN = 5

OUTPUTS: dict[str, OutputKind] = {"out": "file", "write_halves": "folder", "write_rows": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn pseudo-label``."""
    parser.add_argument("--out", type=Path, metavar="FILE", help="output file with 'utterance cluster' lines")
    corpus = parser.add_argument_group("corpus")
    corpus.add_argument("--data", type=Path, metavar="DIR", help="Kaldi data directory")
    add_model_arguments(corpus)
    add_device_argument(corpus)
    corpus.add_argument(
        "--embeddings", type=Path, metavar="SCP", help="instead of --data: embeddings of the utterances"
    )
    corpus.add_argument(
        "--halves",
        type=Path,
        metavar="SCP",
        help="with --embeddings: embeddings of the halves, UTT-1 and UTT-2",
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
        "--centroids",
        type=Path,
        metavar="TABLE",
        help="merge the clusters in this file of 'utterance cluster' lines, from 'sdpn kmeans'",
    )
    clusters.add_argument(
        "--utt2spk",
        type=Path,
        metavar="TABLE",
        help="true speakers, only for reporting the agreement with the clusters",
    )
    steps = parser.add_argument_group("single steps (without --out)")
    steps.add_argument(
        "--write-halves", type=Path, metavar="DIR", help="write the halves of --data as a data directory"
    )
    steps.add_argument(
        "--write-rows", type=Path, metavar="DIR", help="write the rows to cluster as DIR/embeddings.scp"
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
    if args.write_rows is not None:
        return _write_rows(args.write_rows, embedded)

    import numpy as np

    from sdpn.clustering.agreement import agreement_of_labels
    from sdpn.clustering.pseudo_labels import pseudo_labels
    from sdpn.io.atomic import atomic_write_text

    centroids = None if args.centroids is None else _look_up(embedded.ids, args.centroids)
    speakers = None if args.utt2spk is None else _look_up(embedded.ids, args.utt2spk)
    found = pseudo_labels(
        embedded.whole_ND,
        embedded.halves_N2D,
        method=args.method,
        counts=args.clusters,
        points_N=None if centroids is None else np.unique(centroids, return_inverse=True)[1],
    )
    labels = zip(embedded.ids, found.labels_N.tolist(), strict=True)
    atomic_write_text(args.out, "".join(f"{name} {label}\n" for name, label in labels))
    sizes_K = np.bincount(found.labels_N)
    of = f"{len(embedded.ids)} utterances, the largest of {sizes_K.max()}"
    print(f"{found.count} clusters of {of}: {args.out}")
    results: dict[str, Any] = {
        "method": args.method,
        "clusters": found.count,
        "space": found.space,
        "agreement_of_halves": found.agreement,
        "largest": int(sizes_K.max()),
        "single": int((sizes_K == 1).sum()),
        "num_utterances": len(embedded.ids),
        "left_out": embedded.left_out,
    }
    if speakers is not None:
        with_speakers = agreement_of_labels(found.labels_N, speakers)
        nmi, purity, ari = with_speakers.nmi, with_speakers.purity, with_speakers.ari
        results |= {"nmi": nmi, "purity": purity, "ari": ari}
        print(f"agreement with the speakers: NMI {nmi:.3f}, purity {purity:.3f}, ARI {ari:.3f}")
    _print_left_out(embedded.left_out, "have no label")
    return results


def _check_options(args: argparse.Namespace) -> None:
    given = [name for name in OUTPUTS if getattr(args, name) is not None]
    if len(given) != 1:
        raise InputError("give --out, or --write-halves, or --write-rows")
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
    import numpy as np

    from sdpn.extraction.halves import EmbeddedHalves, pair_halves
    from sdpn.io.kaldi import read_vectors

    if args.data is not None:
        return _embed(args)
    vectors = read_vectors(args.embeddings)
    try:
        halves_N2D = pair_halves(vectors, read_vectors(args.halves))
    except InputError as error:
        raise InputError(error.message, path=args.halves, hint=error.hint) from None
    return EmbeddedHalves(list(vectors), np.stack(list(vectors.values())), halves_N2D, {})


def _embed(args: argparse.Namespace) -> EmbeddedHalves:
    from sdpn.clustering.pseudo_labels import MAX_POINTS
    from sdpn.extraction.halves import embed_with_halves
    from sdpn.io.kaldi import read_data_dir

    utterances = read_data_dir(args.data, check_files=False)
    if len(utterances) > MAX_POINTS and args.centroids is None and args.write_rows is None:
        raise InputError(
            f"holds {len(utterances)} utterances; at most {MAX_POINTS} are clustered directly",
            path=args.data,
            hint="cluster finely first: --write-rows, sdpn kmeans, --centroids (see --help)",
        )
    model = load(args, device=find_device(args.device))
    meter = Meter(quiet=args.quiet)
    try:
        return embed_with_halves(model, utterances, on_progress=partial(meter.show, "embedding"))
    finally:
        meter.finish()


def _write_halves(args: argparse.Namespace) -> dict[str, Any]:
    from sdpn.extraction.halves import halve, write_halves
    from sdpn.io.kaldi import read_data_dir

    utterances = read_data_dir(args.data, check_files=False)
    try:
        found = halve(track(utterances, description="halves", total=len(utterances), quiet=args.quiet))
    except InputError as error:
        raise InputError(error.message, path=args.data) from None
    write_halves(args.write_halves, found.utterances)
    print(f"{len(found.utterances) // 2} of {len(utterances)} utterances in halves: {args.write_halves}")
    _print_left_out(found.left_out, "have no halves")
    return {"halves": len(found.utterances), "left_out": found.left_out}


def _write_rows(folder: Path, embedded: EmbeddedHalves) -> dict[str, Any]:
    from sdpn.clustering.pseudo_labels import speaker_rows
    from sdpn.io.kaldi import vector_writer

    (rows_NE, *_), space = speaker_rows(embedded.whole_ND, embedded.halves_N2D)
    with vector_writer(folder) as write:
        for name, row_E in zip(embedded.ids, rows_NE, strict=True):
            write(name, row_E)
    print(f"{len(embedded.ids)} utterances ({space}): {folder / 'embeddings.scp'}")
    _print_left_out(embedded.left_out, "have no row")
    return {"num_utterances": len(embedded.ids), "space": space, "left_out": embedded.left_out}


def _look_up(names: Sequence[str], path: Path) -> list[str]:
    """Value of every name in a table."""
    from sdpn.io.kaldi import read_table

    table = read_table(path)
    missing = next((name for name in names if name not in table), None)
    if missing is not None:
        raise InputError(f"has no line for {missing!r}, which has an embedding", path=path)
    return [table[name] for name in names]


def _print_left_out(left_out: Mapping[str, str], what: str) -> None:
    if left_out:
        print(f"{len(left_out)} utterances {what}:")
        for name, why in list(left_out.items())[:_SHOWN]:
            print(f"  {name}: {why}")
