"""tools/card_figures.py: what a benchmark measured goes into a card, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools import card_figures


def value(figure: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    rest = dict.fromkeys(("difference", "difference_low", "difference_high"))
    return {"value": figure, "low": low, "high": high, "seeds": [], **rest}


def row(part: str, corpus: str, condition: str, figure: str, *values: Any) -> dict[str, Any]:
    return {"part": part, "corpus": corpus, "condition": condition, "figure": figure, "values": values}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    rows = [
        row("eer", "so", "clean", "EER %, cosine", value(6.42, 4.9, 7.9), value(1.2)),
        row("eer", "so", "clean", "EER %, back end", value(4.66), None),
        row("eer", "cv", "clean", "EER %, cosine", value(17.3), value(4.2)),
        row("der", "both", "dry", "DER %, collar 0", value(20.0), value(12.0)),
        row("cost", "so", "dry", "CPU s per hour of audio", value(18.1), value(150.0)),
    ]
    path = tmp_path / "benchmark.small.json"
    document = {
        "schema": "sdpn.benchmark/1",
        "command": ["sdpn", "benchmark"],
        "configuration": {},
        "results": {"models": [{"name": "small"}, {"name": "other"}], "rows": rows},
    }
    path.write_text(json.dumps(document))
    return path


CARD = "# A card\n\n<!-- benchmark -->\nold\n<!-- end of benchmark -->\n\nThe rest.\n"


def test_the_card_holds_the_first_models_figures(results: Path, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text(CARD)
    for _ in range(2):  # again makes no difference
        assert card_figures.main([str(results), "--card", str(card)]) == 0
        assert card.read_text() == (
            "# A card\n\n<!-- benchmark -->\n\n"
            "| verification | EER %, cosine | EER %, back end |\n| :-- | --: | --: |\n"
            "| so: clean | 6.42 (4.90 to 7.90) | 4.66 |\n"
            "| cv: clean | 17.30 |  |\n\n"
            "| conversations | DER %, collar 0 |\n| :-- | --: |\n| both: dry | 20.00 |\n\n"
            "Cost: 18.10 CPU seconds per hour of audio, on one thread.\n\n"
            "<!-- end of benchmark -->\n\nThe rest.\n"
        )


@pytest.mark.parametrize("card", ["nothing", CARD.replace("<!-- end of benchmark -->", ""), CARD + CARD])
def test_cards_without_a_place(
    card: str, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "README.md"
    path.write_text(card)
    assert card_figures.main([str(results), "--card", str(path)]) == 2
    assert "does not hold <!-- benchmark -->" in capsys.readouterr().err
    assert path.read_text() == card


def test_other_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "models.small.json"
    path.write_text('{"schema": "sdpn.models/1", "command": [], "configuration": {}, "results": {}}')
    assert card_figures.main([str(path)]) == 2
    assert "is not what 'sdpn benchmark' wrote" in capsys.readouterr().err
