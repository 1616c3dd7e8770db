"""``sdpn benchmark``: what it prints and writes, and what it refuses in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sdpn.cli.main import main
from sdpn.io.json_text import read_json
from sdpn.pretrained import SHIPPED
from sdpn.report.results import BenchmarkResults, read_result_file
from tests.benchmark.small_corpora import write_corpora


def benchmark(*arguments: object) -> int:
    return main(["benchmark", *map(str, arguments), "--quiet"])


def test_table_and_documents(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two models of one network; the report's reader takes the document."""
    corpora = write_corpora(tmp_path / "corpora")
    plain = tmp_path / "exp" / "plain" / "model"
    shutil.copytree(SHIPPED, plain, ignore=shutil.ignore_patterns("back_end*"))
    results = tmp_path / "results" / "benchmark.small.json"
    results.parent.mkdir()
    models = ("--model", SHIPPED, "--model", plain, "--format", "sdpn", "--format", "sdpn")
    common = ("--data", corpora, "--out", tmp_path / "out", "--parts", "eer,ami", "--quick")
    assert benchmark(*common, *models, "--json", results, "vad.threshold=0.4") == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "out/benchmark.md").read_text() == printed
    header, ruler, *lines = printed.splitlines()
    assert header == f"| figure | corpus | condition | {SHIPPED.name} | plain | less {SHIPPED.name} |"
    assert set(ruler) <= set("|:- ")
    document = read_json(tmp_path / "out/benchmark.json", "benchmark")
    assert document["schema"] == "sdpn.benchmark/1"
    of_command = json.loads(results.read_text())["results"]
    assert document["results"] == of_command
    assert of_command["settings"]["vad"]["threshold"] == 0.4
    assert [model["name"] for model in of_command["models"]] == [SHIPPED.name, "plain"]
    # 7 cells of trials with the cosine and the back end, and four figures of meetings
    assert len(lines) == len(of_command["rows"]) == 7 * 2 + 4
    read = read_result_file(results).results
    assert isinstance(read, BenchmarkResults)
    assert [model.name for model in read.models] == [SHIPPED.name, "plain"]
    first = read.rows[0].values[0]
    assert first is not None and first.value == of_command["rows"][0]["values"][0]["value"]
    assert read.rows[1].figure == "EER %, back end" and read.rows[1].values[1] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "none"), "none: no such folder"),
        (("--data", ".", "--parts", "eer,wer"), "there is no part 'wer'"),
        (("--data", ".", "--parts", ","), "no part was chosen"),
        (("--data", ".", "--format", "sdpn", "--format", "onnx"), "2 --format for 1 models"),
        (("--data", ".", "--model", "none"), "none: no such model folder or file"),
        (("--data", "."), "speechocean762/dev_trials: no such file"),
        (("--data", ".", "merging.start=x"), "'start' is 'x'; expected float"),
        (("--data", ".", "--manifest", "none.jsonl", "--parts", "der"), "speechocean762/dev: no such folder"),
    ],
)
def test_what_is_refused(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert benchmark(*arguments, "--out", "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sdpn benchmark: error: ") and message in line
