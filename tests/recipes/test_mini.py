"""egs/mini/run.sh from end to end, on a tiny synthetic corpus: every stage is the real one."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from sdpn.io.kaldi import read_vectors
from sdpn.io.rttm import read_rttm
from tests.conftest import TINY
from tests.recipes.running import run_recipe, stages

STEPS = 4
SYNTHESIS = (
    "--train_speakers 3 --utterances 3 --dev_speakers 3 --dev_utterances 3 --meetings 2 --meeting_s 15"
)
STAGES = [str(number) for number in range(7)]


def recipe(*args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run it."""
    return run_recipe("run.sh", *args, timeout_s=400, code=code)


class Run:
    """The recipe on one experiment folder, with the same options every time."""

    def __init__(self, exp: Path) -> None:
        self.exp = exp
        self.options = ["--exp", str(exp), "--synthesis", SYNTHESIS, "--nj", "2"]
        for setting in [*TINY, f"training.steps={STEPS}", "training.workers=0"]:
            self.options += ["--set", setting]
        self.first = self("--seed", "3")

    def __call__(self, *args: str) -> subprocess.CompletedProcess[str]:
        return recipe(*self.options, *args)


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("recipe with a space") / "exp")


def result(mini: Run, name: str) -> dict:
    document = json.loads((mini.exp / "results" / f"{name}.json").read_text())
    assert document["schema"] == f"sdpn.{name.partition('.')[0]}/1"
    found: dict = document["results"]
    return found


def test_every_stage_ran(mini: Run) -> None:
    assert stages(mini.first, "done") == STAGES


def test_training_left_two_models_and_curves(mini: Run) -> None:
    for system in ("sdpn", "untrained"):
        assert (mini.exp / system / "model" / "model.safetensors").is_file()
        assert (mini.exp / system / "model" / "config.yaml").is_file()
    trained, untrained = (
        (mini.exp / system / "model" / "model.safetensors").read_bytes() for system in ("sdpn", "untrained")
    )
    assert trained != untrained
    assert (mini.exp / "sdpn" / "checkpoints" / f"step-{STEPS:08d}" / "state.pt").is_file()
    assert list((mini.exp / "sdpn" / "tensorboard").glob("events.*"))


def test_every_dev_utterance_has_an_embedding(mini: Run) -> None:
    for label in ("trained", "untrained"):
        vectors = read_vectors(mini.exp / "embeddings" / label / "embeddings.scp")
        assert len(vectors) == 3 * 3
        assert {len(vector) for vector in vectors.values()} == {12}  # encoder.embedding_dim


def test_verification_counts_all_trials(mini: Run) -> None:
    for label in ("trained", "untrained"):
        found = result(mini, f"verify.{label}")
        # 9 utterances of 3 speakers: 36 pairs, 3 in each of 3 speakers are targets
        assert (found["num_target"], found["num_nontarget"]) == (9, 27)
        assert 0 <= found["eer"] <= 1


def test_every_meeting_has_an_rttm(mini: Run) -> None:
    for label in ("trained", "untrained", "one-speaker"):
        for name in ("meeting00", "meeting01"):
            turns = read_rttm(mini.exp / "rttm" / label / f"{name}.rttm")[name]
            assert turns
            if label == "one-speaker":
                assert len({turn.speaker for turn in turns}) == 1


def test_der_is_the_sum_of_its_parts(mini: Run) -> None:
    reference_s = sum(
        turn.duration_s
        for turns in read_rttm(mini.exp / "data" / "meetings" / "reference.rttm").values()
        for turn in turns
    )
    for label in ("trained", "untrained", "one-speaker"):
        total = result(mini, f"score.{label}")["total"]
        assert total["total_s"] == pytest.approx(reference_s, abs=0.01)
        parts = total["missed_s"] + total["false_alarm_s"] + total["confusion_s"]
        assert total["der"] == pytest.approx(parts / total["total_s"])
        assert total["missed_s"] / total["total_s"] < 0.3  # the voices are speech to the voice detector


def test_run_ends_with_the_table_and_where_things_are(mini: Run) -> None:
    ending = mini.first.stdout[mini.first.stdout.index("stage 6: done") :]
    for word in ("EER %", "DER %", "missed %", "false alarm %", "confusion %", "RTF"):
        assert word in ending
    rows = re.findall(r"^(trained|untrained|one-speaker) ", ending, flags=re.MULTILINE)
    assert rows == ["trained", "untrained", "one-speaker"]
    assert f"{mini.exp}/rttm/trained" in ending
    assert f"{mini.exp}/report.html" in ending
    assert f"{mini.exp}/sdpn/tensorboard" in ending
    page = (mini.exp / "report.html").read_text(encoding="utf-8")
    assert "meeting00" in page


@pytest.mark.slow
def test_then_nothing_runs_until_something_changes(mini: Run) -> None:
    """One test, since each step starts from the state that the one before has left."""
    again = mini("--seed", "3")
    assert stages(again, "up to date") == STAGES
    assert stages(again, "done") == []
    assert "confusion %" in again.stdout  # it still ends with the table

    collar = mini("--seed", "3", "--collar", "0.25")
    assert stages(collar, "done") == ["5", "6"]
    assert "(changed: collar" in collar.stdout
    assert result(mini, "score.trained")["collar_s"] == 0.25

    (mini.exp / "results" / "verify.trained.json").unlink()
    repaired = mini("--seed", "3", "--collar", "0.25", "--stop_stage", "4")
    assert stages(repaired, "done") == ["3"]
    assert result(mini, "verify.trained")["num_target"] == 9


def test_own_corpus_without_dev_and_meetings_trains_only(mini: Run, tmp_path: Path) -> None:
    options = ["--corpus", str(mini.exp / "synthetic" / "train"), "--exp", str(tmp_path), "--stop_stage", "0"]
    done = recipe(*options)
    assert stages(done, "done") == ["0"]
    assert "stages 2 and 3: left out" in done.stdout
    assert "stages 4 and 5: left out" in done.stdout
    assert not (tmp_path / "data" / "dev").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--corpus", "/no/such"], "no such folder: /no/such"),
        (["--dev", "."], "needs a --corpus"),
        (["--corpus", ".", "--dev", "."], "--dev needs --trials"),
        (["--corpus", ".", "--trials", __file__], "--trials needs --dev"),
        (["--config", "/no/such.yaml"], "no such file: /no/such.yaml"),
        (["--stage", "x"], "--stage needs a whole number"),
        (["meetings/"], "unexpected argument 'meetings/'"),
    ],
)
def test_bad_options_are_one_clear_line(args: list[str], message: str) -> None:
    done = recipe(*args, code=2)
    assert done.stderr.startswith("run.sh: error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_names_every_option_and_default() -> None:
    text = recipe("--help").stdout
    options = (
        "corpus dev trials meetings noise rir stage stop_stage force exp config set seed collar synthesis nj"
    )
    for option in options.split():
        assert re.search(rf"^ +--{option} ", text, flags=re.MULTILINE), option
    assert "last stage (default 6)" in text
