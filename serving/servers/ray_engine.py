"""Ray Serve application for engines that Ray's own LLM application cannot place (AWS Neuron).

Each replica starts the engine's OpenAI server as a process of its own and passes requests on to it, streams included.
Ray gives the replica its accelerators, restarts it, scales it and spreads requests over replicas.

Runs inside the Ray image: needs ray[serve] and aiohttp, and imports nothing else of the project.
"""

import asyncio
import contextlib
import socket
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length", "host"}


class Engine:
    """One engine process, and the way to it.

    Args:
        command: The engine's command line, without host and port.
        startup_seconds: How long it may take until it is healthy.

    Raises:
        RuntimeError: The engine ended, or was not healthy in time.
    """

    def __init__(self, command: Sequence[str], startup_seconds: float) -> None:
        self.port = _free_port()
        self.process = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(self.port)])
        try:
            self._wait(time.monotonic() + startup_seconds, startup_seconds)
        except BaseException:
            self.stop()
            raise

    def _wait(self, deadline: float, startup_seconds: float) -> None:
        while not self._healthy():
            code = self.process.poll()
            if code is not None:
                raise RuntimeError(f"the engine ended with exit code {code}; its log stands above")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the engine was not healthy within {startup_seconds:.0f} s")
            time.sleep(1)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def check_health(self) -> None:
        """Tells Ray whether the replica is well: raises if the engine ended or no longer answers."""
        code = self.process.poll()
        if code is not None:
            raise RuntimeError(f"the engine ended with exit code {code}")
        if not self._healthy():
            raise RuntimeError("the engine does not answer /health")

    def stop(self) -> None:
        """Ends the engine: asks first, then kills."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __del__(self) -> None:
        if hasattr(self, "process"):
            self.stop()

    async def __call__(self, request: Any) -> Any:
        """Passes one HTTP request on and streams the answer back."""
        import aiohttp
        from starlette.responses import Response, StreamingResponse

        session = aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None))
        query = f"?{request.url.query}" if request.url.query else ""
        url = f"http://127.0.0.1:{self.port}{request.url.path}{query}"
        headers = _end_to_end(request.headers)
        try:
            answer = await session.request(
                request.method, url, headers=headers, data=await request.body(), allow_redirects=False
            )
        except aiohttp.ClientError as error:
            await session.close()
            return Response(f"the engine does not answer: {error}", status_code=502)
        return StreamingResponse(
            _chunks(session, answer), status_code=answer.status, headers=_end_to_end(answer.headers)
        )


async def _chunks(session: Any, answer: Any) -> AsyncIterator[bytes]:
    """Yields the body as it comes; a client that goes away ends the engine's work on it, too."""
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    finally:
        answer.close()
        with contextlib.suppress(asyncio.CancelledError):
            await session.close()


def _end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def build(args: Mapping[str, Any]) -> Any:
    """Builds the Serve application.

    Args:
        args: ``command`` and ``startup_seconds`` of the engine, and ``deployment``: options of the Serve deployment.
    """
    from ray import serve  # type: ignore[import-not-found]

    deployment = serve.deployment(**args["deployment"])(Engine)
    return deployment.bind(args["command"], args["startup_seconds"])
