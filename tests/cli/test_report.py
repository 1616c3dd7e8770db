"""``sdpn report`` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdpn.cli.main import main

REFERENCE = """\
SPEAKER meet 1 0.000 4.000 <NA> <NA> A <NA> <NA>
SPEAKER meet 1 5.000 4.000 <NA> <NA> B <NA> <NA>
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """A folder with the document of a real ``sdpn score``: half of B, 2 s of 8 s, is missed."""
    (tmp_path / "ref.rttm").write_text(REFERENCE)
    (tmp_path / "hyp.rttm").write_text(REFERENCE.replace("5.000 4.000", "5.000 2.000"))
    folder = tmp_path / "exp"
    command = ["score", "--ref", str(tmp_path / "ref.rttm"), "--hyp", str(tmp_path / "hyp.rttm")]
    assert main([*command, "--json", str(folder / "results" / "score.trained.json")]) == 0
    return folder


def test_prints_the_table_and_writes_the_page(experiment, capsys) -> None:
    capsys.readouterr()
    assert main(["report", str(experiment)]) == 0
    header, row, *rest = capsys.readouterr().out.splitlines()
    assert header.split()[-1] == "RTF"
    assert row.split() == ["trained", "–", "–", "–", "25.00", "25.00", "0.00", "0.00", "–"]
    assert rest[-1] == f"report: {experiment / 'report.html'}"
    page = (experiment / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "25.00" in page


def test_out_and_json(experiment, tmp_path) -> None:
    page, document = tmp_path / "site" / "index.html", tmp_path / "report.json"
    assert main(["report", str(experiment), "--out", str(page), "--json", str(document)]) == 0
    assert page.is_file()
    assert not (experiment / "report.html").exists()
    results = json.loads(document.read_text())["results"]
    assert results["report"] == str(page)
    assert results["rows"][0]["label"] == "trained"
    assert results["rows"][0]["missed"] == 0.25


def test_a_report_is_not_read_as_a_result_of_itself(experiment) -> None:
    document = experiment / "results" / "report.trained.json"
    for _ in range(2):
        assert main(["report", str(experiment), "--json", str(document)]) == 0


@pytest.mark.parametrize("make", [lambda _: None, lambda folder: folder.mkdir()])
def test_nothing_to_report_is_one_line_and_exit_2(tmp_path, capsys, make) -> None:
    folder = tmp_path / "exp"
    make(folder)
    assert main(["report", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(folder) in error
    assert not (folder / "report.html").exists()


def test_a_malformed_document_is_named(experiment, capsys) -> None:
    path = experiment / "results" / "verify.trained.json"
    path.write_text(
        '{"schema": "sdpn.verify/1", "command": [], "configuration": {}, "results": {"eer": "x"}}'
    )
    assert main(["report", str(experiment)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert "'eer'" in error


def _modules_after(*argv: str) -> set[str]:
    code = (
        "import sys\nfrom sdpn.cli.main import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print('|'.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True, env=os.environ
    )
    return set(done.stdout.splitlines()[-1].split("|"))


def test_help_imports_nothing_heavy() -> None:
    heavy = {"torch", "matplotlib", "numpy", "pyannote.metrics", "tensorboard", "jinja2"}
    assert _modules_after("report", "--help").isdisjoint(heavy)


def test_reporting_needs_no_torch(experiment) -> None:
    from torch.utils.tensorboard.writer import SummaryWriter

    with SummaryWriter(str(experiment / "tensorboard")) as writer:
        writer.add_scalar("loss/ce", 1.0, 0)
    assert _modules_after("report", str(experiment)).isdisjoint({"torch", "tensorflow"})
