"""Stands in for Ray's job server: the same HTTP interface (Ray 2.60), without a Ray behind it.

A test says what becomes of a job; nothing is run. What only Ray can show is tested with Ray's own
server (jobs/test_job_server.py).
"""

import asyncio
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from aiohttp import WSCloseCode, web

VERSION = {"version": "4", "ray_version": "2.60.0"}
MAX_BYTES = 100 * 1024**2


@dataclass
class Job:
    """A job of the server.

    Attributes:
        output: What it prints, in parts. Each connection that follows it gets one part more than
            the one before, then it is cut off; the one that gets all of them ends the job.
        ending: Its status, and the exit code of its process, when it has ended.
        stops_needed: So many requests to stop it are needed: Ray ignores one that comes early.
        status, exit_code, message, entrypoint, metadata, runtime_env, start_time: As Ray has them.
    """

    id: str | None
    output: tuple[str, ...] = ()
    ending: tuple[str, int | None] = ("SUCCEEDED", 0)
    stops_needed: int = 1
    status: str = "RUNNING"
    exit_code: int | None = None
    message: str = ""
    entrypoint: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    runtime_env: dict[str, Any] = field(default_factory=dict)
    start_time: int = 0
    connections: int = 0

    def end(self) -> None:
        """End the job as it is to end."""
        self.status, self.exit_code = self.ending

    def details(self) -> dict[str, Any]:
        """Return what the server says of it."""
        return {
            "type": "SUBMISSION" if self.id else "DRIVER",
            "submission_id": self.id,
            "status": self.status,
            "entrypoint": self.entrypoint,
            "message": self.message,
            "start_time": self.start_time,
            "metadata": self.metadata,
            "driver_exit_code": self.exit_code,
        }


class JobServer:
    """A job server in a thread of this process.

    Attributes:
        url: Its address.
        jobs: Its jobs, oldest first.
        next_output, next_ending: What the next submitted job prints, and how it ends.
        packages: The folders that were sent, as zip archives, by their names.
        max_bytes: The largest archive that it takes.
        is_lost_once_followed: Whether it answers nobody after the first connection to an output.
        refusal: The HTTP status by which it refuses requests, or None.
        has_open_version: Whether it tells its version all the same.
    """

    def __init__(self) -> None:
        self.url = ""
        self.jobs: list[Job] = []
        self.next_output: tuple[str, ...] = ()
        self.next_ending: tuple[str, int | None] = ("SUCCEEDED", 0)
        self.packages: dict[str, bytes] = {}
        self.max_bytes = MAX_BYTES
        self.is_lost_once_followed = False
        self.refusal: int | None = None
        self.has_open_version = False

    def job(self, job_id: str) -> Job:
        """Return the job with an id."""
        return next(job for job in self.jobs if job.id == job_id)

    def sent_files(self) -> set[str]:
        """Return the names of the files in the only folder that was sent."""
        [content] = self.packages.values()
        with zipfile.ZipFile(BytesIO(content)) as archive:
            return {name for name in archive.namelist() if not name.endswith("/")}

    def application(self) -> web.Application:
        """Return the server's requests and their answers."""
        application = web.Application(middlewares=[self._refuse], client_max_size=MAX_BYTES)
        application.add_routes(
            [
                web.get("/api/version", self._version),
                web.get("/api/jobs/", self._list),
                web.post("/api/jobs/", self._submit),
                web.post("/api/jobs/{id}/stop", self._stop),
                web.get("/api/jobs/{id}/logs", self._logs),
                web.get("/api/jobs/{id}/logs/tail", self._tail),
                web.get("/api/packages/gcs/{name}", self._has_package),
                web.put("/api/packages/gcs/{name}", self._take_package),
            ]
        )
        return application

    @web.middleware
    async def _refuse(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.is_lost_once_followed and any(job.connections for job in self.jobs):
            request.transport.abort()
        is_open = self.has_open_version and request.path == "/api/version"
        if self.refusal is not None and not is_open:
            return web.Response(status=self.refusal, text="refused by the stand-in")
        return await handler(request)

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response(VERSION)

    async def _list(self, request: web.Request) -> web.Response:
        # Ray lists them in no particular order.
        return web.json_response([job.details() for job in reversed(self.jobs)])

    async def _submit(self, request: web.Request) -> web.Response:
        sent = await request.json()
        job = Job(
            sent["submission_id"], self.next_output, self.next_ending,
            entrypoint=sent["entrypoint"], metadata=sent["metadata"],
            runtime_env=sent["runtime_env"], start_time=1000 * (1 + len(self.jobs)),
        )  # fmt: skip
        self.jobs.append(job)
        return web.json_response({"job_id": job.id, "submission_id": job.id})

    async def _stop(self, request: web.Request) -> web.Response:
        job = self.job(request.match_info["id"])
        job.stops_needed -= 1
        if job.stops_needed <= 0:
            job.end()
        return web.json_response({"stopped": job.stops_needed <= 0})

    async def _logs(self, request: web.Request) -> web.Response:
        return web.json_response({"logs": "".join(self.job(request.match_info["id"]).output)})

    async def _tail(self, request: web.Request) -> web.StreamResponse:
        job = self.job(request.match_info["id"])
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        job.connections += 1
        for part in job.output[: job.connections]:
            await socket.send_str(part)
        if job.connections < len(job.output):
            await socket.close(code=WSCloseCode.ABNORMAL_CLOSURE)
        else:
            job.end()
        return socket

    async def _has_package(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["name"] in self.packages else 404)

    async def _take_package(self, request: web.Request) -> web.Response:
        content = await request.read()
        if len(content) > self.max_bytes:
            return web.Response(status=413)
        self.packages[request.match_info["name"]] = content
        return web.Response()


@contextmanager
def running_job_server() -> Iterator[JobServer]:
    """Run a server on a free port of loopback."""
    server = JobServer()
    is_up = threading.Event()
    loop = asyncio.new_event_loop()
    is_over = asyncio.Event()

    async def serve() -> None:
        runner = web.AppRunner(server.application(), shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        is_up.set()
        await is_over.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert is_up.wait(60), "the stand-in for a job server does not start"
        yield server
    finally:
        loop.call_soon_threadsafe(is_over.set)
        thread.join()
        loop.close()
