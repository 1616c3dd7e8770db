"""The small corpora as a fixture."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmark.small_corpora import write_corpora


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small corpora, which no test changes."""
    return write_corpora(tmp_path_factory.mktemp("corpora"))
