"""Arrays of shards by the local executor: real jobs in real processes, failures, reruns and merges."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdpn.batch.array import FOLDER, run_array
from sdpn.batch.executor import BatchSettings, make_executor
from sdpn.cli.main import main
from sdpn.errors import InputError
from sdpn.extraction.shard import Shard
from sdpn.io.kaldi import read_vectors, vector_writer


@pytest.fixture
def chunks(tmp_path: Path) -> list[Path]:
    """Five chunks of different sizes, of rows with and without ids."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "chunks"
    folder.mkdir()
    paths = []
    for number, count in enumerate((40, 7, 1, 90)):
        paths.append(folder / f"{number}.npy")
        np.save(
            paths[-1], rng.normal(size=(count, 6)).astype(np.float32) + 4 * rng.integers(0, 3, (count, 1))
        )
    with vector_writer(folder / "named") as write:
        for index in range(20):
            write(f"utterance{index:02}", rng.standard_normal(6))
    return [*paths, folder / "named/embeddings.scp"]


@pytest.fixture
def clusters(chunks: list[Path], tmp_path: Path) -> Path:
    """A k-means model, learned and not used."""
    out = tmp_path / "clusters"
    assert (
        main(["kmeans", "--clusters", "3", "--no-labels", "--quiet", "--out", str(out), *map(str, chunks)])
        == 0
    )
    assert sorted(path.name for path in out.iterdir()) == ["model.npz"]
    return out / "model.npz"


def labelling(clusters: Path, out: Path, chunks: Sequence[Path]) -> list[str]:
    """Words of 'sdpn kmeans'."""
    return ["kmeans", "--with", str(clusters), "--out", str(out), *map(str, chunks)]


def batch(*words: str, jobs: int, capsys: pytest.CaptureFixture[str], code: int = 0, **more: str) -> Any:
    """Run 'sdpn batch'; returns what it said."""
    given = [text for name, value in more.items() for text in (f"--{name}", value)]
    assert main(["batch", "--jobs", str(jobs), "--quiet", *given, "--", *words]) == code
    return capsys.readouterr()


def labels(out: Path) -> dict[str, bytes]:
    """Everything that was written, except for pictures, records and logs."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix != ".png" and FOLDER not in path.parts
    }


def test_an_array_writes_what_one_process_writes(
    chunks: list[Path], clusters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*labelling(clusters, tmp_path / "one", chunks), "--json", str(tmp_path / "one.json")]) == 0
    said = batch(
        *labelling(clusters, tmp_path / "many", chunks),
        "--json",
        str(tmp_path / "many.json"),
        jobs=3,
        capsys=capsys,
    )
    assert "kmeans: 3 of 3 shards run" in said.out
    assert labels(tmp_path / "many") == labels(tmp_path / "one") and len(labels(tmp_path / "one")) == 5
    one, many = (json.loads((tmp_path / f"{name}.json").read_text())["results"] for name in ("one", "many"))
    assert one == many and one["num_rows"] == 158


@pytest.mark.slow
def test_only_the_shard_that_failed_runs_again(
    chunks: list[Path], clusters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = np.load(chunks[1])
    np.save(chunks[1], np.where(np.arange(len(good))[:, None] == 3, np.nan, good))
    words = labelling(clusters, tmp_path / "out", chunks)
    error = batch(*words, jobs=3, capsys=capsys, code=2).err
    assert "sdpn batch: error: 1 of 3 shards failed: shard 1/3: sdpn kmeans: error: " in error
    assert "1.npy" in error and "_log.err" in error and "the same command runs only these again" in error
    assert error.count("\n") == 1 and not (tmp_path / "out/labels").exists()
    np.save(chunks[1], good)
    said = batch(*words, jobs=3, capsys=capsys).out
    assert "kmeans: 1 of 3 shards run, 2 finished before" in said
    assert main(labelling(clusters, tmp_path / "one", chunks)) == 0
    assert labels(tmp_path / "out") == labels(tmp_path / "one")
    # nothing is left of the jobs, and the same command may run again
    assert not (tmp_path / "out" / FOLDER).exists() and not (tmp_path / "out/parts").exists()
    assert "kmeans: 3 of 3 shards run" in batch(*words, jobs=3, capsys=capsys).out


@pytest.mark.slow
def test_another_model_at_the_same_place_repeats_all_shards(
    chunks: list[Path], clusters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = np.load(chunks[1])
    np.save(chunks[1], np.full_like(good, np.nan))
    words = labelling(clusters, tmp_path / "out", chunks)
    batch(*words, jobs=3, capsys=capsys, code=2)
    np.save(chunks[1], good)
    learn = ["kmeans", "--clusters", "2", "--no-labels", "--quiet", "--out", str(clusters.parent)]
    assert main([*learn, str(chunks[3])]) == 0
    capsys.readouterr()
    assert "kmeans: 3 of 3 shards run" in batch(*words, jobs=3, capsys=capsys).out


@pytest.mark.slow
def test_what_depends_on_a_change_runs_again(chunks: list[Path], clusters: Path, tmp_path: Path) -> None:
    stamps = ["a", "b", "c", "d"]
    command = labelling(clusters, tmp_path / "out", chunks[:4])

    def run(**more: Any) -> list[str]:
        done = run_array(command, tmp_path / "out", lambda shard: shard.of(stamps), 6, **more)
        assert done.empty == ["4/6", "5/6"]
        return done.ran

    assert run() == ["0/6", "1/6", "2/6", "3/6"] and run() == []
    stamps[2] = "other"
    assert run() == ["2/6"]
    (tmp_path / f"out/{FOLDER}/kmeans/0-of-6.json").write_text("{")  # unreadable: unfinished
    assert run() == ["0/6"]
    assert run(force=True) == ["0/6", "1/6", "2/6", "3/6"]


def test_merge_names_what_is_missing(
    chunks: list[Path], clusters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = labelling(clusters, tmp_path / "out", chunks)
    for shard in ("0/3", "2/3"):
        assert main([*words, "--shard", shard]) == 0
    assert main([*words, "--merge"]) == 2
    error = capsys.readouterr().err
    assert f"2 of 5 chunks are not labelled with this model, the first is {chunks[1]}" in error
    part = tmp_path / "out/parts/00000.npz"
    part.write_bytes(part.read_bytes()[:-30])  # a truncated part counts as missing
    assert main([*words, "--merge"]) == 2
    assert (
        f"3 of 5 chunks are not labelled with this model, the first is {chunks[0]}" in capsys.readouterr().err
    )


def test_a_shard_says_what_went_wrong(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"1 of 1 shards failed: shard 0/1: sdpn: error: unknown command 'nothing'"
    ):
        run_array(["nothing"], tmp_path, lambda shard: shard.of(["x"]), 1)


def test_two_arrays_on_one_output(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER / "kmeans"
    folder.mkdir(parents=True)
    with open(folder / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="is at work on this output"):
            run_array(["kmeans"], tmp_path, lambda shard: shard.of(["x"]), 1)


def test_without_slurm_the_local_executor_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no srun
    with pytest.raises(InputError, match=r"no Slurm on this machine.*--executor local"):
        make_executor(tmp_path / "logs", BatchSettings(executor="slurm"))
    assert not (tmp_path / "logs").exists()


SLURM = """\
#!/usr/bin/env python3
# A stand-in for sbatch, with the parts of its contract that submitit needs: it says a job id, and every task
# of the array runs the script with its number. What asks of jobs later (sacct) has nothing to say.
import os, re, subprocess, sys
script = sys.argv[-1]
text = open(script).read()
count = int(re.search(r"--array=0-(\\d+)", text)[1]) + 1
print("Submitted batch job 77", flush=True)
if os.fork():
    os._exit(0)
os.setsid()
nothing = os.open(os.devnull, os.O_RDWR)  # who reads what this says must not wait for the jobs
for stream in (0, 1, 2):
    os.dup2(nothing, stream)
for number in range(count):
    ids = {"SLURM_JOB_ID": f"77{number}", "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": str(number)}
    more = dict.fromkeys(("SLURM_NODEID", "SLURM_PROCID", "SLURM_LOCALID"), "0")
    more |= {"SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1"}
    subprocess.run(["bash", script], env={**os.environ, **ids, **more, "SLURM_JOB_NODELIST": "here"},
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
"""


def test_slurm_gets_an_array(
    chunks: list[Path],
    clusters: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No cluster is here: stand-ins for its commands show the array, its options, and the way back."""
    tools = tmp_path / "bin"
    tools.mkdir()
    run_last = (
        'while [ "${1#-}" != "$1" ]; do case $1 in --output|--error) shift;; esac; shift; done\nexec "$@"'
    )
    for name, text in (
        ("sbatch", SLURM),
        ("srun", f"#!/bin/bash\n{run_last}\n"),
        ("sacct", "#!/bin/bash\necho 'JobID|State|NodeList'\n"),
        ("scancel", "#!/bin/bash\n"),
    ):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    words = labelling(clusters, tmp_path / "out", chunks)
    settings = BatchSettings(
        executor="slurm", partition="cpu", slurm={"account": "speech"}, threads=3, minutes=9
    )
    done = run_array(words, tmp_path / "out", lambda shard: shard.of("abcde"), 2, settings)
    assert done.ran == ["0/2", "1/2"]
    script = tmp_path / f"out/{FOLDER}/kmeans/logs/77_submission.sh"
    text = script.read_text()
    for option in ("--array=0-1%", "--partition=cpu", "--account=speech", "--cpus-per-task=3", "--time=9"):
        assert option in text
    assert main([*words, "--merge"]) == 0 and main(labelling(clusters, tmp_path / "one", chunks)) == 0
    assert labels(tmp_path / "out") == labels(tmp_path / "one")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which command?"),
        (["--", "verify", "--trials", "x"], "'verify' has no shards (those that have: extract, diarize"),
        (
            ["--", "extract", "--out", "x", "a.wav", "--shard", "0/2"],
            "--shard is what 'sdpn batch' gives itself",
        ),
        (["--", "kmeans", "--clusters", "3", "--out", "x", "a.npy"], "shards label with a model"),
        (["--", "diarize", "-", "--out", "x"], "a stream cannot be divided into shards"),
        (["--partition", "p", "--", "extract", "--out", "x", "a.wav"], "--partition is for --executor slurm"),
        (
            ["--executor", "slurm", "--slurm", "x", "--", "extract", "--out", "x", "a.wav"],
            "--slurm 'x' is not KEY",
        ),
    ],
)
def test_bad_options_are_one_clear_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["batch", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_shards_of_unequal_sizes_cover_everything_once() -> None:
    items = list(range(7))
    for count in range(1, 9):
        parts = [Shard(index, count).of(items) for index in range(count)]
        assert sorted(item for part in parts for item in part) == items


@pytest.mark.slow
def test_arrays_of_extract_and_diarize(
    voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    extract = ["extract", "--data", str(voices), "--precision", "fp32", "--out"]
    assert main([*extract, str(one)]) == 0
    batch(*extract, str(many), jobs=3, capsys=capsys)
    ours, theirs = read_vectors(one / "embeddings.scp"), read_vectors(many / "embeddings.scp")
    assert list(ours) == list(theirs) and len(ours) == 24
    for key, vector in ours.items():
        np.testing.assert_allclose(vector, theirs[key], atol=1e-5 * np.abs(vector).max())

    recordings = sorted(str(path) for path in voices.glob("*.wav"))[:3]
    diarize = ["diarize", *recordings, "--out"]
    assert main([*diarize, str(tmp_path / "a")]) == 0
    assert "diarize: 2 of 2 shards run" in batch(*diarize, str(tmp_path / "b"), jobs=2, capsys=capsys).out
    for name in ("00", "01", "02"):
        first, second = ((tmp_path / folder / f"{name}.rttm").read_bytes() for folder in "ab")
        assert first == second
    (tmp_path / "b/01.rttm").unlink()
    assert main([*diarize, str(tmp_path / "b"), "--merge"]) == 2
    assert "1 of 3 recordings are not diarized" in capsys.readouterr().err
