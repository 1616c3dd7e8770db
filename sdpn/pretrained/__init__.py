"""The model included in sdpn, so that recordings can be diarized before anything is trained.

The folder ``small`` beside this file is a model folder like any other, with weights of 16 bits and a model
card, ``README.md``: what it was trained on and how, what it reaches, and where it fails.
"""

from __future__ import annotations

from pathlib import Path

#: The model that is taken where none is named.
SHIPPED = Path(__file__).parent / "small"
