"""sdpn verify: numbers, scores, and every wrong input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sdpn.cli import verify
from sdpn.cli.main import main
from sdpn.io.kaldi import vector_writer

VECTORS = {
    "a1": [1.0, 0.0],
    "a2": [3.0, 4.0],  # cosine 0.6 to a1
    "b1": [0.0, 2.0],  # 0 to a1, 0.8 to a2
    "b2": [-1e20, 1e20],  # -0.7071 to a1; its squares overflow float32
}
TRIALS = "1 a1 a2\n0 a1 b1\n0 a2 b1\n1 b1 b2\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with vector_writer(tmp_path) as write:
        for key, vector in VECTORS.items():
            write(key, np.array(vector))
    (tmp_path / "trials").write_text(TRIALS)
    return tmp_path


def run(folder: Path, *options: str) -> int:
    arguments = ["--trials", str(folder / "trials"), "--embeddings", str(folder / "embeddings.scp")]
    return main(["verify", *arguments, *options])


def test_numbers_by_hand(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # targets 0.6 and 0.7071, non-targets 0 and 0.8: at 0.7071 one of two is wrong on either side
    assert run(folder, "--json", str(folder / "verify.json")) == 0
    document = json.loads((folder / "verify.json").read_text())
    assert document["schema"] == "sdpn.verify/1"
    assert document["results"] == {
        "eer": 0.5,
        "min_dcf_001": 1.0,  # the best threshold accepts nobody
        "min_dcf_005": 1.0,
        "num_target": 2,
        "num_nontarget": 2,
        "threshold": pytest.approx(np.sqrt(0.5), abs=1e-6),
    }
    assert capsys.readouterr().out.splitlines() == [
        "trials        2 target, 2 non-target",
        "EER           50.00 %  (at cosine 0.707)",
        "minDCF(0.01)  1.0000",
        "minDCF(0.05)  1.0000",
    ]


@pytest.mark.parametrize("block", [1, 3, 8192])
def test_scores_are_cosines_in_the_order_of_the_trials(
    folder: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(verify, "_BLOCK", block)
    assert run(folder, "--scores", str(folder / "out" / "scores")) == 0
    assert (folder / "out" / "scores").read_text() == (
        "a1 a2 0.600000\na1 b1 0.000000\na2 b1 0.800000\nb1 b2 0.707107\n"
    )


def test_kaldi_trials_and_an_ark_give_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder) == 0
    expected = capsys.readouterr().out
    (folder / "trials").write_text("a1 a2 target\na1 b1 nontarget\na2 b1 nontarget\nb1 b2 target\n")
    assert (
        main(["verify", "--trials", str(folder / "trials"), "--embeddings", str(folder / "embeddings.ark")])
        == 0
    )
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        (
            "1 a1 a2\n\n0 a1 c9\n0 d1 c9\n",
            "trials:3: utterance 'c9' has no embedding in {folder}/embeddings.scp"
            " (2 of 4 utterances have none)",
        ),
        ("1 a1 a2\n1 b1 b2\n", "trials: holds 2 target and 0 non-target trials; both are needed"),
        ("0 a1 a2\n", "trials: holds 0 target and 1 non-target trials; both are needed"),
        ("1 a1 a2\n0 a1\n", "trials:2: expected 3 fields, found 2"),
        ("", "trials: holds no trials"),
        ("1 a1 a2\n0 a1 zero\n", "embeddings.scp: the embedding of 'zero' is all zeros and has no direction"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], trials: str, message: str
) -> None:
    with vector_writer(folder) as write:
        for key, vector in {**VECTORS, "zero": [0.0, 0.0]}.items():
            write(key, np.array(vector))
    (folder / "trials").write_text(trials)
    assert run(folder, "--scores", str(folder / "scores")) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("sdpn verify: error: ")
    assert captured.err.count("\n") == 1
    assert message.format(folder=folder) in captured.err
    assert not (folder / "scores").exists()


def test_missing_files_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "embeddings.scp").unlink()
    assert run(folder) == 2
    assert "embeddings.scp: no such scp or ark of embeddings" in capsys.readouterr().err
    (folder / "trials").unlink()
    assert run(folder) == 2
    assert "trials: no such file" in capsys.readouterr().err


def test_real_trials_find_real_speakers(shared_data: Path, tmp_path: Path) -> None:
    # Embeddings that know the speaker (the folder) but for some noise: the EER must be that of two normals
    speakers = {path.stem: path.parent.name for path in (shared_data / "speechocean762/dev").glob("*/*.opus")}
    rng = np.random.default_rng(0)
    centres = {name: rng.normal(size=64) for name in sorted(set(speakers.values()))}
    with vector_writer(tmp_path) as write:
        for key in sorted(speakers):
            write(key, centres[speakers[key]] + 1.2 * rng.normal(size=64))
    out = tmp_path / "verify.json"
    trials = shared_data / "speechocean762" / "dev_trials"
    arguments = ["--trials", str(trials), "--embeddings", str(tmp_path / "embeddings.scp")]
    assert main(["verify", *arguments, "--json", str(out)]) == 0
    results = json.loads(out.read_text())["results"]
    assert (results["num_target"], results["num_nontarget"]) == (2835, 28350)
    assert 0 < results["eer"] < 0.05
    assert results["eer"] < results["min_dcf_005"] < results["min_dcf_001"] < 1


def test_verification_needs_neither_torch_nor_matplotlib(folder: Path) -> None:
    program = (
        "import sys; from sdpn.cli.main import main; "
        f"code = main(['verify', '--trials', {str(folder / 'trials')!r},"
        f" '--embeddings', {str(folder / 'embeddings.scp')!r}]); "
        "sys.exit(code or sorted({'torch', 'torchaudio', 'matplotlib', 'scipy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
