"""torch and onnxruntime side by side, in cold processes: start-up, a file of 60 s, memory, agreement, DER.

python tools/benchmarks/onnx_runtime.py --data ../shared/data [--repeats 5] [--accuracy | --only-accuracy]

The file is two meeting clips of AMI, one after the other. Every figure is of a whole process, from its
start to its end: wall time (the best of the repeats, which alternate), least seconds of CPU, and peak memory.
Graphs that are not there yet are written before anything is measured. --accuracy adds the DER on the clips of
AMI, and the EER on trials among the first speakers of speechocean762's dev part.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

#: By name: what the command line gets.
RUNTIMES = {
    "torch": ["--runtime", "torch"],
    "onnx fp32": ["--runtime", "onnx"],
    "onnx int8": ["--runtime", "onnx", "--precision", "int8"],
}
#: Speakers of the trials, and utterances of each.
SPEAKERS, UTTERANCES = 20, 8


@dataclass(frozen=True, kw_only=True)
class Process:
    """What a process took."""

    wall_s: float
    cpu_s: float
    memory_mb: float


def run(*arguments: str) -> Process:
    """Run a command of sdpn from a cold start to its end."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "sdpn", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"sdpn {' '.join(arguments)} failed")
    return Process(wall_s=wall_s, cpu_s=usage.ru_utime + usage.ru_stime, memory_mb=usage.ru_maxrss / 1024)


def extract(options: list[str], out: Path, *what: str) -> Process:
    """Extract embeddings; torch in 32 bits, since by itself it takes bf16 where that is faster."""
    precision = [] if "--precision" in options else ["--precision", "fp32"]
    return run("extract", *options, *precision, *what, "--quiet", "--out", str(out))


def best(runs: list[Process]) -> str:
    """The fastest run as columns of a table."""
    chosen = min(runs, key=lambda one: one.wall_s)
    least_cpu_s = min(one.cpu_s for one in runs)
    return f"{chosen.wall_s:8.2f} {least_cpu_s:8.2f} {chosen.memory_mb:8.0f}"


def minute(data: Path, path: Path) -> None:
    """Write a recording of 60 s."""
    clips = [
        soundfile.read(data / "ami_excerpt" / f"dev0{number}.flac", dtype="float32") for number in (0, 1)
    ]
    soundfile.write(path, np.concatenate([samples for samples, _ in clips]), clips[0][1])


def embeddings(folder: Path) -> np.ndarray:
    """The embeddings of an extraction, scaled to length 1."""
    rows_ND: np.ndarray = np.load(folder / "embeddings.npz")["embeddings"]
    return rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True)


def measure(data: Path, repeats: int, work: Path) -> None:
    """Print the table of time, memory and agreement."""
    audio = work / "minute.wav"
    minute(data, audio)
    short = work / "second.wav"
    soundfile.write(short, soundfile.read(audio, frames=16000)[0], 16000)
    first: dict[str, list[Process]] = {name: [] for name in RUNTIMES}
    whole: dict[str, list[Process]] = {name: [] for name in RUNTIMES}
    for name, options in RUNTIMES.items():  # graphs are written, files are cached
        out = str(work / name)
        extract(options, Path(f"{out} rows"), "--windows", "1.5/0.75", "--npz", str(audio))
        run("diarize", *options, "--quiet", "--out", out, str(audio))
    for _ in range(repeats):
        for name, options in RUNTIMES.items():
            first[name].append(run("compare", *options, "--quiet", str(short), str(short)))
            whole[name].append(
                run("diarize", *options, "--quiet", "--force", "--out", str(work / name), str(audio))
            )
    print("whole processes            first embedding            60 s diarized         difference of  same")
    print("                       wall s    CPU s       MB   wall s    CPU s       MB    embeddings turns")
    reference, turns = embeddings(work / "torch rows"), (work / "torch" / "minute.rttm").read_text()
    for name in RUNTIMES:
        difference = float(np.abs(embeddings(work / f"{name} rows") - reference).max())
        same = (work / name / "minute.rttm").read_text() == turns
        print(
            f"{name:<20} {best(first[name])} {best(whole[name])}  {difference:12.1e}  "
            f"{'yes' if same else 'no'}"
        )


def accuracy(data: Path, work: Path) -> None:
    """Print DER and EER with each runtime."""
    clips = sorted(map(str, (data / "ami_excerpt").glob("*.flac")))
    reference = str(data / "ami_excerpt" / "reference.rttm")
    dev = data / "speechocean762" / "dev"
    chosen = [
        path
        for speaker in sorted(dev.iterdir())[:SPEAKERS]
        for path in sorted(speaker.glob("*.opus"))[:UTTERANCES]
    ]
    corpus = work / "corpus"
    for path in chosen:
        (corpus / path.parent.name).mkdir(parents=True, exist_ok=True)
        (corpus / path.parent.name / path.name).symlink_to(path.resolve())
    names = [f"{path.parent.name}-{path.stem}" for path in chosen]  # the ids of files in a folder
    trials = work / "trials"
    pairs = [(a, b) for index, a in enumerate(names) for b in names[:index]]
    trials.write_text(
        "".join(f"{int(a.split('-')[0] == b.split('-')[0])} {a} {b}\n" for a, b in pairs), encoding="utf-8"
    )
    print(f"\n{len(clips)} clips of AMI; {len(pairs)} trials of {len(names)} utterances, cosine")
    for name, options in RUNTIMES.items():
        run("diarize", *options, "--quiet", "--out", str(work / f"{name} ami"), *clips)
        hypotheses = sorted(map(str, (work / f"{name} ami").glob("*.rttm")))
        run("score", "--ref", reference, "--hyp", *hypotheses, "--json", str(work / "score.json"))
        vectors = work / f"{name} dev"
        took = extract(options, vectors, "--data", str(corpus))
        scp = str(vectors / "embeddings.scp")
        run("verify", "--trials", str(trials), "--embeddings", scp, "--json", str(work / "verify.json"))
        scored, verified = (
            json.loads((work / f"{kind}.json").read_text())["results"] for kind in ("score", "verify")
        )
        print(
            f"{name:<20} DER {_figure(scored, 'der')}  EER {_figure(verified, 'eer')}  "
            f"extraction {took.cpu_s:.1f} CPU s"
        )


def _figure(results: object, name: str) -> str:
    """The first number of a name in nested results, in percent."""
    todo = [results]
    while todo:
        here = todo.pop(0)
        if isinstance(here, dict):
            if isinstance(here.get(name), (int, float)):
                return f"{100 * here[name]:.2f} %"
            todo += here.values()
    return "unknown"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the shared corpora")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--only-accuracy", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        if not args.only_accuracy:
            measure(args.data, args.repeats, Path(work))
        if args.accuracy or args.only_accuracy:
            accuracy(args.data, Path(work))


if __name__ == "__main__":
    main()
