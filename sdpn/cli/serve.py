"""``sdpn serve``: diarization over HTTP and a websocket."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdpn.cli.clusterer_arguments import add_diarization_clusterer
from sdpn.cli.diarization_arguments import diarization_config, diarization_settings
from sdpn.cli.model_arguments import add_device_argument, add_model_arguments
from sdpn.cli.numbers import at_least
from sdpn.cli.segmentation_arguments import add_network_arguments
from sdpn.errors import InputError
from sdpn.io.atomic import OutputKind

if TYPE_CHECKING:
    from sdpn.cli.settings import Sections

DESCRIPTION = """\
Diarize over HTTP: recordings are uploaded, wait in a queue on disk, and give the same results as
'sdpn diarize' (docs/serve.md). The interface is described at /docs, for a browser, and works offline. At
/stream, a websocket takes live audio.

The service listens on this machine only, unless another --host and a token are given. Its queue survives the
end of the service, however it comes: the next one with the same --out continues. Recordings are deleted when
their job is finished, results after --keep-hours.
"""

EXAMPLE = """\
  sdpn serve --out service/
  curl -T meeting.wav 'http://127.0.0.1:8000/jobs?name=meeting.wav&format=rttm,srt' -X POST
  sdpn serve --out service/ --host 0.0.0.0 --token-file token --max-minutes 60"""

OUTPUTS: dict[str, OutputKind] = {"out": "folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the queue, uploads and results"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="HOST", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=_port, default=8000, metavar="PORT", help="0 chooses a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="file with the token that clients have to send (default: $SDPN_TOKEN; without either, none)",
    )
    parser.add_argument(
        "--jobs", type=at_least(1), default=1, metavar="N", help="number of processes (default: %(default)s)"
    )
    add_model_arguments(parser)
    add_device_argument(parser)
    add_network_arguments(parser.add_argument_group("overlap"))
    add_diarization_clusterer(parser)
    limits = parser.add_argument_group("limits")
    for option, default, what in (
        ("--max-mb", 1000.0, "size of an upload"),
        ("--max-minutes", 240.0, "length of a recording or a stream, as the decoder finds it"),
        ("--keep-hours", 24.0, "time after which results are deleted"),
        ("--idle-seconds", 60.0, "time after which a client that sends nothing is cut off"),
    ):
        limits.add_argument(
            option, type=float, default=default, metavar="X", help=f"{what} (default: %(default)g)"
        )
    limits.add_argument(
        "--max-waiting",
        type=at_least(1),
        default=200,
        metavar="N",
        help="waiting jobs (default: %(default)s)",
    )
    limits.add_argument(
        "--max-streams",
        type=at_least(0),
        default=4,
        metavar="N",
        help="streams at the same time (default: %(default)s)",
    )


def settings() -> Sections:
    """The settings of the pipeline, and of each clusterer."""
    return diarization_settings()


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Serve until a signal comes.

    Raises:
        InputError: an option is wrong, the address is taken, or the model cannot be loaded.
    """
    from sdpn.service.access import read_token
    from sdpn.service.limits import Limits
    from sdpn.service.model import ServiceModel
    from sdpn.service.serve import serve

    limits = Limits(
        upload_bytes=round(1e6 * _above_zero(args.max_mb, "--max-mb")),
        recording_s=60 * _above_zero(args.max_minutes, "--max-minutes"),
        keep_s=3600 * _above_zero(args.keep_hours, "--keep-hours"),
        idle_s=_above_zero(args.idle_seconds, "--idle-seconds"),
        waiting=args.max_waiting,
        streams=args.max_streams,
    )
    token = read_token(args.token_file, os.environ)
    args.num_speakers = None  # given with each job
    model = ServiceModel(
        model=args.model,
        format=args.format,
        device=args.device,
        segmentation=args.segmentation,
        config=diarization_config(args),
    )
    started = time.time()
    serve(
        args.out,
        model,
        limits,
        host=args.host,
        port=args.port,
        token=token,
        jobs=args.jobs,
        on_ready=lambda url: print(f"serving at {url} (interface: {url}/docs)", flush=True),
    )
    return {"seconds": time.time() - started}


def _above_zero(value: float, option: str) -> float:
    if not 0 < value < float("inf"):
        raise InputError(f"{option} is {value:g}", hint="expected a number above 0")
    return value


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, found {text!r}")
    return int(text)
