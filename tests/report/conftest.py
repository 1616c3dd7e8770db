"""Experiment folders made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def write_result(tmp_path: Path) -> Callable[..., Path]:
    """Write ``tmp_path/results/<command>.<label>.json``; keywords replace fields of the document."""

    def write(command: str, label: str, results: Any, /, **changes: Any) -> Path:
        document = {
            "schema": f"sdpn.{command}/1",
            "command": ["sdpn", command, "--made", "by hand"],
            "configuration": {},
            "results": results,
        } | changes
        path = tmp_path / "results" / f"{command}.{label}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document))
        return path

    return write


@pytest.fixture
def verification() -> dict[str, Any]:
    """Results of ``sdpn verify``."""
    return {
        "eer": 0.0793, "min_dcf_001": 0.612, "min_dcf_005": 0.431,
        "num_target": 2835, "num_nontarget": 28350, "threshold": 0.41,
    }  # fmt: skip


@pytest.fixture
def score(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Results of ``sdpn score`` for two recordings of 10 s, and the RTTM files they name.

    In ``meet`` speaker A talks in 0–4 s and B in 5–9 s; the hypothesis has ``x`` in 0–3 s, ``y`` in 5–9 s
    and ``z`` in 9–10 s: 1 s missed, 1 s of false alarm. In ``solo`` nothing is wrong.
    """

    def make(meet: str = "meet", speaker: str = "A", **changes: Any) -> dict[str, Any]:
        def turns(*lines: str) -> str:
            return "".join(
                f"SPEAKER {recording} 1 {onset} {duration} <NA> <NA> {name} <NA> <NA>\n"
                for recording, onset, duration, name in (line.split() for line in lines)
            )

        (tmp_path / "ref.rttm").write_text(turns(f"{meet} 0 4 {speaker}", f"{meet} 5 4 B", "solo 1 2 A"))
        (tmp_path / "hyp.rttm").write_text(
            turns(f"{meet} 0 3 x", f"{meet} 5 4 y", f"{meet} 9 1 z", "solo 1 2 one")
        )
        speakers = {"num_speakers_reference": 2, "num_speakers_hypothesis": 3}
        parts = {"missed_s": 1.0, "false_alarm_s": 1.0, "confusion_s": 0.0}
        none = dict.fromkeys(parts, 0.0)
        return {
            "files": [
                {"recording": meet, **parts, "total_s": 8.0, "der": 0.25, **speakers},
                {"recording": "solo", **none, "total_s": 2.0, "der": 0.0, **dict.fromkeys(speakers, 1)},
            ],
            "total": {"recording": "total", **parts, "total_s": 10.0, "der": 0.2, **speakers},
            "collar_s": 0.0,
            "skip_overlap": False,
            "uem": None,
            "reference": [str(tmp_path / "ref.rttm")],
            "hypothesis": [str(tmp_path / "hyp.rttm")],
        } | changes

    return make


@pytest.fixture
def diarization() -> dict[str, Any]:
    """Results of ``sdpn diarize``."""
    return {"files": [{}], "total": {"duration_s": 100.0, "seconds": 3.14, "real_time_factor": 0.0314}}
