"""sdpn verify: numbers, scores, and every wrong input."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sdpn.cli.main import main
from sdpn.io.kaldi import read_vectors, vector_writer
from sdpn.verification.back_end import BackEnd
from sdpn.verification.plda import Plda, write_plda
from sdpn.verification.storage import write_back_end

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
    results = document["results"]
    method = results.pop("eer_interval")
    cost = [math.log2(1 + math.exp(score)) for score in (-0.6, -math.sqrt(0.5), 0.0, 0.8)]
    assert results == {
        "eer": 0.5,
        "min_dcf_001": 1.0,  # the best threshold accepts nobody
        "min_dcf_005": 1.0,
        "num_target": 2,
        "num_nontarget": 2,
        "threshold": pytest.approx(np.sqrt(0.5), abs=1e-6),
        "eer_low": 0.0,  # a quarter of the resamples has the lower non-target twice,
        "eer_high": 1.0,  # and a quarter the higher
        "cllr": pytest.approx(sum(cost) / 4, abs=1e-6),
        # pooled: the lowest is a non-target for certain; of the three others two are targets. With equal
        # weights for the classes each target costs log2(3/2), the non-target log2(3)
        "min_cllr": pytest.approx((math.log2(3 / 2) + math.log2(3) / 2) / 2),
        "scores": "cosine",
    }
    assert capsys.readouterr().out.splitlines() == [
        "trials        2 target, 2 non-target",
        "scores        cosine",
        "EER           50.00 % [0.00, 100.00]  (at cosine 0.707)",
        "minDCF(0.01)  1.0000",
        "minDCF(0.05)  1.0000",
        f"Cllr          {sum(cost) / 4:.4f}  (after optimal calibration 0.6887)",
        "",
        f"[low, high]: {method}.",
        "Cllr treats scores as log-likelihood ratios, which these are not without calibration.",
    ]
    assert method.startswith(
        "the middle 95 % of 1000 bootstrap resamples (seed 0) of the trials, which assumes"
    )


def test_scores_are_cosines_in_the_order_of_the_trials(folder: Path) -> None:
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
        ("1 a1 a2\n1 b1 b2\n", "trials: has 2 target and 0 non-target trials; both are needed"),
        ("0 a1 a2\n", "trials: has 0 target and 1 non-target trials; both are needed"),
        ("1 a1 a2\n0 a1\n", "trials:2: expected 3 fields, found 2"),
        ("", "trials: contains no trials"),
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


@pytest.fixture
def speakers(tmp_path: Path) -> Path:
    """Forty speakers with four utterances each, far from the origin; all trials, a cohort, and a PLDA."""
    rng = np.random.default_rng(0)
    offset = np.array([4.0, -3, 2, 0, 1, 0, 5, 2])
    names = [f"s{speaker}-{at}" for speaker in range(40) for at in range(4)]
    rows = np.repeat(rng.normal(size=(40, 8)), 4, axis=0) + 0.6 * rng.normal(size=(160, 8)) + offset
    with vector_writer(tmp_path) as write:
        for name, row in zip(names, rows, strict=True):
            write(name, row)
    with vector_writer(tmp_path, "cohort") as write:
        for at in range(50):
            write(f"c{at}", rng.normal(size=8) + 0.6 * rng.normal(size=8) + offset)
    pairs = [(a, b) for at, a in enumerate(names) for b in names[at + 1 :]]
    (tmp_path / "trials").write_text(
        "".join(f"{int(a.split('-')[0] == b.split('-')[0])} {a} {b}\n" for a, b in pairs)
    )
    (tmp_path / "utt2spk").write_text("".join(f"{name} {name.split('-')[0]}\n" for name in names))
    (tmp_path / "mean.vec").write_text(f" [ {' '.join(map(str, offset))} ]\n")
    write_plda(tmp_path / "plda", Plda(offset, np.eye(8) / 0.6, np.full(8, 1 / 0.36)))
    return tmp_path


def results_of(folder: Path, *options: str) -> dict[str, Any]:
    assert run(folder, *options, "--json", str(folder / "verify.json")) == 0
    results: dict[str, Any] = json.loads((folder / "verify.json").read_text())["results"]
    return results


def test_back_ends_from_the_worst_to_the_best(speakers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def option(name: str, file: str) -> tuple[str, str]:
        return name, str(speakers / file)

    plain = results_of(speakers)
    centred = results_of(speakers, *option("--mean", "mean.vec"))
    by_cohort = results_of(speakers, *option("--mean", "cohort.scp"))
    normalised = results_of(speakers, *option("--mean", "mean.vec"), *option("--cohort", "cohort.scp"))
    assert centred["eer"] < 0.8 * plain["eer"]  # all point the same way before their mean is taken off
    assert by_cohort["eer"] == pytest.approx(centred["eer"], abs=0.03)
    assert abs(normalised["eer"] - centred["eer"]) < 0.05
    assert normalised["scores"] == "cosine, mean subtracted, AS-norm (top 50 of 50)"
    capsys.readouterr()
    plda = results_of(speakers, *option("--plda", "plda"))
    assert plda["eer"] < centred["eer"]
    assert plda["scores"] == "PLDA log-likelihood ratio"
    # the model that made the data: its ratios are calibrated as they are
    assert plda["cllr"] == pytest.approx(plda["min_cllr"], abs=0.03)
    assert plda["cllr"] < 0.5 < plain["cllr"]
    assert "Cllr treats" not in capsys.readouterr().out
    both = results_of(speakers, *option("--plda", "plda"), *option("--cohort", "cohort.scp"), "--top-n", "20")
    assert both["scores"] == "PLDA log-likelihood ratio, AS-norm (top 20 of 50)"
    assert both["eer"] == pytest.approx(plda["eer"], abs=0.03)


def test_speakers_are_drawn_where_they_are_known(speakers: Path) -> None:
    over_trials = results_of(speakers)
    over_speakers = results_of(speakers, "--utt2spk", str(speakers / "utt2spk"), "--resamples", "400")
    assert over_speakers["eer_interval"] == (
        "the middle 95 % of 400 bootstrap resamples (seed 0) of the 40 speakers"
    )
    assert "--utt2spk resamples speakers" in over_trials["eer_interval"]
    widths = [each["eer_high"] - each["eer_low"] for each in (over_trials, over_speakers)]
    assert widths[1] > 1.3 * widths[0]
    assert over_speakers["eer_low"] < over_speakers["eer"] < over_speakers["eer_high"]
    again = results_of(speakers, "--utt2spk", str(speakers / "utt2spk"), "--resamples", "400")
    assert again == over_speakers
    other = results_of(speakers, "--utt2spk", str(speakers / "utt2spk"), "--resamples", "400", "--seed", "1")
    assert other["eer_low"] != over_speakers["eer_low"]
    assert other["eer"] == over_speakers["eer"]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_det_picture_is_drawn(speakers: Path, suffix: str) -> None:
    results_of(speakers, "--det", str(speakers / "out" / f"det.{suffix}"))
    assert (speakers / "out" / f"det.{suffix}").stat().st_size > 5000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mean", "absent.scp"], "absent.scp: no such scp or ark file"),
        (["--mean", "absent.vec"], "absent.vec: no such file"),
        (
            ["--mean", "trials"],
            "trials: is not a Kaldi vector (no vector starts at byte 0) (the name of a table of vectors",
        ),
        (["--mean", "nan.vec"], "nan.vec: the vector contains NaN or infinite values"),
        (["--mean", "short.vec"], "short.vec: has 2 dimensions, but the embeddings have 8"),
        (
            ["--mean", "first.vec"],
            "the embedding of 's0-0' is all zeros and has no direction (it equals the mean",
        ),
        (["--cohort", "wide.scp"], "wide.scp: the cohort has 9 dimensions, the embeddings have 8"),
        (["--cohort", "nan.scp"], "nan.scp: the vector of 'c0' contains NaN or infinite values"),
        (["--cohort", "one.scp"], "one.scp: the 1 highest scores of "),
        (["--cohort", "cohort.scp", "--top-n", "1"], "cohort.scp: the 1 highest scores of "),
        (["--plda", "absent"], "absent: "),
        (
            ["--plda", "plda", "--embeddings", "wide.scp"],
            "trials:1: utterance 's0-0' has no embedding in wide.scp",
        ),
        (["--plda", "plda9"], "9 dimensions, but the embeddings have 8"),
        (["--utt2spk", "part"], "trials:1: utterance 's0-1' has no speaker in part"),
        (
            ["--utt2spk", "one"],
            "trials:4: a non-target trial of 's0-0', who is 'all' in one, and 's1-0', who is",
        ),
        (["--det", "det.jpg"], "det.jpg: is not a supported image format (use .png, .svg or .pdf)"),
    ],
)
def test_wrong_back_ends_are_one_line_and_code_2(
    speakers: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(speakers)
    Path("short.vec").write_text("[ 1 2 ]\n")
    Path("nan.vec").write_text(f"[ {'nan ' * 8}]\n")
    first = read_vectors(speakers / "embeddings.scp")["s0-0"]
    Path("first.vec").write_text(f"[ {' '.join(map(repr, first.tolist()))} ]\n")
    for name, vectors in {"wide": [np.ones(9)], "nan": [np.full(8, np.nan)], "one": [np.ones(8)]}.items():
        with vector_writer(speakers, name) as write:
            for at, vector in enumerate(vectors):
                write(f"c{at}", vector)
    write_plda("plda9", Plda(np.zeros(9), np.eye(9), np.ones(9)))
    Path("part").write_text("s0-0 s0\n")
    Path("one").write_text("".join(f"{key} all\n" for key in read_vectors(speakers / "embeddings.scp")))
    assert main(["verify", "--trials", "trials", "--embeddings", "embeddings.scp", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("sdpn verify: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_embeddings_that_are_no_numbers_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    with vector_writer(folder) as write:
        for key, vector in {**VECTORS, "b1": [float(value), 0.0]}.items():
            write(key, np.array(vector))
    assert run(folder) == 2
    assert "embeddings.scp: the vector of 'b1' contains NaN or infinite values" in capsys.readouterr().err


def test_missing_files_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "embeddings.scp").unlink()
    assert run(folder) == 2
    assert "embeddings.scp: no such scp or ark file" in capsys.readouterr().err
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
        "sys.exit(code or sorted({'torch', 'torchaudio', 'matplotlib'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_threshold_goes_into_the_model_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = folder / "model"
    model.mkdir()
    config = "format: 1\nencoder:\n  kind: ecapa\ncalibration:\n  ahc_threshold: 0.25\nsource: {steps: 3}\n"
    (model / "config.yaml").write_text(config)
    assert run(folder, "--save-threshold", str(model)) == 0
    stored = yaml.safe_load((model / "config.yaml").read_text())
    assert stored.pop("calibration") == {
        "ahc_threshold": 0.25,
        "verification_threshold": pytest.approx(np.sqrt(0.5), abs=1e-6),
    }
    assert stored == {"format": 1, "encoder": {"kind": "ecapa"}, "source": {"steps": 3}}
    capsys.readouterr()
    for options, words in (
        (["--save-threshold", str(folder / "none")], "is not a model folder"),
        (
            ["--save-threshold", str(model), "--mean", str(folder / "embeddings.scp")],
            "remove --back-end, --mean",
        ),
    ):
        assert run(folder, *options) == 2
        assert words in capsys.readouterr().err


def test_calibration_of_a_back_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The back end is written with a calibration, by which the ratios of the same trials cost less."""
    rng = np.random.default_rng(0)
    dim, cohort_CD = 8, rng.standard_normal((60, 8))
    plda = Plda(np.zeros(dim), np.eye(dim) * 3.0, np.full(dim, 2.0))
    back_end = BackEnd(np.zeros(dim), plda, cohort_CD, 20, np.linspace(-3, 3, 11))
    write_back_end(tmp_path / "be.safetensors", back_end)
    voices = rng.standard_normal((10, dim))
    names = [f"s{speaker}-{number}" for speaker in range(10) for number in range(4)]
    with vector_writer(tmp_path) as write:
        for name in names:
            write(name, voices[int(name[1])] + 0.7 * rng.standard_normal(dim))
    pairs = [(a, b) for index, a in enumerate(names) for b in names[:index]]
    lines = [f"{int(a[1] == b[1])} {a} {b}\n" for a, b in pairs]
    (tmp_path / "trials").write_text("".join(lines))
    (tmp_path / "utt2dur").write_text("".join(f"{name} {2 + int(name[-1])}\n" for name in names))
    words = ["--back-end", str(tmp_path / "be.safetensors"), "--resamples", "10"]
    lengths = ["--utt2dur", str(tmp_path / "utt2dur")]
    out = tmp_path / "calibrated.safetensors"
    assert run(tmp_path, *words, *lengths, "--save-calibration", str(out)) == 0
    words[1] = str(out)
    assert run(tmp_path, *words, *lengths, "--json", str(tmp_path / "verify.json")) == 0
    results = json.loads((tmp_path / "verify.json").read_text())["results"]
    assert results["min_cllr"] < results["calibrated_cllr"] < results["cllr"]
    assert "of the back end's log-likelihood ratios" in capsys.readouterr().out
    (tmp_path / "utt2dur").write_text("s0-0 2\n")
    assert run(tmp_path, *words, *lengths) == 2
    assert "has no length of utterance 's" in capsys.readouterr().err
    assert run(tmp_path, *lengths) == 2
    assert "need --back-end FILE" in capsys.readouterr().err
