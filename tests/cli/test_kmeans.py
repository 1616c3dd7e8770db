"""``sdpn kmeans``: what it writes, that it resumes, and its errors on bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from sdpn.cli.main import main
from sdpn.errors import InputError
from sdpn.io.kaldi import read_table, read_vectors, vector_writer
from sdpn.kmeans.model import KMeansModel

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(4, size=300)
ROWS = (3 * np.eye(6)[TRUTH] + 0.5 * RNG.normal(size=(300, 6))).astype(np.float32)


def kmeans(*args: object) -> int:
    return main(["kmeans", *map(str, args)])


@pytest.fixture
def chunks(tmp_path: Path) -> list[Path]:
    """An scp with ids u000 to u099 and two matrices."""
    with vector_writer(tmp_path) as write:
        for number, row in enumerate(ROWS[:100]):
            write(f"u{number:03d}", row)
    np.save(tmp_path / "a.npy", ROWS[100:250])
    np.save(tmp_path / "b.npy", ROWS[250:].astype(np.float64))
    return [tmp_path / "embeddings.scp", tmp_path / "a.npy", tmp_path / "b.npy"]


def labels(out: Path) -> np.ndarray:
    table = read_table(out / "utt2cluster")
    assert list(table) == [f"u{number:03d}" for number in range(100)]
    found = [np.array(list(table.values()), dtype=int)]
    return np.concatenate(found + [np.load(file) for file in sorted((out / "labels").iterdir())])


def test_what_it_writes(chunks: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, document = tmp_path / "out", tmp_path / "k.json"
    assert kmeans("--clusters", 4, "--out", out, *chunks, "--json", document) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "labels",
        "model.npz",
        "quality.png",
        "utt2cluster",
    ]
    assert [path.name for path in sorted((out / "labels").iterdir())] == ["00001-a.npy", "00002-b.npy"]
    model = KMeansModel.load(out / "model.npz")
    np.testing.assert_array_equal(labels(out), model.predict(ROWS))
    assert adjusted_rand_score(TRUTH, labels(out)) == 1
    results = json.loads(document.read_text())["results"]
    expected = KMeans(4, n_init=3, random_state=0).fit(ROWS)
    assert results["inertia"] == pytest.approx(expected.inertia_, rel=1e-3)
    assert sorted(results["sizes"]) == sorted(np.bincount(TRUTH))
    assert (results["num_rows"], results["clusters"], results["empty"], results["nmi"]) == (300, 4, 0, None)
    assert set(results["learning"]["rows_per_pass"]) == {300}
    assert "300" in capsys.readouterr().out


def test_labels_are_scored_and_a_model_labels_more(
    chunks: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, document, table = tmp_path / "out", tmp_path / "k.json", tmp_path / "utt2spk"
    table.write_text("".join(f"u{number:03d} s{TRUTH[number] // 2}\n" for number in range(100)))
    options = ("--lloyd", 3, "--standardise", "--spherical", "--to", "safetensors", "--seed", 3)
    assert kmeans("--clusters", 4, *options, "--out", out, *chunks[1:]) == 0
    assert not (out / "utt2cluster").exists()
    assert kmeans("--model", out / "model.safetensors", "--out", tmp_path / "more", chunks[0],
                  "--utt2spk", table, "--json", document) == 0  # fmt: skip
    found = np.array(list(read_table(tmp_path / "more" / "utt2cluster").values()))
    results = json.loads(document.read_text())["results"]
    assert results["nmi"] == pytest.approx(normalized_mutual_info_score(TRUTH[:100] // 2, found))
    assert results["purity"] == 1
    assert "learning" not in results
    assert "purity" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "more").iterdir()) == ["quality.png", "utt2cluster"]


def test_processes_and_a_start(chunks: list[Path], tmp_path: Path) -> None:
    assert kmeans("--quiet", "--clusters", 4, "--out", tmp_path / "one", *chunks) == 0
    again = ("--init", tmp_path / "one" / "model.npz", "--max-iter", 1, "--jobs", 2)
    assert kmeans("--quiet", "--clusters", 4, *again, "--out", tmp_path / "two", *chunks) == 0
    np.testing.assert_array_equal(labels(tmp_path / "one"), labels(tmp_path / "two"))  # in the same order


def test_an_interrupted_command_resumes(
    chunks: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    bad = ROWS[100:250].copy()
    bad[70] = np.nan
    np.save(chunks[1], bad)
    assert kmeans("--quiet", "--clusters", 4, "--out", out, *chunks) == 2
    assert f"{chunks[1]}: row 70 contains NaN or infinite values" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["state.npz"]
    assert kmeans("--quiet", "--clusters", 5, "--out", out, *chunks) == 2
    assert "state.npz: was saved by a run with different settings" in capsys.readouterr().err
    np.save(chunks[1], ROWS[100:250])
    assert kmeans("--quiet", "--clusters", 4, "--out", out, *chunks) == 0
    assert kmeans("--quiet", "--clusters", 4, "--out", tmp_path / "fresh", *chunks) == 0
    assert not (out / "state.npz").exists()
    np.testing.assert_array_equal(
        KMeansModel.load(out / "model.npz").centres_KD,
        KMeansModel.load(tmp_path / "fresh/model.npz").centres_KD,
    )


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert kmeans("--quiet", *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert error.startswith("sdpn kmeans: error: ")
    return error


def test_bad_options(chunks: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("--out", tmp_path / "out")
    learn = ("--clusters", 4, *out)
    assert "one of --clusters and --with is needed" in refused(capsys, *out, *chunks)
    assert "one of --clusters and --with" in refused(capsys, *learn, "--model", "m.npz", *chunks)
    assert "no such k-means model" in refused(capsys, "--model", tmp_path / "m.npz", *out, *chunks)
    assert "--lloyd has no effect with a k-means model" in refused(
        capsys, "--model", "m.npz", "--lloyd", 2, *out, *chunks
    )
    assert "n_clusters is 0; expected at least 1" in refused(capsys, "--clusters", 0, *out, *chunks)
    assert "300 rows in 3 chunks are fewer than 301" in refused(capsys, "--clusters", 301, *out, *chunks)
    assert "unknown key 'batchsize'; did you" in refused(capsys, *learn, "batchsize=3", *chunks).replace(
        " (did", "; did"
    )
    assert "n_clusters is given as an option and as a setting" in refused(
        capsys, *learn, "n_clusters=3", *chunks
    )
    assert "is not a chunk file" in refused(capsys, *learn, tmp_path / "embeddings.txt")
    assert "a file is in the place of a folder" in refused(
        capsys, "--clusters", 4, "--out", chunks[0], *chunks
    )


def test_a_layer_of_a_network(voices: Path, tmp_path: Path) -> None:
    out, more, document = tmp_path / "out", tmp_path / "more", tmp_path / "k.json"
    layer = ("--quiet", "--model", "small", "--data", voices, "--layer")
    assert kmeans(*layer, 4, "--clusters", 4, "--keep-rows", "--out", out, "--json", document) == 0
    rows = np.concatenate([np.load(file) for file in sorted((out / "rows").glob("*.npy"))])
    results = json.loads(document.read_text())["results"]
    assert (results["layer"], results["num_rows"]) == ("blocks.0", len(rows))
    table = read_table(out / "units")
    assert list(table) == [f"u{number:02}" for number in range(24)]
    found = [int(unit) for units in table.values() for unit in units.split()]
    np.testing.assert_array_equal(found, KMeansModel.load(out / "model.npz").predict(rows))
    # the same network, named otherwise, labels with what was learned; its rows are gone at the end
    assert kmeans(*layer, "blocks.0", "--with", out / "model.npz", "--out", more) == 0
    assert (more / "units").read_bytes() == (out / "units").read_bytes()
    assert sorted(path.name for path in more.iterdir()) == ["quality.png", "units"]


def test_a_layer_without_frames_gives_each_utterance_a_cluster(voices: Path, tmp_path: Path) -> None:
    options = ("--quiet", "--layer", "embedding", "--data", voices, "--utt2spk", voices / "utt2spk")
    document = tmp_path / "k.json"
    assert kmeans(*options, "--clusters", 6, "--out", tmp_path / "out", "--json", document) == 0
    assert list(read_table(tmp_path / "out/utt2cluster")) == [f"u{number:02}" for number in range(24)]
    assert json.loads(document.read_text())["results"]["nmi"] > 0.3  # the voices differ
    assert not (tmp_path / "out/rows").exists()


def test_an_interrupted_layer_resumes(
    voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sdpn.extraction import layer_chunks
    from sdpn.kmeans import fit

    monkeypatch.setattr(layer_chunks, "_CHUNK_BYTES", 100_000)
    monkeypatch.setattr(layer_chunks, "_GATHERED_S", (2.0, 2.0))
    options = ("--quiet", "--layer", 3, "--data", voices, "--clusters", 4, "--out")
    assert kmeans(*options, tmp_path / "whole") == 0

    def broken(*_: object, **__: object) -> None:
        raise InputError("the power went off")

    with monkeypatch.context() as patched:  # after the network, when centres were to be found
        patched.setattr(fit, "initial_centres", broken)
        assert kmeans(*options, tmp_path / "killed") == 2
    assert "the power went off" in capsys.readouterr().err
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed/rows").glob("*.npy")}
    assert len(written) > 3
    last = sorted(written)[-1]
    last.unlink()  # as if it had been killed before that
    assert kmeans(*options, tmp_path / "killed", "--keep-rows") == 0
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed/rows").glob("*.npy")}
    assert [path for path in again if again[path] != written[path]] == [last]
    for name in ("units", "model.npz"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_bad_layers(
    chunks: list[Path], voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learn = ("--clusters", 4, "--out", tmp_path / "out")
    layer = (*learn, "--model", "small", "--data", voices, "--layer")
    assert "0 spectral, 1 stem.0, 2 stem.1, 3 stem.2, 4 blocks.0" in refused(capsys, *layer, "block")
    assert "has no layer 11" in refused(capsys, *layer, 11)
    assert "--layer computes its own rows" in refused(capsys, *layer, 3, *chunks)
    assert "--layer needs --data" in refused(capsys, *learn, "--layer", 3)
    assert "--data has no effect without --layer" in refused(capsys, *learn, "--data", voices)
    assert "--device has no effect without --layer" in refused(capsys, *learn, "--device", "cpu", *chunks)
    assert "there is nothing to cluster" in refused(capsys, *learn)
    assert "is not a device" in refused(capsys, *layer, 3, "--device", "tpu")
    assert not (tmp_path / "out" / "model.npz").exists()
    assert kmeans("--quiet", "--clusters", 4, "--out", tmp_path / "k", *chunks) == 0
    model = tmp_path / "k" / "model.npz"
    small = ("--model", "small", "--layer", 4, "--data", voices)
    error = refused(capsys, "--with", model, *small, "--out", tmp_path / "out")
    assert "rows of layer 'blocks.0' have 256 dimensions; expected 6" in error
    assert "--model beside --with has no effect" in refused(
        capsys, "--with", model, "--model", model, "--out", tmp_path / "out", *chunks
    )


def test_without_a_network_there_is_no_torch(chunks: list[Path], tmp_path: Path) -> None:
    script = (
        "import sys\nfrom sdpn.cli.main import main\nimport sdpn.kmeans.compatibility\n"
        "assert main(sys.argv[1:]) == 0\nassert 'torch' not in sys.modules\n"
    )
    command = ["kmeans", "--quiet", "--clusters", "4", "--out", str(tmp_path / "out"), *map(str, chunks)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script, *command], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_bad_data(chunks: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("--out", tmp_path / "out")
    np.save(tmp_path / "wide.npy", ROWS[:, :4])
    error = refused(capsys, "--clusters", 4, *out, *chunks, tmp_path / "wide.npy")
    assert "wide.npy: rows have 4 dimensions; expected 6" in error
    assert kmeans("--quiet", "--clusters", 4, "--out", tmp_path / "k", *chunks) == 0
    model = tmp_path / "k" / "model.npz"
    error = refused(capsys, "--model", model, *out, tmp_path / "wide.npy")
    assert "wide.npy: rows have 4 dimensions; expected 6" in error
    error = refused(capsys, "--clusters", 3, "--init", model, "--out", tmp_path / "o2", *chunks)
    assert "model.npz: has 4 clusters, not 3" in error
    (tmp_path / "utt2spk").write_text("u000 s\n")
    labelled = ("--model", model, *out, "--utt2spk", tmp_path / "utt2spk")
    assert "utt2spk: has no class for 'u001'" in refused(capsys, *labelled, chunks[0])
    assert "a.npy: has no utterance ids, which --utt2spk needs" in refused(capsys, *labelled, chunks[1])
    twice = refused(capsys, "--model", model, *out, chunks[0], tmp_path / "embeddings.ark")
    assert "embeddings.ark: utterance 'u000' occurs a second time" in twice


@pytest.mark.parametrize("num_chunks", [10, 100])
def test_real_x_vectors_end_within_2_percent_of_full_batch(
    num_chunks: int, shared_data: Path, tmp_path: Path
) -> None:
    rows = np.stack(list(read_vectors(shared_data / "xvectors" / "ES2005a.ark").values()))
    files = [tmp_path / f"{number}.npy" for number in range(num_chunks)]
    for file, part in zip(files, np.array_split(rows, num_chunks), strict=True):
        np.save(file, part)
    document = tmp_path / "k.json"
    assert kmeans("--quiet", "--clusters", 16, "--out", tmp_path / "k", *files, "--json", document) == 0
    full = np.mean([KMeans(16, n_init=1, random_state=seed).fit(rows).inertia_ for seed in range(5)])
    assert json.loads(document.read_text())["results"]["inertia"] < 1.02 * full
