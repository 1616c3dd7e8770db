"""The clusterers by name. A new one is one file, one line here, and is tested the moment it stands here."""

from __future__ import annotations

from collections.abc import Mapping

from sdpn.clustering.agglomerative import Agglomerative
from sdpn.clustering.contract import Clusterer
from sdpn.clustering.spectral import Spectral
from sdpn.config import from_dict
from sdpn.errors import InputError

CLUSTERERS: dict[str, type[Clusterer]] = {
    "ahc": Agglomerative,
    "spectral": Spectral,
}


def make_clusterer(name: str, settings: Mapping[str, object] | None = None) -> Clusterer:
    """Build the clusterer ``name`` with its defaults, changed by ``settings`` (field name -> value).

    Raises:
        InputError: no such clusterer or field, or a value that the field does not take.
    """
    if name not in CLUSTERERS:
        raise InputError(f"there is no clusterer {name!r}", hint=f"expected one of: {', '.join(CLUSTERERS)}")
    return from_dict(CLUSTERERS[name], dict(settings or {}))
