"""Embeddings of voices: each from the speaker's own turns, read from the recording once more.

Turns are embedded whole, as back ends are trained on utterances: the mean of the diarizer's windows of 1.5 s
is far from those (docs/people.md).

Shapes: S samples, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sdpn.io.audio import RATE_HZ, Audio, Channel, open_audio
from sdpn.verification.compare import Compares

#: Speech of a voice that is embedded, in seconds: its longest turns.
_MOST_S = 60.0
#: Longer turns are cut into equal pieces of at most this, shorter ones than the second are left out where
#: there is more.
_PIECE_S, _LEAST_S = 10.0, 1.0
#: RMS of every piece: -23 dB relative to full scale, as in diarization.
_LEVEL = 10 ** (-23 / 20)

#: Start and end in seconds.
Span = tuple[float, float]


def embed_voices(
    model: Compares,
    audio: Audio,
    spans_of: Mapping[str, Sequence[Span]],
    *,
    channel: Channel = None,
    keep_truncated: bool = False,
) -> dict[str, np.ndarray]:
    """Embed the voices of a recording, which is read once, in blocks.

    Args:
        model: from `sdpn.load_model`.
        audio: the recording.
        spans_of: where each voice is heard alone, in seconds.
        channel: channel to read.
        keep_truncated: read a truncated file as far as it goes.

    Returns:
        (D,) float32 by voice, not normalised: the mean over the pieces of its longest turns, weighted by
        their seconds. Voices without spans are left out.

    Raises:
        InputError: the recording cannot be read.
    """
    pieces = [
        (start_s, end_s, voice) for voice, spans in spans_of.items() for start_s, end_s in _chosen(spans)
    ]
    pieces.sort()
    if not pieces:
        return {}
    waves = _read(pieces, audio, channel, keep_truncated)
    kept = [(wave_S, piece[2]) for wave_S, piece in zip(waves, pieces, strict=True) if len(wave_S)]
    if not kept:
        return {}
    rows_ND = model.embed([(_levelled(wave_S), RATE_HZ) for wave_S, _ in kept]).astype(np.float64)
    lengths_N = np.array([len(wave_S) for wave_S, _ in kept], dtype=np.float64)
    found = {}
    for voice in spans_of:
        own = [number for number, (_, other) in enumerate(kept) if other == voice]
        if own:
            weights = lengths_N[own] / lengths_N[own].sum()
            found[voice] = (weights @ rows_ND[own]).astype(np.float32)
    return found


def _chosen(spans: Sequence[Span]) -> list[Span]:
    """The longest spans, in pieces."""
    longest = sorted(spans, key=lambda span: (span[0] - span[1], span[0]))
    chosen: list[Span] = []
    total_s = 0.0
    for start_s, end_s in longest:
        if chosen and (total_s >= _MOST_S or end_s - start_s < _LEAST_S):
            break
        end_s = min(end_s, start_s + _MOST_S - total_s)
        total_s += end_s - start_s
        number = max(1, int(np.ceil((end_s - start_s) / _PIECE_S)))
        edges = np.linspace(start_s, end_s, number + 1)
        chosen += [(float(edges[k]), float(edges[k + 1])) for k in range(number)]
    return chosen


def _read(
    pieces: Sequence[tuple[float, float, str]], audio: Audio, channel: Channel, keep_truncated: bool
) -> list[np.ndarray]:
    """The samples of pieces, which are sorted by their start."""
    parts: list[list[np.ndarray]] = [[] for _ in pieces]
    edges = [(round(start_s * RATE_HZ), round(end_s * RATE_HZ)) for start_s, end_s, _ in pieces]
    first, at = 0, 0
    with open_audio(audio, channel=channel, keep_truncated=keep_truncated) as stream:
        for block_S in stream.blocks():
            end = at + len(block_S)
            for number in range(first, len(pieces)):
                start, stop = edges[number]
                if start >= end:
                    break
                if stop > at:
                    parts[number].append(block_S[max(start - at, 0) : stop - at].copy())
                elif number == first:
                    first += 1
            at = end
    empty = np.zeros(0, dtype=np.float32)
    return [np.concatenate(part) if part else empty for part in parts]


def _levelled(wave_S: np.ndarray) -> np.ndarray:
    """Brought to the level; digital silence stays."""
    rms = float(np.sqrt(np.mean(np.square(wave_S, dtype=np.float64))))
    return wave_S if rms == 0 else (wave_S * np.float32(_LEVEL / rms)).astype(np.float32)
