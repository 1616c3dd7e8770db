"""What the embeddings of a folder have in common, and which precision they get."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sdpn.errors import InputError
from sdpn.extraction import precision
from sdpn.extraction.precision import choose_precision
from sdpn.extraction.settings import agree_on_settings, read_settings
from sdpn.models.bf16 import computes_bf16
from sdpn.models.embedder import Embedder


def test_the_first_decides_for_all(embedder: Embedder, tmp_path: Path) -> None:
    ours: dict[str, Any] = {"windows": None, "precision": None}
    first = agree_on_settings(tmp_path / "progress", embedder, **ours, choose=lambda: "bf16")
    assert (first.precision, first.embedding_dim) == ("bf16", 12)
    later = agree_on_settings(
        tmp_path / "progress", embedder, **ours, choose=lambda: pytest.fail("not asked again")
    )
    assert later == first == read_settings(tmp_path / "progress")


@pytest.mark.parametrize(
    ("windows", "asked", "words"),
    [("1.5/0.75", None, "other windows .none there, 1.5/0.75 now"), (None, "fp32", "another precision")],
)
def test_other_settings_are_refused(
    embedder: Embedder, tmp_path: Path, windows: str | None, asked: Any, words: str
) -> None:
    agree_on_settings(tmp_path / "progress", embedder, windows=None, precision="bf16", choose=lambda: "fp32")
    with pytest.raises(InputError, match=words):
        agree_on_settings(
            tmp_path / "progress", embedder, windows=windows, precision=asked, choose=lambda: "fp32"
        )


def test_another_speed_is_refused(embedder: Embedder, tmp_path: Path) -> None:
    agree_on_settings(tmp_path, embedder, windows=None, speed=1.1, precision="fp32", choose=lambda: "fp32")
    with pytest.raises(InputError, match=r"another speed .1\.1 there, 1\.0 now"):
        agree_on_settings(tmp_path, embedder, windows=None, precision="fp32", choose=lambda: "fp32")


def test_another_model_is_refused(embedder: Embedder, tmp_path: Path) -> None:
    before = embedder.fingerprint
    agree_on_settings(tmp_path / "progress", embedder, windows=None, precision="fp32", choose=lambda: "fp32")
    with torch.no_grad():
        next(embedder.encoder.parameters()).view(-1)[0] += 1e-3
    assert embedder.fingerprint != before
    with pytest.raises(InputError, match="another model"):
        agree_on_settings(
            tmp_path / "progress", embedder, windows=None, precision=None, choose=lambda: "fp32"
        )


def test_damaged_settings(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"model": 1')
    with pytest.raises(InputError, match="not a valid extraction settings"):
        read_settings(tmp_path)


class _Timed:
    """An embedder whose precisions take, by a clock of its own, and give what a test wants."""

    device_type = "cpu"
    precision = "fp32"

    def __init__(self, bf16_s: float, angle: float = 0.0) -> None:
        self._bf16_s, self._angle = bf16_s, angle
        self.now_s = 0.0

    def embed_batch(self, waves: Sequence[np.ndarray]) -> np.ndarray:
        half = self.precision == "bf16"
        self.now_s += self._bf16_s if half else 0.02
        angle = self._angle if half else 0.0
        return np.array([[np.cos(angle), np.sin(angle)]] * len(waves), dtype=np.float32)


@pytest.mark.parametrize(
    ("has_bf16", "timed", "expected"),
    [
        (True, _Timed(0.005), "bf16"),
        (True, _Timed(0.019), "fp32"),  # not worth it
        (True, _Timed(0.005, angle=0.1), "fp32"),  # fast and wrong: cosine 0.995
        (False, _Timed(0.0), "fp32"),
    ],
)
def test_bf16_is_taken_where_it_is_faster_and_faithful(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool, timed: Any, expected: str
) -> None:
    monkeypatch.setattr(precision, "computes_bf16", lambda _: has_bf16)
    monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=lambda: timed.now_s))
    assert choose_precision(timed) == expected
    assert timed.precision == "fp32"


def test_the_processor_is_asked() -> None:
    flags = Path("/proc/cpuinfo")
    if not flags.is_file() or "flags" not in flags.read_text():
        pytest.skip("no /proc/cpuinfo with flags to compare with")
    words = set(flags.read_text().split())
    assert computes_bf16("cpu") == bool({"avx512_bf16", "amx_bf16"} & words)
