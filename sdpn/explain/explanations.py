"""Explanations as files: one page that opens offline, maps as arrays, pictures for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sdpn.explain.methods import RelevanceMap
from sdpn.explain.page import ExplainPage, pictures_of
from sdpn.explain.pictures import as_pixels
from sdpn.io.atomic import atomic_path, atomic_write_text
from sdpn.tracking.board import Board

#: Files in the folder: the page, and the maps.
PAGE, MAPS = "index.html", "maps.npz"


def write_explanation(
    out: Path,
    page: ExplainPage,
    *,
    further: Mapping[str, ExplainPage] | None = None,
    maps: Mapping[str, RelevanceMap] | None = None,
    tensorboard: Path | None = None,
) -> Path:
    """Write a page, with further ones beside it, and what else is wanted.

    Args:
        out: the folder.
        page: its first page.
        further: further pages by file name.
        maps: maps by name, written as arrays ``<name>`` (F, T), with ``<name>.hop_s``.
        tensorboard: also write the pictures of all pages to this TensorBoard folder.

    Returns:
        the path of the first page.

    Raises:
        InputError: a file cannot be written.
    """
    pages = {**(further or {}), PAGE: page}  # the first page last: it links to the others
    if maps:
        arrays = {name: one.values_FT for name, one in maps.items()}
        hops = {f"{name}.hop_s": np.float64(one.hop_s) for name, one in maps.items()}
        with atomic_path(out / MAPS) as temporary:
            np.savez_compressed(temporary, **arrays, **hops)  # type: ignore[arg-type]
    for name, one in pages.items():
        atomic_write_text(out / name, one.html())
    if tensorboard is not None:
        board = Board(tensorboard, start_step=0)
        try:
            for one in pages.values():
                for tag, png in pictures_of(one).items():
                    board.picture(0, f"explain/{tag}", as_pixels(png))
        finally:
            board.close()
    return out / PAGE
