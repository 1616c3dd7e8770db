"""``sdpn kmeans``: millions of embeddings to clusters, chunk by chunk."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.layer_arguments import add_layer_arguments, layer_chunks
from sdpn.cli.numbers import at_least
from sdpn.cli.progress import Meter, track
from sdpn.cli.shard_arguments import add_shard_arguments, file_stamp, parsed_shard
from sdpn.cli.table import format_table
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from sdpn.cli.settings import Sections
    from sdpn.cli.shard_arguments import ShardWork
    from sdpn.extraction.layer_chunks import LayerChunks
    from sdpn.kmeans.chunks import Chunk
    from sdpn.kmeans.fit import FitProgress
    from sdpn.kmeans.settings import StreamSettings

DESCRIPTION = """\
Cluster rows that do not fit in memory: embeddings, or layer outputs.

A chunk is a Kaldi scp or ark of vectors, or a .npy matrix. All chunks are read once to check them and to
initialise the centres on a sample; then come mini-batch epochs, each in a new order, and --lloyd exact passes
of Lloyd's algorithm. Every pass covers every row. Rerunning an interrupted command resumes it and ends with
the same centres.

With --layer, the rows are the outputs of a layer of the network --model for the recordings of --data. They
are stored in OUT/rows until the command is done. Layers have names and numbers; an unknown --layer lists
them. Only --layer needs torch.

Writes OUT/model.npz (or .safetensors), OUT/quality.png, and the labels: OUT/utt2cluster for scp and ark
chunks, OUT/labels/NNNNN-<name>.npy for each .npy chunk; with --layer, OUT/units with the clusters of all
frames of each utterance, or OUT/utt2cluster if the layer has one output per utterance. --with FILE (without
--layer also --model FILE) labels with an existing k-means model instead of training one.
"""

EXAMPLE = """\
  sdpn kmeans --clusters 376 --out exp/kmeans exp/mini/embeddings/embeddings.scp --utt2spk data/train/utt2spk
  sdpn kmeans --clusters 1024 --spherical --max-iter 3 --lloyd 2 --jobs 4 --out exp/units features/*.npy
  sdpn kmeans --with exp/units/model.npz --out exp/more more/*.npy
  sdpn batch --jobs 8 -- kmeans --with exp/units/model.npz --out exp/more more/*.npy
  sdpn kmeans --model exp/mini/model --layer blocks.1 --data data/train --clusters 512 --out exp/units
  sdpn kmeans --model exp/mini/model --layer blocks.1 --data data/dev --with exp/units/model.npz --out exp/dev
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn kmeans``."""
    parser.add_argument("chunks", nargs="*", type=Path, metavar="CHUNK", help=".scp, .ark or .npy")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="output folder")
    parser.add_argument(
        "--model",
        type=Path,
        metavar="M",
        help="with --layer: the network (default: the one included in sdpn); otherwise the same as --with",
    )
    what = parser.add_argument_group("training or labelling (one of them)")
    what.add_argument("--clusters", type=int, metavar="K", help="train K clusters, then label")
    what.add_argument(
        "--with", dest="kmeans", type=Path, metavar="FILE", help="label with this k-means model"
    )
    add_layer_arguments(parser)
    learning = parser.add_argument_group("training (each is short for the setting in parentheses)")
    learning.add_argument("--seed", type=int, metavar="S", help="random seed (seed)")
    learning.add_argument(
        "--max-iter", type=int, metavar="N", help="maximum number of mini-batch epochs (max_iter)"
    )
    learning.add_argument(
        "--lloyd",
        type=int,
        metavar="N",
        help="maximum number of exact Lloyd passes after them (lloyd_passes)",
    )
    learning.add_argument(
        "--standardise",
        action="store_true",
        default=None,
        help="scale every dimension to unit variance (standardise)",
    )
    learning.add_argument(
        "--spherical",
        action="store_true",
        default=None,
        help="cluster by cosine instead of Euclidean distance (spherical)",
    )
    learning.add_argument(
        "--init", type=Path, metavar="FILE", help="initialise with the centres of this k-means model"
    )
    learning.add_argument(
        "--no-labels", action="store_true", help="only train: shards label with the model, see 'sdpn batch'"
    )
    learning.add_argument("--set", action="append", default=[], help=argparse.SUPPRESS)  # as it was before
    parser.add_argument(
        "--backend", choices=("sklearn", "faiss"), help="library that computes distances (default: sklearn)"
    )
    parser.add_argument(
        "--to",
        choices=("npz", "safetensors"),
        default="npz",
        help="file format of the model (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=at_least(1),
        default=1,
        metavar="N",
        help="number of chunks labelled in parallel (default: 1)",
    )
    add_shard_arguments(parser, "label nothing, only put together the labels of all shards")
    parser.add_argument(
        "--utt2spk",
        type=Path,
        metavar="TABLE",
        help="reference classes as 'id class' lines, such as utt2spk; used only to score the clusters "
        "(purity, NMI, ARI)",
    )


def settings() -> Sections:
    """The settings of training."""
    from sdpn.kmeans.settings import StreamSettings

    return {"": StreamSettings}


def shard_work(args: argparse.Namespace) -> ShardWork:
    """What shards of ``sdpn batch`` have to do: chunks to label.

    Raises:
        InputError: there is no model to label with.
    """
    if args.layer is not None:
        raise InputError(
            "--layer computes its own rows", hint="write them with 'sdpn extract', and give them"
        )
    if args.kmeans is None and args.model is None:
        raise InputError(
            "shards label with a model, which one process trains",
            hint="first 'sdpn kmeans --clusters K --no-labels', then --with OUT/model.npz",
        )
    lines = [file_stamp(path) for path in args.chunks]
    return lambda shard: shard.of(lines)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train and label.

    Raises:
        InputError: an option, a file or a row is invalid. Progress up to then is kept.
    """
    from sdpn.kmeans.chunks import open_chunk
    from sdpn.kmeans.cluster import label_chunks, label_shard, learn_clusters
    from sdpn.kmeans.model import KMeansModel

    args.settings += args.set
    if args.layer is None and args.kmeans is None:  # for compatibility with versions before --layer
        args.model, args.kmeans = None, args.model
    _check_options(args)
    given = None if args.kmeans is None else KMeansModel.load(args.kmeans)
    rows = args.out / "rows"
    layer: LayerChunks | None = None
    if args.layer is not None:
        layer = layer_chunks(args, rows, dimension=None if given is None else given.dimension)
        chunks: Sequence[Chunk] = layer.chunks
    else:
        chunks = [open_chunk(path) for path in args.chunks]
    shard = parsed_shard(args)
    if shard is not None:
        assert given is not None
        numbers = shard.of(range(len(chunks)))
        done_now = label_shard(
            chunks, numbers, args.out, given, backend=args.backend or "sklearn", seed=args.seed or 0
        )
        print(
            f"shard {args.shard}: {len(numbers)} of {len(chunks)} chunks are labelled, {done_now} of them now"
        )
        return {"shard": args.shard, "num_chunks": len(chunks), "labelled": len(numbers), "now": done_now}
    common: dict[str, Any] = {
        "processes": args.jobs,
        "classes": args.utt2spk,
        "units": layer is not None and layer.frames,
        "progress": partial(track, description="labelling", total=len(chunks), quiet=args.quiet),
    }
    if given is not None:
        done = label_chunks(
            chunks,
            args.out,
            given,
            path=args.kmeans,
            backend=args.backend or "sklearn",
            seed=args.seed or 0,
            merge=args.merge,
            **common,
        )
    else:
        meter = Meter(quiet=args.quiet)
        try:
            done = learn_clusters(
                chunks,
                args.out,
                _settings(args),
                init=args.init,
                format=args.to,
                label=not args.no_labels,
                on_progress=partial(_show, meter),
                **common,
            )
        finally:
            meter.finish()
    results = done.to_dict()
    if layer is not None:
        results |= {"layer": layer.layer, "left_out": layer.failed}
        if not args.keep_rows:
            shutil.rmtree(rows)
    _print(results)
    return results


def _check_options(args: argparse.Namespace) -> None:
    if (args.clusters is None) == (args.kmeans is None):
        raise InputError(
            "exactly one of --clusters and --with is needed",
            hint="without --layer, --model is the same as --with",
        )
    if args.layer is None:
        for option, given in (
            ("--model beside --with", args.model),
            ("--data", args.data),
            ("--format", args.format),
            ("--device", args.device),
            ("--channel", args.channel),
            ("--skip-bad", args.skip_bad),
            ("--keep-rows", args.keep_rows),
        ):
            if given is not None and given is not False:
                raise InputError(
                    f"{option} has no effect without --layer, which names the layer of a network"
                )
        if not args.chunks:
            raise InputError(
                "there is nothing to cluster", hint="give chunks, or --model M --layer L --data DIR"
            )
    elif args.chunks:
        raise InputError("--layer computes its own rows", hint="drop the chunks, or --layer")
    elif args.data is None:
        raise InputError("--layer needs --data", hint="a Kaldi data directory, or a folder of recordings")
    if args.kmeans is None and (args.shard is not None or args.merge):
        raise InputError("--shard and --merge label with a model", hint="give it by --with")
    if args.layer is not None and (args.shard is not None or args.merge or args.no_labels):
        raise InputError(
            "--layer computes its own rows, in one process", hint="drop --shard, --merge, --no-labels"
        )
    if args.kmeans is not None:
        for option, given in (
            ("--no-labels", args.no_labels),
            ("--init", args.init),
            ("a setting", args.settings),
            ("--spherical", args.spherical),
            ("--standardise", args.standardise),
            ("--lloyd", args.lloyd),
            ("--max-iter", args.max_iter),
        ):
            if given:
                raise InputError(f"{option} has no effect with a k-means model, which is not trained")


def _settings(args: argparse.Namespace) -> StreamSettings:
    from sdpn.config import from_dict, parse_override
    from sdpn.kmeans.settings import StreamSettings

    options = {
        "n_clusters": args.clusters,
        "seed": args.seed,
        "max_iter": args.max_iter,
        "lloyd_passes": args.lloyd,
        "standardise": args.standardise,
        "spherical": args.spherical,
        "backend": args.backend,
    }
    given = {key: value for key, value in options.items() if value is not None}
    changes = dict(parse_override(override) for override in args.settings)
    both = given.keys() & changes.keys()
    if both:
        raise InputError(f"{min(both)} is given as an option and as a setting", hint="give one of them")
    return from_dict(StreamSettings, {**given, **changes})


def _show(meter: Meter, progress: FitProgress) -> None:
    stage = {"survey": "reading", "epochs": "epoch {}", "lloyd": "exact pass {}"}[progress.stage]
    note = "" if progress.inertia is None else f"inertia {progress.inertia:.4g}"
    meter.show(stage.format(progress.number), progress.done, progress.total, note)


def _print(results: Mapping[str, Any]) -> None:
    if "sizes" not in results:
        print(f"{results['clusters']} clusters, not labelled yet: {results['model']}")
        return
    sizes = sorted(results["sizes"])
    rows = [
        ["rows", str(results["num_rows"])],
        ["clusters", f"{results['clusters']} ({results['empty']} empty)"],
        ["cluster sizes: min, median, max", f"{sizes[0]}, {sizes[len(sizes) // 2]}, {sizes[-1]}"],
        ["inertia", f"{results['inertia']:.6g} ({results['inertia_per_row']:.4g} per row)"],
    ]
    for name, title in (
        ("silhouette", "silhouette (sample)"),
        ("purity", "purity"),
        ("nmi", "NMI"),
        ("ari", "ARI"),
    ):
        if results[name] is not None:
            rows.append([title, f"{results[name]:.3f}"])
    if "learning" in results:
        learning = results["learning"]
        passes = f"{learning['epochs']} epochs, {learning['lloyd_passes']} exact passes"
        rows.append(["training", f"{passes}, {learning['seconds']:.1f} s"])
    print(format_table(["k-means", results["model"]], rows))
