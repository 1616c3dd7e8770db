"""tools/explain_corpora.py: the phones of synthetic speech are where they are said."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sdpn.explain.labels import read_ctm
from sdpn.explain.phones import phone_class
from sdpn.io.kaldi import read_data_dir

ROOT = Path(__file__).resolve().parents[2]


def test_phones_and_words_have_their_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader")
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.syspath_prepend(str(ROOT / "egs" / "mini" / "local"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    import explain_corpora

    explain_corpora.write_phones(tmp_path / "phones", num_voices=2, num_sentences=2)
    utterances = read_data_dir(tmp_path / "phones")
    phones, words = (read_ctm(tmp_path / "phones" / f"{kind}.ctm") for kind in ("phones", "words"))
    assert len(utterances) == 4 and len({utterance.speaker for utterance in utterances}) == 2
    loud, quiet = [], []
    for utterance in utterances:
        wave_S = utterance.read()
        duration_s = len(wave_S) / 16000
        own = phones[utterance.id]
        assert own[0].start_s < 0.05 and own[-1].end_s == pytest.approx(duration_s, abs=0.01)
        for one, following in pairwise(own):
            assert one.end_s == pytest.approx(following.start_s, abs=2e-4)
        for word in words[utterance.id]:
            assert word.token.isalpha() and word.end_s <= duration_s + 0.01
            assert any(abs(phone.start_s - word.start_s) < 0.06 for phone in own)
        for phone in own:
            of_its_kind = (
                loud if phone_class(phone.token) == "vowel" else quiet if phone.token == "_:" else []
            )
            if len(part_S := wave_S[int(phone.start_s * 16000) : int(phone.end_s * 16000)]):
                of_its_kind.append(np.sqrt((part_S**2).mean()))
    assert np.median(loud) > 10 * np.median(quiet)  # vowels sound where they are said to, and pauses do not
