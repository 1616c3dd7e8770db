"""tools/benchmarks/hazards.py: faulty forms are faulty, ours are not, and what the table names is there."""

from __future__ import annotations

import ast
import importlib
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The tool, imported as if run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools/benchmarks"))
        return importlib.import_module("hazards")


def _figures(tool: ModuleType, number: int, **given: Any) -> dict[str, float]:
    row = tool.ROWS[number - 1]
    measured = tool.measure(row, tool.Context(**given))
    assert not measured.text.startswith("Skipped"), measured.text
    return dict(measured.figures)


def test_twenty_rows_name_files_and_tests_that_exist(tool: ModuleType) -> None:
    assert [row.number for row in tool.ROWS] == list(range(1, 21))
    for row in tool.ROWS:
        assert row.files and all((ROOT / file).is_file() for file in row.files)
        for test in row.tests:
            file, name = test.split("::")
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


def test_the_page_has_a_line_for_each_row(tool: ModuleType) -> None:
    page = (ROOT / "docs/hazards.md").read_text(encoding="utf-8")
    for row in tool.ROWS:
        assert f"\n| {row.number} | {row.what} |" in page


def test_2_a_restart_without_sampler_state_repeats_the_epoch(tool: ModuleType) -> None:
    figures = _figures(tool, 2)
    assert figures["seen_again"] == 1 and figures["seen_again_ours"] == 0
    assert figures["numpy_fails"] and not figures["plain_fails"]
    assert figures["continued_at"] == 10


def test_3_a_sum_over_processes_is_a_rate_for_sgd_and_nothing_for_adam(tool: ModuleType) -> None:
    figures = _figures(tool, 3)
    assert 7 < figures["sgd_first"] <= 8
    assert figures["adamw_first"] == pytest.approx(1, abs=0.02)


def test_4_one_stream_gives_one_in_w_augmentations(tool: ModuleType) -> None:
    assert _figures(tool, 4) == {"shared": 32, "ours": 256, "wanted": 256}


def test_6_plain_powers_break_where_they_should(tool: ModuleType) -> None:
    figures = _figures(tool, 6)  # it asserts itself that ours is finite at every gap
    # p ** 4 = exp(-4 gap) is rounded to 0 below half the smallest number, 2^-150: gap > 150 ln 2 / 4 = 25.99
    assert figures["targets_fp32"] == 26
    # all alike: (1/256) ** 4 = 2^-32, below half the smallest number of fp16, 2^-25
    assert figures["targets_fp16"] == 0
    # the gradient of p ** -t needs p ** (-t - 1) with t = 0.99: above 65504 from ln(65504) / 1.99 = 5.57 on
    assert figures["loss_fp16"] == 5.75
    # and above 2^128 from 128 ln 2 / 1.99 = 44.58 on
    assert figures["loss_fp32"] == 44.75


def test_7_a_step_reads_nothing_off_the_device(tool: ModuleType) -> None:  # noqa: ARG001 - imports the rows
    running = sys.modules["hazard_rows.running"]
    assert running.reads_in_a_step("fp32") == running.reads_in_a_step("bf16") == 0
    assert running.reads_in_a_step("fp16") == 1  # GradScaler, whether to skip the step
    with running._Reads() as reads:  # the count is not blind
        torch.ones(3).sum().item()
        float(torch.ones(2).mean())
    assert reads.count == 2


def test_9_a_floor_bounds_loss_and_gradient(tool: ModuleType) -> None:
    figures = _figures(tool, 9)
    assert figures["plain, a pair at 0"] == float("inf")
    assert figures["ours, a pair at 0"] == figures["ours, a pair at 1e-06"] < 1
    assert figures["plain, a pair at 0.01"] == pytest.approx(figures["ours, a pair at 0.01"], rel=1e-4)
    assert figures["plain, all within 1e-6, gradient"] > 1e5 > 1 > figures["ours, all within 1e-6, gradient"]


def test_11_off_by_one(tool: ModuleType) -> None:
    figures = _figures(tool, 11)
    assert figures["crash"] and not figures["crash_ours"]
    assert figures["last"] == 0 and figures["last_ours"] == pytest.approx(1 / 11, abs=0.02)


def test_15_a_key_that_nothing_reads_is_found(tool: ModuleType) -> None:
    assert _figures(tool, 15)["dead"] == 0
    running = sys.modules["hazard_rows.running"]
    assert running.unread(["sdpn.temperature", "sdpn.no_such_setting"]) == ["sdpn.no_such_setting"]


def test_real_speech_where_it_is(tool: ModuleType, shared_data: Any) -> None:
    joined = _figures(tool, 12, data=shared_data)
    assert joined["mixed"] == 3 and joined["elsewhere"] == 0 and joined["difference"] > 0.5
    erased = _figures(tool, 13, data=shared_data)
    assert erased["outlier_32768"] < erased["outlier_1"] < -2


def test_what_is_missing_is_said(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    tool.main(["--only", "8", "12", "--data", "/nowhere", "--markdown"])
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "| # | hazard | in sdpn | measured |"
    assert "Skipped: needs a finished run (`--exp`)" in out[2]
    assert "Skipped: needs the shared corpora" in out[3]
    assert len(out) == 4
