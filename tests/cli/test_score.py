"""sdpn score: the table, the conditions under it, the document, and every wrong input."""

from __future__ import annotations

import csv
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


def test_the_tables_are_aligned_and_add_up(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(folders)[0] == 0
    by_recording, by_count, totals, notes = capsys.readouterr().out.split("\n\n")
    # two.rttm: 3 s of each error. NIST's collar forgives 0.25 s of each error and 0.75 or 0.5 s of speech
    # around 0 and 30 (half outside), and 20. JER: A 1 - 17/23, B 1 - 7/13. Each label is 17 or 7 s pure
    assert by_recording.splitlines() == [
        "recording  speech s  missed %  false alarm %  confusion %  DER %  DER % ±0.25 s  JER %  purity %"
        "  coverage %  speakers ref/hyp  off by",
        "one           10.00      0.00           0.00         0.00   0.00           0.00   0.00    100.00"
        "      100.00               1/1       0",
        "two           30.00     10.00          10.00        10.00  30.00          28.45  36.12     80.00"
        "       80.00               2/2       0",
        "total         40.00      7.50           7.50         7.50  22.50          21.43  24.08     85.00"
        "       85.00               3/3    0.00",
    ]
    assert [line.split()[:5] for line in by_count.splitlines()] == [
        ["reference", "speakers", "recordings", "speech", "s"],
        ["1", "speaker", "1", "10.00", "0.00"],
        ["2", "speakers", "1", "30.00", "10.00"],
    ]
    # of two recordings the resamples are: one twice, two twice, or both
    assert [line.split("  ")[-1] for line in totals.splitlines()] == [
        "interval", "[0.00, 30.00]", "[0.00, 28.45]", "[0.00, 36.12]",
    ]  # fmt: skip
    intervals, counts, conditions = notes.splitlines()
    assert intervals == (
        "Intervals: the middle 95 % of 10000 bootstrap resamples (seed 0) of the 2 recordings, which are "
        "few: the intervals are rough."
    )
    assert counts == "Number of speakers: correct in 2 of 2 recordings, off by 0.00 on average."
    assert conditions.startswith(
        "Collar 0 s: reference boundaries are scored; ±0.25 s: 0.25 s on each side of"
        " every reference boundary are not scored (md-eval -c 0.25, pyannote.metrics collar=0.5); "
    )
    assert "overlapped speech is scored; without a UEM, each recording is scored from the first" in conditions


def test_a_given_collar_stands_alone(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, results = score(folders, "--collar", "0.25")
    assert "±" not in capsys.readouterr().out.replace("Collar", "")
    assert "nist" not in results["total"]
    assert results["collar_s"] == 0.25
    _, both = score(folders)
    assert both["collar_s"] == 0
    assert both["total"]["nist"] == {key: results["total"][key] for key in both["total"]["nist"]}
    assert both["intervals"]["nist"] == results["intervals"]["der"]


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
        "nist": {
            "missed_s": pytest.approx(2.75),
            "false_alarm_s": pytest.approx(2.75),
            "confusion_s": pytest.approx(2.75),
            "total_s": pytest.approx(29),
            "der": pytest.approx(8.25 / 29),
        },
        "jer": pytest.approx((6 / 23 + 6 / 13) / 2),
        "purity": pytest.approx(24 / 30),
        "coverage": pytest.approx(24 / 30),
        "num_speakers_reference": 2,
        "num_speakers_hypothesis": 2,
        "speaker_count_error": 0,
        "num_recordings": 1,
        "num_recordings_with_right_count": 1,
    }
    assert [row["recording"] for row in results["by_num_speakers"]] == ["1 speaker", "2 speakers"]
    assert results["with_merged_turns"] == {"reference": [], "hypothesis": []}
    assert results["total"]["der"] == pytest.approx(9 / 40)
    assert results["total"].keys() == results["files"][0].keys()
    assert (results["collar_s"], results["skip_overlap"], results["uem"]) == (0.0, False, None)
    for side in ("reference", "hypothesis"):
        assert results[side] == [str(folders / side[:3] / name) for name in ("one.rttm", "two.rttm")]
    assert results["without_hypothesis"] == []


def test_collar_overlap_and_uem_are_described(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uem = folders / "all.uem"
    uem.write_text("one 1 0 10\ntwo 1 5 30\n")
    _, results = score(folders, "--collar", "0.25", "--skip-overlap", "--uem", str(uem))
    printed = capsys.readouterr().out
    assert "Collar 0.25 s: 0.25 s on each side of every reference boundary are not scored" in printed
    assert "(md-eval -c 0.25, pyannote.metrics collar=0.5); overlapped speech is excluded" in printed
    assert f"only the regions of {uem} are scored" in printed
    assert results["conditions"] in printed
    assert (results["collar_s"], results["skip_overlap"], results["uem"]) == (0.25, True, str(uem))
    # of two.rttm 5 to 30 s less the collar at 20 and at 30; A's false 3 s from 20 on lie on B: confusion
    assert results["files"][1]["total_s"] == pytest.approx(25 - 3 * 0.25)
    assert results["files"][1]["confusion_s"] == pytest.approx(3 - 0.25)
    assert results["files"][1]["missed_s"] == results["files"][1]["false_alarm_s"] == 0


def test_a_missing_hypothesis_is_all_missed_and_reported(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders / "hyp" / "two.rttm").unlink()
    code, results = score(folders)
    assert code == 0
    assert results["files"][1]["der"] == 1
    assert results["total"]["missed_s"] == pytest.approx(30)
    assert results["without_hypothesis"] == ["two"]
    assert "No hypothesis, counted as entirely missed: two." in capsys.readouterr().out


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


def test_an_empty_reference_is_reported(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        (folders / "ref" / f"{name}.rttm").write_text("")
    code, results = score(folders)
    assert code == 0
    assert (results["total"]["der"], results["total"]["jer"], results["total"]["purity"]) == (1, 1, 0)
    assert (
        "The scored reference contains no speech: the DER is 100 % if the hypothesis has any"
        in capsys.readouterr().out
    )


def test_overlapping_turns_of_a_speaker_are_merged_and_reported(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rttm(folders / "ref" / "one.rttm", ("one", 0, 6, "A"), ("one", 4, 6, "A"))
    rttm(folders / "hyp" / "one.rttm", ("one", 0, 10, "x"), ("one", 2, 3, "x"))
    _, results = score(folders)
    assert results["files"][0]["total_s"] == 10
    assert results["files"][0]["der"] == 0
    assert results["with_merged_turns"] == {"reference": ["one"], "hypothesis": ["one"]}
    printed = capsys.readouterr().out
    assert "In the reference turns of the same speaker overlap; such turns were merged: one." in printed
    assert "In the hypothesis turns of the same speaker overlap; such turns were merged: one." in printed


def test_dialects_and_foreign_names_are_scored(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folders / "ref" / "two.rttm").write_text(
        ";; comment\nSPKR-INFO two 1 <NA> <NA> <NA> unknown Zoë <NA> <NA>\n\n"
        "SPEAKER\ttwo\t1\t0\t20\t<NA>\t<NA>\tZoë\t<NA>\n"
        "SPEAKER two 1 20 10 <NA> <NA> 小林 <NA> <NA>\r\n"
        "SPEAKER two 1 25 0 <NA> <NA> Zoë <NA> <NA>\n",
        encoding="utf-8",
    )
    assert score(folders)[1]["files"][1]["der"] == pytest.approx(0.3)
    assert capsys.readouterr().err == ""  # what is logged goes to the log


def test_noscore_regions_are_excluded_and_reported(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two.rttm 19 to 24 s are left out: 25 s of speech, 3 s missed first, 3 s too much at the end."""
    reference = folders / "ref" / "two.rttm"
    reference.write_text(reference.read_text() + "NOSCORE two 1 19 5 <NA> <NA> <NA> <NA>\n")
    code, document = score(folders)
    assert code == 0
    assert document["files"][1]["total_s"] == 25
    assert (document["files"][1]["missed_s"], document["files"][1]["false_alarm_s"]) == (3, 3)
    assert document["files"][1]["confusion_s"] == 0
    assert document["with_unscored_regions"] == ["two"]
    assert "without the NOSCORE and NON-LEX regions of the reference (two)" in capsys.readouterr().out


def test_channels_are_rows(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in ("ref", "hyp"):
        (folders / side / "call.rttm").write_text(
            "SPEAKER call 1 0 8 <NA> <NA> s <NA> <NA>\nSPEAKER call 2 5 9 <NA> <NA> s <NA> <NA>\n"
        )
    _, document = score(folders)
    assert [row["recording"] for row in document["files"]] == [
        "call channel 1",
        "call channel 2",
        "one",
        "two",
    ]
    assert [row["total_s"] for row in document["files"][:2]] == [8, 9]
    assert document["total"]["der"] == pytest.approx(9 / 57)
    uem = folders / "all.uem"
    uem.write_text("call 1 0 4\none 1 0 9\ntwo 1 0 9\n")
    assert score(folders, "--uem", str(uem))[0] == 2
    assert "the UEM has no region for recording 'call channel 2'" in capsys.readouterr().err


def test_zero_length_is_logged(folders: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open(folders / "hyp" / "one.rttm", "a") as stream:
        stream.write("SPEAKER one 1 3 0 <NA> <NA> y <NA> <NA>\nSPEAKER one 1 4 0.0 <NA> <NA> y <NA> <NA>\n")
    _, results = score(folders)
    assert results["files"][0]["num_speakers_hypothesis"] == 1
    (record,) = caplog.records
    assert record.getMessage() == f"{folders}/hyp/one.rttm:2: ignored 2 turns of zero length"


def test_markdown_and_csv_hold_the_same(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, results = score(folders, "--markdown", str(folders / "a.md"), "--csv", str(folders / "out" / "a.csv"))
    text = capsys.readouterr().out
    markdown = (folders / "a.md").read_text()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in markdown.splitlines()
        if line.startswith("|") and ":--" not in line
    ]
    for row in cells:
        assert "".join(row).replace(" ", "") in text.replace(" ", "")
    assert len(cells) == 4 + 3 + 4
    assert text.split("\n\n")[-1].strip() in markdown
    with open(folders / "out" / "a.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["kind"], row["recording"]) for row in rows] == [
        ("recording", "one"),
        ("recording", "two"),
        ("number of speakers", "1 speaker"),
        ("number of speakers", "2 speakers"),
        ("total", "total"),
    ]
    assert float(rows[1]["nist_der"]) == results["files"][1]["nist"]["der"]
    assert float(rows[-1]["jer"]) == results["total"]["jer"]


def test_processes_and_seeds(folders: Path) -> None:
    alone = score(folders)[1]
    assert score(folders, "--jobs", "2")[1] == alone
    assert score(folders, "--seed", "1", "--resamples", "50")[1] != alone
    assert score(folders, "--seed", "0")[1] == alone
    (folders / "hyp" / "one.rttm").unlink()
    (folders / "ref" / "one.rttm").unlink()
    assert score(folders)[1]["intervals"] is None


@pytest.fixture
def better(folders: Path) -> Path:
    """A second system that makes no error."""
    for name in ("one", "two"):
        (folders / "best" / name).parent.mkdir(exist_ok=True)
        (folders / "best" / f"{name}.rttm").write_text((folders / "ref" / f"{name}.rttm").read_text())
    return folders


def compare(folder: Path, first: str, second: str, *options: str) -> tuple[int, dict[str, Any]]:
    out = folder / "compare.json"
    systems = [str(folder / first), str(folder / second)]
    code = main(["score", "--ref", str(folder / "ref"), "--compare", *systems, "--json", str(out), *options])
    return code, json.loads(out.read_text())["results"] if out.exists() else {}


def test_two_systems_are_compared(better: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, results = compare(better, "hyp", "best", "--csv", str(better / "both.csv"))
    assert code == 0
    by_recording, tested, notes = capsys.readouterr().out.split("\n\n")
    assert by_recording.splitlines()[2].split() == [
        "two", "30.00", "0.00", "+30.00", "28.45", "0.00", "+28.45", "36.12", "0.00", "+36.12",
    ]  # fmt: skip
    # two recordings, one of them a tie: every exchange gives a difference as large
    assert tested.splitlines()[1].split() == [
        "DER",
        "%",
        "22.50",
        "0.00",
        "+22.50",
        "[0.00,",
        "30.00]",
        "1.0000",
    ]
    assert f"A: {better}/hyp. B: {better}/best. Where A−B is positive, B has fewer errors." in notes
    assert "(all 2^2 exchanges)" in notes
    # A is where one system is, so that a report shows it
    assert results["total"] == score(better)[1]["total"]
    assert results["compared_with"]["total"]["der"] == 0
    test = results["comparison"]["der"]
    assert (test["difference"], test["p_value"], test["is_exact"]) == (pytest.approx(0.225), 1, True)
    with open(better / "both.csv", newline="") as stream:
        assert [row["system"] for row in csv.DictReader(stream)] == ["A"] * 5 + ["B"] * 5


def test_a_system_may_be_a_list_or_a_file(better: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (better / "best.lst").write_text("best/one.rttm\n\n" + str(better / "best" / "two.rttm") + "\n")
    (better / "all.rttm").write_text(
        "".join((better / "hyp" / f"{name}.rttm").read_text() for name in ("one", "two"))
    )
    expected = compare(better, "hyp", "best")[1]["comparison"]
    found = compare(better, "all.rttm", "best.lst")[1]["comparison"]
    assert {**found, "systems": None} == {**expected, "systems": None}
    capsys.readouterr()
    (better / "none.lst").write_text("\n")
    (better / "bad.lst").write_text("best/one.rttm\nbest/absent.rttm\n")
    rttm(better / "extra.rttm", ("three", 0, 1, "x"))
    for system, message in [
        ("none.lst", "none.lst: lists no RTTM file"),
        ("bad.lst", "bad.lst:2: no such RTTM file: 'best/absent.rttm' (a file without the suffix .rttm is"),
        ("gone", "gone: no such file"),
        ("extra.rttm", "error: B: the hypothesis has recording 'three', which is not in the reference"),
    ]:
        assert compare(better, "hyp", system)[0] == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_one_recording_is_compared_without_a_test(better: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("ref", "hyp", "best"):
        (better / folder / "one.rttm").unlink()
    code, results = compare(better, "hyp", "best", "--collar", "0")
    assert code == 0
    assert results["comparison"]["der"] is None
    assert "nist" not in results["comparison"]
    assert "permutation" not in capsys.readouterr().out


def test_notes_on_two_systems_name_the_right_one(better: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (better / "hyp" / "one.rttm").unlink()
    rttm(better / "best" / "two.rttm", ("two", 0, 20, "A"), ("two", 10, 20, "A"))
    assert compare(better, "hyp", "best")[0] == 0
    printed = capsys.readouterr().out
    assert "No hypothesis of A, counted as entirely missed: one." in printed
    assert "In the hypothesis of B turns of the same speaker overlap; such turns were merged: two." in printed


def test_an_extra_hypothesis_is_refused_unless_asked(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rttm(folders / "hyp" / "three.rttm", ("three", 0, 1, "x"))
    assert score(folders) == (2, {})
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert (
        "recording 'three', which is not in the reference (check that the ids match, or ignore them with "
        "--ignore-extra" in error
    )
    code, results = score(folders, "--ignore-extra")
    assert code == 0
    assert [row["recording"] for row in results["files"]] == ["one", "two"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ref", "absent.rttm", "--hyp", "hyp"], "absent.rttm: no such file"),
        (["--ref", "ref", "--hyp", "empty"], "empty: this folder contains no *.rttm file"),
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


def test_a_comparison_takes_no_hypothesis(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--hyp", "hyp", "--compare", "a", "b"], []):
        with pytest.raises(SystemExit) as caught:
            main(["score", "--ref", str(folders / "ref"), *arguments])
        assert caught.value.code == 2
    assert "--hyp" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "x"])
@pytest.mark.parametrize("option", ["--jobs", "--resamples"])
def test_numbers_start_at_one(
    folders: Path, capsys: pytest.CaptureFixture[str], option: str, number: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        score(folders, option, number)
    assert caught.value.code == 2
    assert f"argument {option}" in capsys.readouterr().err


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
