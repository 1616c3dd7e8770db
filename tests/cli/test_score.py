"""sdpn score: the table, the conditions under it, the document, and every wrong input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdpn.cli.main import main


def rttm(path: Path, *rows: tuple[str, float, float, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(
            f"SPEAKER {rec} 1 {on:.3f} {dur:.3f} <NA> <NA> {spk} <NA> <NA>\n" for rec, on, dur, spk in rows
        )
    )
    return path


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """References and hypotheses: a perfect one of 10 s, and one of 30 s with 3 s of each error."""
    rttm(tmp_path / "ref" / "one.rttm", ("one", 0, 10, "A"))
    rttm(tmp_path / "hyp" / "one.rttm", ("one", 0, 10, "x"))
    rttm(tmp_path / "ref" / "two.rttm", ("two", 0, 20, "A"), ("two", 20, 10, "B"))
    rttm(tmp_path / "hyp" / "two.rttm", ("two", 3, 20, "x"), ("two", 23, 10, "y"))
    return tmp_path


def score(folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    out = folder / "score.json"
    out.unlink(missing_ok=True)
    arguments = ["--ref", str(folder / "ref"), "--hyp", str(folder / "hyp"), *options]
    code = main(["score", *arguments, "--json", str(out)])
    return code, json.loads(out.read_text())["results"] if out.exists() else {}


def test_the_table_is_aligned_and_adds_up(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(folders)[0] == 0
    table, conditions = capsys.readouterr().out.split("\n\n")
    assert table.splitlines() == [
        "recording  speech s  missed %  false alarm %  confusion %  DER %  speakers ref/hyp",
        "one           10.00      0.00           0.00         0.00   0.00               1/1",
        "two           30.00     10.00          10.00        10.00  30.00               2/2",
        "total         40.00      7.50           7.50         7.50  22.50               3/3",
    ]
    assert conditions.startswith("Collar 0 s: nothing is forgiven around the reference's boundaries; ")
    assert "overlapped speech is scored; without a UEM each recording is scored from the first" in conditions


def test_the_document_holds_what_the_report_needs(folders: Path) -> None:
    code, results = score(folders)
    assert code == 0
    assert results["files"][1] == {
        "recording": "two",
        "missed_s": pytest.approx(3),
        "false_alarm_s": pytest.approx(3),
        "confusion_s": pytest.approx(3),
        "total_s": pytest.approx(30),
        "der": pytest.approx(0.3),
        "num_speakers_reference": 2,
        "num_speakers_hypothesis": 2,
    }
    assert results["total"]["der"] == pytest.approx(9 / 40)
    assert results["total"].keys() == results["files"][0].keys()
    assert (results["collar_s"], results["skip_overlap"], results["uem"]) == (0.0, False, None)
    for side in ("reference", "hypothesis"):
        assert results[side] == [str(folders / side[:3] / name) for name in ("one.rttm", "two.rttm")]
    assert results["without_hypothesis"] == []


def test_collar_overlap_and_uem_are_said_in_words(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uem = folders / "all.uem"
    uem.write_text("one 1 0 10\ntwo 1 5 30\n")
    _, results = score(folders, "--collar", "0.25", "--skip-overlap", "--uem", str(uem))
    said = capsys.readouterr().out
    assert "Collar 0.25 s: 0.25 s on each side of every reference boundary are not scored" in said
    assert "(md-eval -c 0.25, pyannote.metrics collar=0.5); overlapped speech is left out" in said
    assert f"only the regions of {uem} are scored" in said
    assert results["conditions"] in said
    assert (results["collar_s"], results["skip_overlap"], results["uem"]) == (0.25, True, str(uem))
    # of two.rttm 5 to 30 s less the collar at 20 and at 30; A's false 3 s from 20 on lie on B: confusion
    assert results["files"][1]["total_s"] == pytest.approx(25 - 3 * 0.25)
    assert results["files"][1]["confusion_s"] == pytest.approx(3 - 0.25)
    assert results["files"][1]["missed_s"] == results["files"][1]["false_alarm_s"] == 0


def test_a_missing_hypothesis_is_all_missed_and_said(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders / "hyp" / "two.rttm").unlink()
    code, results = score(folders)
    assert code == 0
    assert results["files"][1]["der"] == 1
    assert results["total"]["missed_s"] == pytest.approx(30)
    assert results["without_hypothesis"] == ["two"]
    assert "No hypothesis, counted as all missed: two." in capsys.readouterr().out


def test_an_empty_hypothesis_is_all_missed_and_silence_is_free(folders: Path) -> None:
    (folders / "hyp" / "two.rttm").write_text("")
    for side in ("ref", "hyp"):
        (folders / side / "quiet.rttm").write_text("")
    code, results = score(folders)
    assert code == 0
    assert [(row["recording"], row["der"]) for row in results["files"]] == [
        ("one", 0),
        ("quiet", 0),
        ("two", 1),
    ]
    assert results["without_hypothesis"] == []


def test_false_alarms_in_silence_are_seconds_not_percent(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rttm(folders / "hyp" / "one.rttm", ("one", 0, 2.5, "x"))
    (folders / "ref" / "one.rttm").write_text("")
    _, results = score(folders)
    assert results["files"][0]["der"] == 1
    assert "one            0.00      0.00         2.50 s         0.00  100.00" in capsys.readouterr().out


def test_an_extra_hypothesis_is_refused_unless_asked(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rttm(folders / "hyp" / "three.rttm", ("three", 0, 1, "x"))
    assert score(folders) == (2, {})
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "recording 'three', which the reference lacks (are the ids spelled alike? --ignore-extra" in error
    code, results = score(folders, "--ignore-extra")
    assert code == 0
    assert [row["recording"] for row in results["files"]] == ["one", "two"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ref", "absent.rttm", "--hyp", "hyp"], "absent.rttm: no such file"),
        (["--ref", "ref", "--hyp", "empty"], "empty: this folder holds no *.rttm file"),
        (["--ref", "bad.rttm", "--hyp", "hyp"], "bad.rttm:2: a SPEAKER record has 9 or 10 fields, found 8"),
        (["--ref", "ref", "ref/one.rttm", "--hyp", "hyp"], "recording 'one' is also in ref/one.rttm"),
        (["--ref", "ref", "--hyp", "hyp", "--uem", "bad.uem"], "bad.uem:1: expected 4 fields, found 3"),
        (["--ref", "ref", "--hyp", "hyp", "--uem", "part.uem"], "the UEM has no region for recording 'two'"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(
    folders: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(folders)
    Path("empty").mkdir()
    Path("bad.rttm").write_text("SPKR-INFO a 1\nSPEAKER a 1 0 1 <NA> <NA> x\n")
    Path("bad.uem").write_text("one 0 10\n")
    Path("part.uem").write_text("one 1 0 10\n")
    assert main(["score", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("sdpn score: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


@pytest.mark.parametrize("collar", ["-0.1", "nan", "inf", "wide"])
def test_an_impossible_collar_is_a_wrong_option(
    folders: Path, capsys: pytest.CaptureFixture[str], collar: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        score(folders, "--collar", collar)
    assert caught.value.code == 2
    assert "argument --collar" in capsys.readouterr().err


def test_scoring_needs_no_torch(folders: Path) -> None:
    program = (
        "import sys; from sdpn.cli.main import main; "
        f"code = main(['score', '--ref', {str(folders / 'ref')!r}, '--hyp', {str(folders / 'hyp')!r}]); "
        "sys.exit(code or sorted({'torch', 'torchaudio', 'tensorboard'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_and_the_functions_agree_on_real_meetings(shared_data: Path, tmp_path: Path) -> None:
    meetings = shared_data / "ami_excerpt"
    out = tmp_path / "score.json"
    arguments = ["--ref", str(meetings / "reference.rttm"), "--hyp", str(meetings / "reference.rttm")]
    assert main(["score", *arguments, "--uem", str(meetings / "reference.uem"), "--json", str(out)]) == 0
    results = json.loads(out.read_text())["results"]
    assert len(results["files"]) == 12
    assert results["total"]["der"] == 0
    assert results["total"]["num_speakers_reference"] == results["total"]["num_speakers_hypothesis"] == 35
