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

    from sdpn.cli.settings import Sections
    from sdpn.kmeans.chunks import Chunk
    from sdpn.kmeans.fit import Fit
    from sdpn.kmeans.labelling import Assignment, Quality
    from sdpn.kmeans.model import KMeansModel
    from sdpn.kmeans.settings import StreamSettings

DESCRIPTION = """\
Cluster rows that do not fit in memory: embeddings, or layer outputs.

A chunk is a Kaldi scp or ark of vectors, or a .npy matrix. All chunks are read once to check them and to
initialise the centres on a sample; then come mini-batch epochs, each in a new order, and --lloyd exact passes
of Lloyd's algorithm. Every pass covers every row. Rerunning an interrupted command resumes it and ends with
the same centres.

Writes OUT/model.npz (or .safetensors), OUT/quality.png, and the cluster labels: OUT/utt2cluster for the ids
of scp and ark, OUT/labels/NNNNN-<name>.npy for each .npy chunk. With --model, only labels are computed.
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
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="output folder")
    what = parser.add_argument_group("task (one of them)")
    what.add_argument("--clusters", type=int, metavar="K", help="train with K clusters, then label")
    what.add_argument("--model", type=Path, metavar="FILE", help="only label with this model")
    learning = parser.add_argument_group("training (short for the settings in parentheses)")
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
        "--init", type=Path, metavar="FILE", help="initialise with the centres of this model"
    )
    learning.add_argument("--set", action="append", default=[], help=argparse.SUPPRESS)  # as it was before
    parser.add_argument(
        "--backend", choices=("sklearn", "faiss"), help="library that computes distances (default: sklearn)"
    )
    parser.add_argument(
        "--format",
        choices=("npz", "safetensors"),
        default="npz",
        help="file format of the model (default: %(default)s)",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="P",
        help="number of chunks labelled in parallel (default: 1)",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="TABLE",
        help="reference classes as 'id class' lines, such as utt2spk; used only to score the clusters "
        "(purity, NMI, ARI)",
    )


def settings() -> Sections:
    """The settings of training."""
    from sdpn.kmeans.settings import StreamSettings

    return {"": StreamSettings}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train and label.

    Raises:
        InputError: an option, a file or a row is invalid. Progress up to then is kept.
    """
    from sdpn.io.kaldi import read_table
    from sdpn.kmeans.chunks import open_chunk
    from sdpn.kmeans.fit import remove_state
    from sdpn.kmeans.labelling import plot_quality
    from sdpn.kmeans.model import KMeansModel

    args.settings += args.set
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
        raise InputError("exactly one of --clusters and --model is required")
    if args.model is not None:
        for option, given in (
            ("--init", args.init),
            ("a setting", args.settings),
            ("--spherical", args.spherical),
            ("--standardise", args.standardise),
            ("--lloyd", args.lloyd),
        ):
            if given:
                raise InputError(f"{option} has no effect with --model, which is only used to label")
    if args.processes < 1:
        raise InputError(f"--processes is {args.processes}; expected at least 1")


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


def _learn(args: argparse.Namespace, chunks: Sequence[Chunk]) -> Fit:
    from sdpn.kmeans.fit import FitProgress, fit_stream
    from sdpn.kmeans.model import KMeansModel

    settings = _settings(args)
    start = None
    if args.init is not None:
        model = KMeansModel.load(args.init)
        if model.n_clusters != settings.n_clusters:
            raise InputError(f"has {model.n_clusters} clusters, not {settings.n_clusters}", path=args.init)
        start = model.centres_KD
    meter = Meter(quiet=args.quiet)

    def show(progress: FitProgress) -> None:
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
    """Write the labels of all chunks and measure their quality."""
    import numpy as np

    from sdpn.io.atomic import atomic_path
    from sdpn.kmeans.labelling import QualityTally, assign

    tally = QualityTally(model)
    seen: set[str] = set()
    table = args.out / "utt2cluster"
    assignments = assign(
        model,
        chunks,
        processes=args.processes,
        backend=args.backend or "sklearn",
        sample_size=2000,
        seed=args.seed or 0,
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
                        raise InputError(f"utterance {key!r} also occurs in an earlier chunk", path=name)
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
            "has no utterance ids, which --labels needs",
            path=assignment.chunk.name,
            hint="use scp or ark chunks",
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
