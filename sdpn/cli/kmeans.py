"""``sdpn kmeans``: millions of embeddings to clusters, chunk by chunk."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.progress import Meter, track
from sdpn.cli.table import format_table
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    import numpy as np

    from sdpn.clustering.streaming.assign import Assignment
    from sdpn.clustering.streaming.chunks import Chunk
    from sdpn.clustering.streaming.fit import Fit
    from sdpn.clustering.streaming.model import KMeansModel
    from sdpn.clustering.streaming.quality import Quality
    from sdpn.clustering.streaming.settings import StreamSettings

DESCRIPTION = """\
Cluster rows that do not fit in memory together: embeddings, or the outputs of a layer.

A chunk is a Kaldi scp or ark of vectors, or a .npy matrix. All chunks are read once to check them and to
sample where centres start; then mini-batches pass over all of them, in another order each time; then --lloyd
exact passes. Every row counts in every pass. An interrupted command that is given again goes on where it was,
and ends with the same centres.

Writes OUT/model.npz (or .safetensors), OUT/quality.png, and the labels: OUT/utt2cluster for the ids of scp
and ark, OUT/labels/NNNNN-<name>.npy for each .npy chunk. With --model nothing is learned, only labelled.
"""

EXAMPLE = """\
  sdpn kmeans --clusters 376 --out exp/kmeans exp/mini/embeddings/embeddings.scp --labels data/train/utt2spk
  sdpn kmeans --clusters 1024 --spherical --max-iter 3 --lloyd 2 --processes 4 --out exp/units features/*.npy
  sdpn kmeans --model exp/units/model.npz --out exp/more more/*.npy
"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``sdpn kmeans``."""
    parser.add_argument("chunks", nargs="+", type=Path, metavar="CHUNK", help=".scp, .ark or .npy")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for everything")
    what = parser.add_argument_group("what to do (one of them)")
    what.add_argument("--clusters", type=int, metavar="K", help="learn K clusters, then label")
    what.add_argument("--model", type=Path, metavar="FILE", help="label with this model")
    learning = parser.add_argument_group("learning")
    learning.add_argument("--seed", type=int, default=0, metavar="S", help="default: %(default)s")
    learning.add_argument(
        "--max-iter", type=int, default=100, metavar="N", help="epochs at most (default: 100)"
    )
    learning.add_argument(
        "--lloyd", type=int, default=0, metavar="N", help="exact passes at most after them (default: 0)"
    )
    learning.add_argument("--standardise", action="store_true", help="scale every dimension to variance 1")
    learning.add_argument("--spherical", action="store_true", help="compare directions (cosine)")
    learning.add_argument("--init", type=Path, metavar="FILE", help="start from the centres of this model")
    learning.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change another setting, such as memory_mb, batch_size, tol, n_init, init_size; again for "
        "another. An unknown one lists them all",
    )
    parser.add_argument(
        "--backend", choices=("sklearn", "faiss"), default="sklearn", help="default: %(default)s"
    )
    parser.add_argument(
        "--format", choices=("npz", "safetensors"), default="npz", help="of the model (default: %(default)s)"
    )
    parser.add_argument(
        "--processes", type=int, default=1, metavar="P", help="label so many chunks at once (default: 1)"
    )
    parser.add_argument(
        "--labels", type=Path, metavar="TABLE", help="'id class' lines such as utt2spk, to score with only"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Learn and label.

    Raises:
        InputError: an option or a file is wrong, or a row will not do. What was learned until then is kept.
    """
    from sdpn.clustering.streaming.chunks import open_chunk
    from sdpn.clustering.streaming.model import KMeansModel
    from sdpn.clustering.streaming.pictures import plot_quality
    from sdpn.clustering.streaming.state import remove_state
    from sdpn.io.kaldi import read_table

    _check_options(args)
    chunks = [open_chunk(path) for path in args.chunks]
    classes = None if args.labels is None else read_table(args.labels)
    fit, seconds = None, 0.0
    if args.model is not None:
        model = KMeansModel.load(args.model)
    else:
        started = time.perf_counter()
        fit = _learn(args, chunks)
        seconds = time.perf_counter() - started
        model = fit.model
        model.save(args.out / f"model.{args.format}")
    quality = _label(args, model, chunks, classes)
    picture = args.out / "quality.png"
    plot_quality(picture, model, quality, fit)
    if fit is not None:
        remove_state(args.out / "state.npz")
    results = _results(args, model, quality, fit, seconds)
    _print(results)
    return results


def _check_options(args: argparse.Namespace) -> None:
    if (args.clusters is None) == (args.model is None):
        raise InputError("one of --clusters and --model is needed, and not both")
    if args.model is not None:
        for option, given in (("--init", args.init), ("--set", args.set), ("--spherical", args.spherical),
                              ("--standardise", args.standardise), ("--lloyd", args.lloyd)):  # fmt: skip
            if given:
                raise InputError(f"{option} has no effect with --model, which is not trained")
    if args.processes < 1:
        raise InputError(f"--processes is {args.processes}; expected at least 1")


def _settings(args: argparse.Namespace) -> StreamSettings:
    from sdpn.clustering.streaming.settings import StreamSettings
    from sdpn.config import from_dict, parse_override

    options = {
        "n_clusters": args.clusters,
        "seed": args.seed,
        "max_iter": args.max_iter,
        "lloyd_passes": args.lloyd,
        "standardise": args.standardise,
        "spherical": args.spherical,
        "backend": args.backend,
    }
    changes = dict(parse_override(override) for override in args.set)
    both = options.keys() & changes.keys()
    if both:
        raise InputError(f"--set {min(both)} has an option of its own", hint="see --help")
    return from_dict(StreamSettings, {**options, **changes})


def _learn(args: argparse.Namespace, chunks: Sequence[Chunk]) -> Fit:
    from sdpn.clustering.streaming.fit import Progress, fit_stream
    from sdpn.clustering.streaming.model import KMeansModel

    settings = _settings(args)
    start = None
    if args.init is not None:
        model = KMeansModel.load(args.init)
        if model.n_clusters != settings.n_clusters:
            raise InputError(f"has {model.n_clusters} clusters, not {settings.n_clusters}", path=args.init)
        start = model.centres_KD
    meter = Meter(quiet=args.quiet)

    def show(progress: Progress) -> None:
        stage = {"survey": "reading", "epochs": "epoch {}", "lloyd": "exact pass {}"}[progress.stage]
        note = "" if progress.inertia is None else f"inertia {progress.inertia:.4g}"
        meter.show(stage.format(progress.number), progress.done, progress.total, note)

    try:
        return fit_stream(chunks, settings, state=args.out / "state.npz", centres_KD=start, on_progress=show)
    finally:
        meter.finish()


def _label(
    args: argparse.Namespace,
    model: KMeansModel,
    chunks: Sequence[Chunk],
    classes: Mapping[str, str] | None,
) -> Quality:
    """Write the labels of all chunks and judge them."""
    import numpy as np

    from sdpn.clustering.streaming.assign import assign
    from sdpn.clustering.streaming.quality import QualityTally
    from sdpn.io.atomic import atomic_path

    tally = QualityTally(model)
    seen: set[str] = set()
    table = args.out / "utt2cluster"
    assignments = assign(
        model, chunks, processes=args.processes, backend=args.backend, sample_size=2000, seed=args.seed
    )
    with atomic_path(table) as temporary:
        with open(temporary, "w", encoding="utf-8") as stream:
            for number, assignment in enumerate(
                track(assignments, description="labelling", total=len(chunks), quiet=args.quiet)
            ):
                name = assignment.chunk.name
                tally.add(assignment, _classes_of(assignment, classes, args.labels))
                if assignment.keys is None:
                    with atomic_path(args.out / "labels" / f"{number:05d}-{Path(name).stem}.npy") as labels:
                        np.save(labels, assignment.labels_N, allow_pickle=False)
                    continue
                for key, label in zip(assignment.keys, assignment.labels_N.tolist(), strict=True):
                    if key in seen:
                        raise InputError(f"utterance {key!r} is in a chunk before this one too", path=name)
                    seen.add(key)
                    stream.write(f"{key} {label}\n")
    if not seen:
        table.unlink()
    return tally.quality()


def _classes_of(
    assignment: Assignment, classes: Mapping[str, str] | None, path: Path | None
) -> list[str] | None:
    if classes is None:
        return None
    if assignment.keys is None:
        raise InputError(
            "has no ids to look up in --labels", path=assignment.chunk.name, hint="give scp or ark chunks"
        )
    missing = [key for key in assignment.keys if key not in classes]
    if missing:
        raise InputError(f"has no class for {missing[0]!r} of {assignment.chunk.name}", path=path)
    return [classes[key] for key in assignment.keys]


def _results(
    args: argparse.Namespace, model: KMeansModel, quality: Quality, fit: Fit | None, seconds: float
) -> dict[str, Any]:
    sizes: np.ndarray = quality.sizes_K
    results: dict[str, Any] = {
        "model": str(args.model or args.out / f"model.{args.format}"),
        "clusters": model.n_clusters,
        "dimension": model.dimension,
        "num_rows": quality.num_rows,
        "inertia": quality.inertia,
        "inertia_per_row": quality.inertia / quality.num_rows,
        "silhouette": quality.silhouette,
        "sizes": sizes.tolist(),
        "empty": int((sizes == 0).sum()),
        "purity": None,
        "nmi": None,
        "ari": None,
    }
    if quality.agreement is not None:
        results |= {
            "purity": quality.agreement.purity,
            "nmi": quality.agreement.nmi,
            "ari": quality.agreement.ari,
        }
    if fit is not None:
        results["learning"] = {
            "epochs": fit.epochs,
            "lloyd_passes": len(fit.rows_per_pass) - fit.epochs,
            "rows_per_pass": list(fit.rows_per_pass),
            "held_out": list(fit.held_out),
            "seconds": seconds,
        }
    return results


def _print(results: Mapping[str, Any]) -> None:
    sizes = sorted(results["sizes"])
    rows = [
        ["rows", str(results["num_rows"])],
        ["clusters", f"{results['clusters']} ({results['empty']} empty)"],
        ["rows of a cluster: least, median, most", f"{sizes[0]}, {sizes[len(sizes) // 2]}, {sizes[-1]}"],
        ["inertia", f"{results['inertia']:.6g} ({results['inertia_per_row']:.4g} a row)"],
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
        rows.append(["learned in", f"{passes}, {learning['seconds']:.1f} s"])
    print(format_table(["k-means", results["model"]], rows))
