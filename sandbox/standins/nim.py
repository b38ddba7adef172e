"""A NIM's commands: its server needs a key, fetches its own profile of a model into its cache, and answers.

`download-to-cache` fetches the profile and ends, as the NIM operator's Job asks it to.

There is no NGC here: the profile is generated into the cache, where the next start finds it.
"""

import base64
import json
import os
import sys
from pathlib import Path

from sandbox.engine import log
from sandbox.engine.api import EngineHandler, EngineServer
from sandbox.engine.arguments import parse
from sandbox.engine.faults import read_faults
from sandbox.engine.running import listen, until_ended
from sandbox.engine.serve import load_model
from sandbox.engine.sources import DirectorySource
from sandbox.standins.pictures import paint, png

PICTURES, DOWNLOAD = "--pictures", "download-to-cache"
READY, LIVE = "/v1/health/ready", "/v1/health/live"
_SIZE = 300_000


class NimHandler(EngineHandler):
    """A NIM's routes: health and metrics its own, the rest vLLM's."""

    def route(self, path: str, body: bytes) -> None:
        """Answer a request."""
        if path in (READY, LIVE):
            return self.json(200, {"object": "health-response", "message": "Service is ready."})
        if path == "/v1/metrics":
            return self.text(200, "num_requests_running 0\nnum_requests_waiting 0\ngpu_cache_usage_perc 0\n")
        if path in ("/health", "/ping", "/version", "/metrics"):
            return self.json(404, {"detail": "Not Found"})
        return super().route(path, body)


class PictureHandler(NimHandler):
    """Routes of a NIM for pictures: health, and a single other."""

    def route(self, path: str, body: bytes) -> None:
        """Answer a request."""
        if path in (READY, LIVE):
            return super().route(path, body)
        return self._picture(body) if path == "/v1/infer" else self.json(404, {"detail": "Not Found"})

    def _picture(self, body: bytes) -> None:
        try:
            asked = json.loads(body)
            prompt = str(asked["prompt"])
        except (ValueError, LookupError, TypeError):
            return self.json(422, {"detail": "prompt: Field required"})
        seed = int(asked.get("seed") or 0)
        width, height = int(asked.get("width") or 1024), int(asked.get("height") or 1024)
        pixels = paint(prompt, width=width, height=height, seed=seed)
        artifact = {"base64": base64.b64encode(png(pixels)).decode(), "finishReason": "SUCCESS", "seed": seed}
        return self.json(200, {"artifacts": [artifact]})


def main(argv: list[str]) -> int:
    """Serve until SIGTERM or SIGINT, or only fetch the model.

    Returns:
        0 after a drain or a download, 1 without a key.
    """
    environ = dict(os.environ)
    if not environ.get("NGC_API_KEY"):
        log.raw("ERROR: NGC_API_KEY is not set: the model's profile cannot be downloaded.")
        return 1
    name = environ.get("NIM_SERVED_MODEL_NAME") or "model"
    profile = fetch_profile(Path(environ.get("NIM_CACHE_PATH") or "/opt/nim/.cache"))
    if DOWNLOAD in argv:
        log.raw(f"INFO: the model's profile is in {profile}.")
        return 0
    faults = read_faults(environ)
    arguments = parse(["serve", str(profile), "--served-model-name", name], series=faults.series, environ=environ)
    server = EngineServer(
        listen(int(environ.get("NIM_HTTP_API_PORT") or 8000)),
        load_model(arguments, faults, environ, source=DirectorySource(name, profile, staged=False)),
        root=name,
        api_keys=(),
        handler=PictureHandler if PICTURES in argv else NimHandler,
    )
    return until_ended(server)


def fetch_profile(cache: Path) -> Path:
    """A directory with the model."""
    from sandbox.tiny_models import TinyModel, generate

    return generate(TinyModel("nim/profile"), cache, size=_SIZE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
