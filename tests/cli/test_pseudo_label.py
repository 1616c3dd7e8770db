"""``sdpn pseudo-label``: from a model and a corpus, or step by step, to the labels that the library finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from sdpn.cli.main import main
from sdpn.clustering.pseudo_labels import pseudo_labels
from sdpn.interop.load import load_model
from sdpn.io.kaldi import read_data_dir, read_table, vector_writer


def run(*arguments: object) -> int:
    return main(["pseudo-label", *map(str, arguments), "--quiet"])


def results(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text())
    assert document["schema"] == "sdpn.pseudo-label/1"
    found: dict[str, Any] = document["results"]
    return found


@pytest.fixture(scope="module")
def steps(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Embeddings of the voices and of their halves, as 'sdpn extract' makes them."""
    folder = tmp_path_factory.mktemp("steps")
    assert run("--data", voices, "--write-halves", folder / "data") == 0
    options = []
    for option, data in (("--embeddings", voices), ("--halves", folder / "data")):
        out = folder / option.strip("-")
        extract = ["extract", "--data", str(data), "--precision", "fp32", "--out", str(out), "--quiet"]
        assert main(extract) == 0
        options += [option, str(out / "embeddings.scp")]
    return options


def test_one_command_the_steps_and_the_library_agree(voices: Path, steps: list[str], tmp_path: Path) -> None:
    speakers = read_table(voices / "utt2spk")
    given = ("--utt2spk", voices / "utt2spk", "--json", tmp_path / "json")
    assert run("--data", voices, "--device", "cpu", "--out", tmp_path / "once", *given) == 0
    labels, figures = read_table(tmp_path / "once"), results(tmp_path / "json")
    assert run(*steps, "--out", tmp_path / "steps") == 0
    assert read_table(tmp_path / "steps") == labels

    model, waves = load_model(), [one.read() for one in read_data_dir(voices)]
    whole_ND = model.embed(waves, 16000)
    halves = [half for wave in waves for half in np.array_split(wave, 2)]
    found = pseudo_labels(whole_ND, model.embed(halves, 16000).reshape(len(waves), 2, -1))
    assert [int(label) for label in labels.values()] == found.labels_N.tolist()

    assert labels.keys() == speakers.keys() and figures["clusters"] == len(set(labels.values()))
    truth, clusters = list(speakers.values()), list(labels.values())
    assert figures["nmi"] == pytest.approx(normalized_mutual_info_score(truth, clusters))
    assert figures["ari"] == pytest.approx(adjusted_rand_score(truth, clusters))
    assert (figures["space"], figures["num_utterances"], figures["left_out"]) == ("cosine", 24, {})


def test_the_count_can_be_given(steps: list[str], tmp_path: Path) -> None:
    for method in ("average", "kmeans", "ahc"):
        assert run(*steps, "--method", method, "--clusters", 6, "--out", tmp_path / method) == 0
        assert len(set(read_table(tmp_path / method).values())) == 6


def test_corpora_are_clustered_each_by_itself(
    voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same recordings under two names: no cluster has both, although they cannot be told apart."""
    lines = (voices / "wav.scp").read_text().splitlines()
    options: list[object] = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "wav.scp").write_text("".join(f"{name}-{line}\n" for line in lines))
        options += ["--data", tmp_path / name]
    shown = ("--out", tmp_path / "labels", "--json", tmp_path / "json")
    assert run(*options, "--device", "cpu", *shown) == 0
    labels, figures = read_table(tmp_path / "labels"), results(tmp_path / "json")
    first, second = ({labels[f"{n}-{line.split()[0]}"] for line in lines} for n in "ab")
    assert not first & second and len(first | second) == figures["clusters"]
    assert [corpus["num_utterances"] for corpus in figures["corpora"]] == [24, 24]
    printed = capsys.readouterr().out
    for name, clusters, corpus in zip("ab", (first, second), figures["corpora"], strict=True):
        line = f"{len(clusters)} clusters of 24 utterances ({corpus['method']}): {tmp_path / name}"
        assert line in printed and corpus["clusters"] == len(clusters)


def test_what_cannot_be_read_has_no_label(
    voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.wav").write_text("no audio")
    (tmp_path / "wav.scp").write_text(f"{(voices / 'wav.scp').read_text()}v {tmp_path / 'bad.wav'}\n")
    assert run("--data", tmp_path, "--out", tmp_path / "out", "--json", tmp_path / "json") == 0
    assert "1 utterances have no label:\n  v: " in capsys.readouterr().out
    assert read_table(tmp_path / "out").keys() == read_table(voices / "wav.scp").keys()
    assert results(tmp_path / "json")["left_out"].keys() == {"v"}


def test_what_is_refused(
    steps: list[str], voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with vector_writer(tmp_path) as write:
        for index in range(6):
            write(f"u{index}", np.eye(6, dtype=np.float32)[index])
    others = tmp_path / "embeddings.scp"
    (tmp_path / "few").write_text("u00 1\n")
    out = ("--out", tmp_path / "out")
    for options, message in (
        (out, "give either --data, or --embeddings"),
        (steps, "give either --out, or --write-halves"),
        ((*steps, "--data", voices, *out), "give either --data"),
        ((*steps[:2], *out), "belong together"),
        ((*steps, "--embeddings", steps[1], *out), "belong together"),
        ((*steps, *steps, *out), "utterance 'u00' occurs in two corpora"),
        (("--data", voices, "--data", voices, "--write-halves", tmp_path / "halves"), "--data, once"),
        ((*steps, "--model", "none", *out), "--model is for --data"),
        ((*steps, "--write-halves", tmp_path / "halves"), "--write-halves needs --data"),
        (("--embeddings", others, "--halves", others, *out), f"{others}: contains no halves"),
        ((*steps[:2], "--halves", others, *out), f"{others}: contains no halves"),
        ((*steps, "--utt2spk", tmp_path / "few", *out), "few: has no line for 'u01'"),
        ((*steps, "--clusters", 24, *out), "24 points cannot"),
        (("--data", tmp_path / "none", *out), "none"),
    ):
        assert run(*options) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("sdpn pseudo-label: error: ") and message in line, line
    assert not (tmp_path / "out").exists()
