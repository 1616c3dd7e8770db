"""A run goes on only with its own data."""

from __future__ import annotations

import hashlib

from sdpn.data.sampler import Mixture
from sdpn.data.utterance_table import UtteranceTable
from sdpn.training.identity import run_identity
from tests.data.test_utterance_table import UTTERANCES


def test_old_checkpoints_know_their_data() -> None:
    """The digest is that of the text which was hashed in one piece when utterances were a list."""
    table = UtteranceTable(UTTERANCES)
    found = run_identity(
        {"training": {}, "evaluation": {"choose": False}}, table, Mixture((1, 3), (1.0, 1.0)), None, None
    )
    text = "a 0.0 None\nb 0.1 0.3333333333333333\nü 5.0 None\nd 0.0 12.0\n[None, 0, 7, None]\n(1, 3)"
    assert found["data"] == hashlib.sha256(text.encode()).hexdigest()[:16]
