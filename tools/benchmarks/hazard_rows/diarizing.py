"""What diarization promises its users: hazards 19 and 20."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from hazard_rows.row import Context, Measured
from sdpn.clustering.registry import CLUSTERERS, make_clusterer
from sdpn.io.rttm import Turn, read_rttms, write_rttms


def number_of_speakers(_context: Context) -> Measured:
    """Hazard 19: the user's number ignored for few windows, or undone by merging."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((3, 64))
    rows_ND = (centres[np.repeat(np.arange(3), 10)] + 0.3 * rng.standard_normal((30, 64))).astype(np.float32)
    asked = (1, 2, 3, 4, 5)
    times_N2 = np.stack([np.arange(30) * 0.75, np.arange(30) * 0.75 + 1.5], axis=1)
    obeyed = [
        len(
            np.unique(
                make_clusterer(name, {}).fit_predict(rows_ND, times_N2=times_N2, num_speakers=number).labels_N
            )
        )
        == number
        for name in CLUSTERERS
        for number in asked
    ]
    return Measured(
        f"30 windows of 3 speakers, {len(CLUSTERERS)} clusterers, asked for 1 to 5 speakers: that number is "
        f"returned in **{sum(obeyed)} of {len(obeyed)}** cases.",
        {"obeyed": sum(obeyed), "cases": len(obeyed)},
    )


def empty_recording(_context: Context) -> Measured:
    """Hazard 20: a recording without speech; the channel field."""
    with tempfile.TemporaryDirectory() as folder:
        empty, one = Path(folder) / "empty.rttm", Path(folder) / "one.rttm"
        write_rttms(empty, [])
        write_rttms(one, [Turn("meeting", 0.5, 1.0, "A")])
        channel = int(one.read_text().split()[2])
        turns = sum(map(len, read_rttms([empty]).values()))
    return Measured(
        f"Nothing to time. An RTTM without turns reads back as {turns} turns; the channel is {channel}.",
        {"channel": channel, "turns": turns},
    )
