"""Ablations: a grid read strictly, a comparison that runs and goes on, a table by hand."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sdpn.errors import InputError
from tests.conftest import ROOT, TINY


@pytest.fixture(scope="module")
def ablate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ablate", ROOT / "tools/ablate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ablate"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name",
    [
        "ablations.yaml",
        "augmentation_ablations.yaml",
        "prototype_initialisation.yaml",
        "small_ablations.yaml",
    ],
)
def test_the_shipped_grids_name_settings_that_exist(ablate: ModuleType, name: str) -> None:
    from sdpn.config import load_config
    from sdpn.training.config import RunConfig

    grid = ablate.read_grid(ROOT / "egs/mini/conf" / name)
    assert len(grid.variants) == len({variant.name for variant in grid.variants}) >= 5
    configurations = [load_config(RunConfig, None, variant.settings([])) for variant in grid.variants]
    assert len(set(configurations)) == len(configurations)  # no variant is another one's twin


@pytest.mark.parametrize(
    "text", ["steps: [", "- 1", "steps: 3\nvariants: {a: {lr: 1}}", "steps: 3", "step: 3"]
)
def test_a_grid_that_is_none(ablate: ModuleType, tmp_path: Path, text: str) -> None:
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(InputError):
        ablate.read_grid(tmp_path / "grid.yaml")


@pytest.mark.slow
def test_runs_are_made_once_and_tabulated(
    ablate: ModuleType,
    voices: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "grid.yaml").write_text(
        "steps: 4\ncommon: [training.workers=0]\nvariants:\n"
        "  base: {seeds: [0, 1]}\n  no KoLeo: {settings: [sdpn.koleo_weight=0]}\n"
    )
    arguments = ["--data", str(voices), "--valid", str(voices), "--trials", str(voices / "trials")]
    arguments += ["--also", f"copy={voices}"]
    command = ["ablate.py", "--grid", str(tmp_path / "grid.yaml"), "--out", str(tmp_path / "exp"), *arguments]
    monkeypatch.setattr(sys, "argv", [*command, "--tolerance", "1000", "--jobs", "2", *TINY])
    ablate.main()
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.strip().splitlines()[2:]]
    assert [(row[0].strip(), row[2].strip(), row[-1].strip()) for row in rows] == [
        ("base", "4", "2"),
        ("no KoLeo", "4", "1"),
    ]
    finals = [
        json.loads((tmp_path / f"exp/base-s{seed}/ablation.json").read_text())["tags"]["evaluation/eer"] * 100
        for seed in (0, 1)
    ]
    copies = [
        json.loads((tmp_path / f"exp/base-s{seed}/ablation.json").read_text())["tags"]["evaluation/eer/copy"]
        for seed in (0, 1)
    ]
    assert [100 * eer for eer in copies] == pytest.approx(finals, abs=0.01)  # the same recordings
    mean, spread = (finals[0] + finals[1]) / 2, abs(finals[0] - finals[1]) / 2**0.5
    assert rows[0][3].strip() == f"{mean:.2f} ± {spread:.2f}"

    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "exp").rglob("*") if path.is_file()}
    ablate.main()
    assert {path: path.stat().st_mtime_ns for path in times} == times
