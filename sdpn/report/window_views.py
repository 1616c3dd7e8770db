"""Two views of a recording's window embeddings: a map in two dimensions, and who resembles whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: The map takes a second per 400 points, the picture of the similarities grows with their square.
_MOST_POINTS, _MOST_ROWS = 1200, 300

#: Below this number of windows neighbourhoods mean little, and the map is a projection.
_FEWEST_FOR_NEIGHBOURHOODS = 30


@dataclass(frozen=True, kw_only=True)
class WindowMap:
    """Windows in two dimensions; those close to each other sound alike, and distances mean little else.

    Attributes:
        times_N2: (N, 2) start and end of the windows in seconds.
        speakers_N: number of each one's speaker, -1 for none.
        xy_N2: (N, 2) places within -1 to 1.
        is_projection: whether it is the first two principal components, for too few windows; else t-SNE.
    """

    times_N2: np.ndarray
    speakers_N: np.ndarray
    xy_N2: np.ndarray
    is_projection: bool


@dataclass(frozen=True, kw_only=True)
class Similarities:
    """Cosines between windows, ordered by speaker and then by time.

    Attributes:
        times_M2: (M, 2) start and end of the windows in seconds.
        speakers_M: number of each one's speaker, -1 for none.
        cosine_MM: (M, M) uint8, 0 for a cosine of ``low`` and 255 for 1.
        low: the lowest cosine of the picture.
    """

    times_M2: np.ndarray
    speakers_M: np.ndarray
    cosine_MM: np.ndarray
    low: float


def window_map(
    emb_ND: np.ndarray, times_N2: np.ndarray, speakers_N: np.ndarray, *, seed: int = 0
) -> WindowMap:
    """Lay windows out in two dimensions (t-SNE, van der Maaten & Hinton 2008), evenly thinned if many.

    Args:
        emb_ND: (N, D) embeddings.
        times_N2: (N, 2) times in seconds.
        speakers_N: (N,) number of the speaker, -1 for none.
        seed: of the layout.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    chosen = _evenly(len(emb_ND), _MOST_POINTS)
    unit_ND = _unit(emb_ND[chosen])
    is_projection = len(chosen) < _FEWEST_FOR_NEIGHBOURHOODS
    if len(chosen) < 3:
        xy_N2 = np.zeros((len(chosen), 2))
    elif is_projection:
        xy_N2 = PCA(2, random_state=seed).fit_transform(unit_ND)
    else:
        layout = TSNE(2, perplexity=min(30.0, len(chosen) / 4), init="pca", random_state=seed, n_jobs=1)
        xy_N2 = layout.fit_transform(unit_ND)
    xy_N2 = xy_N2 - xy_N2.mean(axis=0) if len(xy_N2) else xy_N2
    reach = float(np.abs(xy_N2).max(initial=0.0)) or 1.0
    return WindowMap(
        times_N2=times_N2[chosen],
        speakers_N=speakers_N[chosen],
        xy_N2=xy_N2 / reach,
        is_projection=is_projection,
    )


def similarities(emb_ND: np.ndarray, times_N2: np.ndarray, speakers_N: np.ndarray) -> Similarities:
    """Compare windows with each other, evenly thinned if many; arguments are those of `window_map`."""
    chosen = _evenly(len(emb_ND), _MOST_ROWS)
    order = chosen[np.lexsort((times_N2[chosen, 0], speakers_N[chosen]))]
    unit_MD = _unit(emb_ND[order])
    cosine_MM = unit_MD @ unit_MD.T
    low = float(min(0.0, cosine_MM.min(initial=0.0)))
    scaled = np.rint(255 * (np.clip(cosine_MM, low, 1.0) - low) / (1.0 - low))
    return Similarities(
        times_M2=times_N2[order],
        speakers_M=speakers_N[order],
        cosine_MM=scaled.astype(np.uint8),
        low=low,
    )


def _evenly(count: int, most: int) -> np.ndarray:
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(np.int64)


def _unit(emb_ND: np.ndarray) -> np.ndarray:
    emb_ND = np.asarray(emb_ND, dtype=np.float64)
    return emb_ND / np.maximum(np.linalg.norm(emb_ND, axis=1, keepdims=True), 1e-12)
