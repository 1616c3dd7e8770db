"""``sdpn search``, ``cross-validate``, ``ensemble`` and ``prune`` over real trainings that take a second."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdpn.cli.main import main
from tests.conftest import TINY

TRAINING = [
    "train",
    "--objective",
    "supervised",
    *TINY,
    "training.steps=4",
    "training.checkpoint_every=4",
    "teacher.momentum=0",
    "teacher.final_momentum=0",
]


def ran(tmp_path: Path, *words: object) -> dict[str, Any]:
    """Results of a command."""
    assert (
        main([*map(str, words[:1]), "--json", str(tmp_path / "r.json"), "--quiet", *map(str, words[1:])]) == 0
    )
    results: dict[str, Any] = json.loads((tmp_path / "r.json").read_text())["results"]
    return results


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a refusal."""
    assert main([str(word) for word in words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    return lines[-1]


@pytest.fixture(scope="module")
def parts(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The voices in three sets that share no utterance: of three voices, two, and two more."""
    folder = tmp_path_factory.mktemp("parts")
    found = {}
    for name, chosen in (("train", (0, 1, 2)), ("dev", (3, 4)), ("test", (5, 0))):
        found[name] = folder / name
        found[name].mkdir()
        keys = [f"u{index:02}" for index in range(24) if index % 6 in chosen]
        if name == "test":  # the last two of a voice that is trained on are left out of training
            keys = [key for key in keys if int(key[1:]) % 6 == 5 or int(key[1:]) >= 12]
        if name == "train":
            keys = [key for key in keys if not (int(key[1:]) % 6 == 0 and int(key[1:]) >= 12)]
        for table in ("wav.scp", "utt2spk"):
            rows = [line for line in (voices / table).read_text().splitlines() if line.split()[0] in keys]
            rows = [
                f"{row.split()[0]} {os.path.join(voices, row.split()[1])}" if table == "wav.scp" else row
                for row in rows
            ]
            (found[name] / table).write_text("\n".join(rows) + "\n")
        trials = [
            line
            for line in (voices / "trials").read_text().splitlines()
            if set(line.split()[1:]) <= set(keys)
        ]
        (found[name] / "trials").write_text("\n".join(trials) + "\n")
    return found


def test_search(parts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("search", "--try", "optimizer.lr=0.1", "--dev", parts["dev"], "--test", parts["test"])
    training = [*TRAINING, "--data", parts["train"]]
    out = tmp_path / "search"
    found = ran(tmp_path, *words, "--out", out, "--", *training)
    assert [one["settings"] for one in found["trials"]] == [{}, {"optimizer.lr": 0.1}]
    assert found["best_figure"] == min(one["figure"] for one in found["trials"])
    assert (out / "search.png").is_file() and (out / "runs" / "001" / "model" / "config.yaml").is_file()
    chosen = yaml.safe_load((out / "settings.yaml").read_text())
    assert chosen == ({"optimizer": {"lr": found["best"]["optimizer.lr"]}} if found["best"] else {})
    assert ("test" in found) == bool(found["best"])
    table = (out / "trials.jsonl").read_bytes()
    assert ran(tmp_path, *words, "--out", out, "--", *training)["trials"] == found["trials"]
    assert (out / "trials.jsonl").read_bytes() == table  # nothing was run again
    words = ("search", "--try", "optimizer.lr=0.01", "--out", tmp_path / "none")
    for more, message in (
        (("--", *training), "either --dev DIR or --figure"),
        (("--dev", parts["dev"]), "no training is given"),
        (("--dev", parts["dev"], "--", "diarize"), "'diarize' is not a command that trains"),
        (("--dev", parts["dev"], "--", *training, "--out", "x"), "--out of the training"),
        (("--dev", parts["train"], "--", *training), "share 10 utterances"),
        (("--dev", parts["dev"], "--test", parts["dev"], "--", *training), "share 8 utterances"),
        (("--dev", parts["dev"], "--try", "optimizer.lrr=1", "--", *training), "lrr"),
        (("--dev", parts["dev"], "--strategy", "random", "--", *training), "give --runs N"),
    ):
        assert message in refused(capsys, *words, *more), message
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_search_by_a_figure_of_the_training(
    parts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("search", "--try", "optimizer.lr=0.01", "--out", tmp_path / "own")
    training = [*TRAINING, "--data", parts["train"], "supervised.folds=2"]
    own = ran(tmp_path, *words, "--figure", "best_accuracy", "--", *training)
    assert own["smallest_is_best"] is False and 0 <= own["best_figure"] <= 1
    words = ("search", "--try", "optimizer.lr=0.01", "--out", tmp_path / "none")
    assert "no figure 'f1' (it has best_accuracy" in refused(
        capsys, *words, "--figure", "f1", "--", *training
    )


def test_cross_validate_by_speaker_and_its_bag(
    voices: Path, parts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "folds"
    words = ("cross-validate", "--data", voices, "--folds", 2, "--out", out, "--before", "small")
    found = ran(tmp_path, *words, "--", *TRAINING)
    assert len(found["folds"]) == 2 and found["mean"].keys() == {"eer", "eer_before"}
    for name in ("eer", "eer_before"):
        assert found["mean"][name] == pytest.approx(sum(one[name] for one in found["folds"]) / 2)
    assert found["difference"] == pytest.approx(found["mean"]["eer"] - found["mean"]["eer_before"])
    low, high = found["difference_interval"]
    assert low <= high
    assert ran(tmp_path, *words, "--", *TRAINING) == found  # from the table
    assert "another --out, or --force" in refused(capsys, *words, "--", *TRAINING, "training.seed=3")
    assert "--data of the training" in refused(capsys, *words, "--", *TRAINING, "--data", voices)
    words = ("cross-validate", "--data", voices, "--folds", 9, "--out", tmp_path / "no")
    assert "9 folds cannot be made" in refused(capsys, *words, "--", *TRAINING)
    models = [word for one in found["folds"] for word in ("--model", one["model"])]
    words = ("--data", parts["dev"], "--fit", parts["train"], "--out", tmp_path / "bag")
    bag = ran(tmp_path, "ensemble", *models, *words)
    names = ["weights, mean", "embeddings, concatenated", "embeddings, mean"]
    assert [row["name"] for row in bag["rows"] if not row["single"]][1:4] == names
    # four steps may teach a network nothing, and then its scores cannot be calibrated
    assert [row["name"] for row in bag["rows"]][6:] == (
        []
        if any("no ensemble of scores" in note for note in bag["notes"])
        else ["scores, mean", "scores, fused"]
    )
    assert any("12 dimensions is fitted to 10 utterances" in note for note in bag["notes"])
    assert (tmp_path / "bag" / "weights" / "model.safetensors").is_file()
    assert len(list((tmp_path / "bag" / "scores").iterdir())) == len(bag["rows"])


def test_cross_validate_by_utterance(voices: Path, tmp_path: Path) -> None:
    words = ("cross-validate", "--data", voices, "--by", "utterance", "--folds", 2, "--out", tmp_path / "by")
    found = ran(tmp_path, *words, "--", *TRAINING)
    assert found["mean"].keys() == {"accuracy", "precision", "recall", "f1"}
    accuracies = [one["accuracy"] for one in found["folds"]]
    assert found["mean"]["accuracy"] == pytest.approx(sum(accuracies) / 2)
    assert found["interval"][0] <= found["mean"]["accuracy"] <= found["interval"][1]  # folds are of one size


def test_prune(parts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("prune", "--model", "small", "--data", parts["dev"], "--out", tmp_path / "pruned")
    found = ran(tmp_path, *words, "--share", "0.5", "--bits", "32,8")
    rows = {(row["share"], row["bits"]): row for row in found["rows"]}
    assert rows.keys() == {(share, bits) for share in (0.0, 0.5) for bits in (32, 8)}
    assert rows[0.0, 32]["difference"] == 0 and rows[0.5, 32]["zeros"] == pytest.approx(0.5, abs=0.03)
    sizes = [rows[key]["num_bytes"] for key in ((0.0, 32), (0.5, 32), (0.0, 8), (0.5, 8))]
    assert sizes == sorted(sizes, reverse=True) and sizes[1] == pytest.approx(0.53 * sizes[0], rel=0.05)
    assert (tmp_path / "pruned" / "pruning.png").is_file()
    from sdpn import load_model

    folder = rows[0.5, 8]["folder"]
    assert load_model(folder).embedding_dim == load_model("small").embedding_dim
    assert "--share 1 is not in [0, 1)" in refused(capsys, *words, "--share", "1")
