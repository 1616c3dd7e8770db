"""The clusterers by name. A new one needs one file and one line here, and is then covered by the tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from sdpn.clustering.ahc import Ahc
from sdpn.clustering.base import Clusterer
from sdpn.clustering.consensus import VbxConsensus
from sdpn.clustering.hdbscan import Hdbscan
from sdpn.clustering.kmeans import KMeans
from sdpn.clustering.merging import Merging
from sdpn.clustering.nmesc import NmeSc
from sdpn.clustering.spectral import Spectral
from sdpn.clustering.vbx import Vbx
from sdpn.config import from_dict
from sdpn.errors import InputError
from sdpn.verification.plda import Plda

CLUSTERERS: dict[str, type[Clusterer]] = {
    "ahc": Ahc,
    "spectral": Spectral,
    "nmesc": NmeSc,
    "kmeans": KMeans,
    "hdbscan": Hdbscan,
    "vbx": Vbx,
    "consensus": VbxConsensus,
    "merging": Merging,
}


def make_clusterer(
    name: str, settings: Mapping[str, object] | None = None, *, plda: Plda | None = None
) -> Clusterer:
    """Build the clusterer ``name`` with its defaults, changed by ``settings`` (field name -> value).

    Args:
        name: key of `CLUSTERERS`.
        settings: fields that differ from the defaults.
        plda: model of the embeddings, for a clusterer that takes one.

    Raises:
        InputError: no such clusterer or field, a value that the field does not take, or a PLDA for a
            clusterer that does not use one.
    """
    if name not in CLUSTERERS:
        raise InputError(f"unknown clusterer {name!r}", hint=f"expected one of: {', '.join(CLUSTERERS)}")
    if plda is not None and not takes(name, "plda"):
        users = [other for other in CLUSTERERS if takes(other, "plda")]
        raise InputError(f"{name} does not use a PLDA", hint=f"clusterers that do: {', '.join(users)}")
    return from_dict(CLUSTERERS[name], {**(settings or {}), **({} if plda is None else {"plda": plda})})


def takes(name: str, field: str) -> bool:
    """Whether the clusterer ``name`` has a setting ``field``."""
    return any(known.name == field for known in fields(CLUSTERERS[name]))
