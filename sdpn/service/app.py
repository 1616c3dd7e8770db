"""The HTTP interface of a service."""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from sdpn import __version__
from sdpn.clustering.base import check_counts
from sdpn.errors import InputError
from sdpn.formats.names import as_file_name
from sdpn.formats.registry import TURN_FORMATS
from sdpn.service.access import ServiceToken
from sdpn.service.diarize_job import recording_options
from sdpn.service.folder import RESULT_FILES, ServiceFolder
from sdpn.service.jobs import Job, JobOptions, JobQueue, State, new_id
from sdpn.service.limits import Limits
from sdpn.service.names import recording_id, shown_name
from sdpn.service.processes import Workers
from sdpn.service.streams import Streams
from sdpn.service.uploads import receive_upload

ASSETS = Path(__file__).parent / "assets"

_DESCRIPTION = """\
Find out who spoke when. Send a recording to `POST /jobs`, ask `GET /jobs/{id}` until its state is `done`, and
fetch the results that it lists. A websocket at `/stream` diarizes while a recording goes on.
"""

#: Types of results, which never depend on what was uploaded.
_MEDIA_TYPES = {
    ".rttm": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".srt": "application/x-subrip; charset=utf-8",
    ".vtt": "text/vtt; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".TextGrid": "text/plain; charset=utf-8",
    ".eaf": "application/xml",
    ".html": "text/html; charset=utf-8",
    ".ogg": "audio/ogg",
}

#: Of every answer: nothing of it is guessed, kept, or told to others.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}

#: What the page of the interface may load: what the service itself serves, and its own script.
_DOCS_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline'"
)


_BEARER = HTTPBearer(auto_error=False, description="the token of --token-file or $SDPN_TOKEN")


class Health(BaseModel):
    """Whether the service works.

    Attributes:
        status: ``ok``, or ``starting`` while no process has a model.
        version: of sdpn.
        workers: processes that have a model.
        queued: jobs that wait.
        running: jobs that are being done.
    """

    status: str
    version: str
    workers: int
    queued: int
    running: int


class Progress(BaseModel):
    """How far a job is: ``done_s`` seconds of audio of ``total_s``, which is null before it is known."""

    done_s: float
    total_s: float | None
    share: float | None = Field(description="0 to 1; null before the length is known")


class JobView(BaseModel):
    """A job, as clients see it."""

    id: str
    state: State
    name: str
    bytes: int
    position: int | None = Field(description="its place in the queue, from 1; null unless it is queued")
    progress: Progress
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    summary: dict[str, Any] | None = Field(
        description="duration_s, num_speakers, num_turns and seconds of work; null before it is done"
    )
    results: dict[str, str] = Field(description="paths of the results, by name")


class JobRequest(BaseModel, extra="forbid"):
    """What may be asked of a job, in the address or in a form."""

    name: str | None = Field(None, description="file name of the recording", max_length=1000)
    format: str = Field("rttm,json", description=f"formats of the turns: {', '.join(TURN_FORMATS)}")
    report: bool = Field(False, description="also make a page to look at and listen to")
    num_speakers: int | None = Field(None, ge=1, description="exactly so many speakers")
    min_speakers: int | None = Field(None, ge=1, description="at least so many speakers")
    max_speakers: int | None = Field(None, ge=1, description="at most so many speakers")
    channel: str | None = Field(
        None,
        pattern=r"^(mix|separate|[0-9]{1,3})$",
        description="a number from 0, mix (default), or separate",
    )
    embeddings: bool = Field(False, description="of every speaker, in the JSON document")


@dataclass(frozen=True)
class Service:
    """What the interface stands on.

    Attributes:
        folder: where everything is.
        queue: the jobs.
        workers: do them.
        streams: the live ones.
        limits: the limits.
        token: who may come in.
    """

    folder: ServiceFolder
    queue: JobQueue
    workers: Workers
    streams: Streams
    limits: Limits
    token: ServiceToken


class _Arriving:
    """Number of uploads in progress, which have a place in the queue already."""

    def __init__(self) -> None:
        self._number = 0

    def __enter__(self) -> int:
        self._number += 1
        return self._number

    def __exit__(self, *_: object) -> None:
        self._number -= 1


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary"}},
    }
}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": _BINARY, "multipart/form-data": _FORM},
    }
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"description": "the token is missing or wrong"},
    408: {"description": "the upload stopped half-way"},
    413: {"description": "the upload is too large"},
    415: {"description": "the upload is an archive, or compressed"},
    503: {"description": "too many jobs wait already"},
    507: {"description": "the disk is full"},
}


def make_app(service: Service) -> FastAPI:
    """The application."""
    app = FastAPI(
        title="sdpn",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    folder, queue, limits = service.folder, service.queue, service.limits
    arriving = _Arriving()

    @app.middleware("http")
    async def with_headers(request: Request, follow: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await follow(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    async def authorised(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        if not service.token.admits(None if given is None else given.credentials):
            raise HTTPException(401, "the token is missing or wrong", headers={"WWW-Authenticate": "Bearer"})

    guarded: dict[str, Any] = {"dependencies": [Depends(authorised)]}

    def find(job_id: str) -> Job:
        job = queue.find(job_id)
        if job is None:
            raise HTTPException(404, "there is no such job; results are deleted after some time")
        return job

    def view(job: Job) -> JobView:
        files = folder.found(job.id) if job.state == "done" else {}
        return JobView(
            id=job.id,
            state=job.state,
            name=job.name,
            bytes=job.bytes,
            position=job.position,
            progress=_progress(job),
            created_at=_time(job.created_at),
            started_at=None if job.started_at is None else _time(job.started_at),
            finished_at=None if job.finished_at is None else _time(job.finished_at),
            error=job.error,
            summary=job.summary,
            results={name: f"/jobs/{job.id}/results/{name}" for name in files},
        )

    @app.exception_handler(RequestValidationError)
    async def in_a_line(_: Request, error: RequestValidationError) -> Response:
        return JSONResponse({"detail": _said(error.errors())}, 422)

    @app.get("/health")
    async def health() -> Health:
        """Tell whether the service works; needs no token."""
        counts = await run_in_threadpool(queue.counts)
        ready = service.workers.num_ready
        return Health(
            status="ok" if ready else "starting",
            version=__version__,
            workers=ready,
            queued=counts["queued"],
            running=counts["running"],
        )

    @app.post("/jobs", status_code=202, openapi_extra=_UPLOAD, responses=_REFUSALS, **guarded)
    async def post_job(
        request: Request, response: Response, options: Annotated[JobRequest, Query()]
    ) -> JobView:
        """Queue a recording: the body is the audio file itself, or a form with it as `file`."""
        _job_options(options)  # before anything is read
        job_id = new_id()
        with arriving as ahead:  # counted first: others may arrive while the queue is counted
            waiting = await run_in_threadpool(queue.counts)
            if waiting["queued"] + ahead > limits.waiting:
                raise HTTPException(503, "too many jobs wait already", headers={"Retry-After": "30"})
            size, file_name, of_form = await receive_upload(request, folder.arriving(job_id), limits)
            try:
                options = _with_form(options, of_form)
                job_options = _job_options(options)
                name = shown_name(options.name or file_name)

                def keep() -> Job:
                    folder.arriving(job_id).rename(folder.upload(job_id))
                    return queue.add(job_id, name=name, options=job_options, size=size)

                job = await run_in_threadpool(keep)
            except BaseException:
                await run_in_threadpool(folder.remove_upload, job_id)
                raise
        response.headers["Location"] = f"/jobs/{job_id}"
        return await run_in_threadpool(view, job)

    @app.get("/jobs", **guarded)
    def get_jobs(
        state: Annotated[State | None, Query()] = None,
        most: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> list[JobView]:
        """List the jobs, the latest first."""
        return [view(job) for job in queue.latest(most, state)]

    @app.get("/jobs/{job_id}", **guarded)
    def get_job(job_id: str) -> JobView:
        """Tell how far a job is, and where its results are."""
        return view(find(job_id))

    @app.post("/jobs/{job_id}/cancel", **guarded)
    def cancel_job(job_id: str) -> JobView:
        """Cancel a job, and delete its recording."""
        job = find(job_id)
        if not queue.cancel(job_id):
            raise HTTPException(409, f"the job is {find(job_id).state} already")
        if job.state == "queued":
            folder.remove_upload(job_id)  # a running one is deleted by the process that has it
        return view(find(job_id))

    @app.delete("/jobs/{job_id}", status_code=204, **guarded)
    def delete_job(job_id: str) -> None:
        """Forget a job: cancel it if it is unfinished, and delete its recording and results."""
        find(job_id)
        queue.remove(job_id)
        folder.remove_upload(job_id)
        folder.remove_results(job_id)

    @app.get("/jobs/{job_id}/results/{result}", response_class=FileResponse, **guarded)
    def get_result(job_id: str, result: str) -> FileResponse:
        """Fetch a result by its name: a format of turns, report, or audio."""
        job = find(job_id)
        name = {file: name for name, file in RESULT_FILES.items()}.get(result, result)
        path = folder.found(job_id).get(name) if job.state == "done" else None
        if path is None:
            raise HTTPException(404, "there is no such result of this job")
        shown = path.name if name == "audio" else as_file_name(recording_id(job.name)) + path.suffix
        return FileResponse(
            path,
            media_type=_MEDIA_TYPES[path.suffix],
            filename=shown,
            content_disposition_type="inline" if name == "report" else "attachment",
        )

    @app.websocket("/stream")
    async def stream(websocket: WebSocket) -> None:
        await service.streams.serve(websocket)

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title="sdpn",
            swagger_js_url="docs/swagger-ui.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="data:,",
        )
        page.headers["Content-Security-Policy"] = _DOCS_POLICY
        return page

    @app.get("/docs/{file}", include_in_schema=False)
    def asset(request: Request, file: str) -> Response:
        types = {"swagger-ui.js": "text/javascript", "swagger-ui.css": "text/css"}
        if file not in types:
            raise HTTPException(404, "there is no such file")
        content = (ASSETS / f"{file}.gz").read_bytes()
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        if "gzip" not in request.headers.get("accept-encoding", ""):
            content, headers = gzip.decompress(content), {"Vary": "Accept-Encoding"}
        return Response(content, media_type=types[file], headers=headers)

    return app


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.utc)


def _progress(job: Job) -> Progress:
    share = None
    if job.state == "done":
        share = 1.0
    elif job.total_s:
        share = round(min(1.0, job.done_s / job.total_s), 3)
    return Progress(done_s=round(job.done_s, 1), total_s=job.total_s, share=share)


def _job_options(request: JobRequest) -> JobOptions:
    """The options of a job.

    Raises:
        HTTPException: one is unknown, or they contradict each other.
    """
    try:
        channel = None if request.channel in (None, "mix") else request.channel
        options = JobOptions(
            formats=[name.strip() for name in request.format.split(",")],
            report=request.report,
            num_speakers=request.num_speakers,
            min_speakers=request.min_speakers,
            max_speakers=request.max_speakers,
            channel="separate" if channel == "separate" else None if channel is None else int(channel),
            speaker_embeddings=request.embeddings,
        )
        bounds = (options.min_speakers, options.max_speakers)
        if options.num_speakers is not None and bounds != (None, None):
            raise InputError("num_speakers contradicts min_speakers and max_speakers")
        check_counts(
            num_speakers=options.num_speakers,
            min_speakers=1 if options.min_speakers is None else options.min_speakers,
            max_speakers=options.max_speakers,
        )
        recording_options(options)
    except InputError as error:
        raise HTTPException(422, str(error)) from None
    return options


def _with_form(request: JobRequest, of_form: dict[str, str]) -> JobRequest:
    """The options of a form over those of the address.

    Raises:
        HTTPException: one is unknown or wrong.
    """
    try:
        return JobRequest(**{**request.model_dump(exclude_unset=True), **of_form})
    except ValidationError as error:
        raise HTTPException(422, _said(error.errors())) from None


def _said(problems: Sequence[Any]) -> str:
    """What pydantic finds wrong, in a line."""
    return "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in problems)
