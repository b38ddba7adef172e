"""`tritonserver` with the vLLM backend: one model repository, Triton's HTTP routes, its metrics on a port of their own.

Its HTTP server starts once the models are loaded, and the process ends when one cannot be. There is no gRPC.
"""

import argparse
import http.server
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.engine import VERSION, log
from sandbox.engine.api import EngineHandler, EngineServer
from sandbox.engine.errors import EngineError
from sandbox.engine.faults import read_faults
from sandbox.engine.generation import Generator
from sandbox.engine.openai import ApiError, TextRequest
from sandbox.engine.running import in_background, listen, until_ended
from sandbox.engine.serve import load_model
from sandbox.standins.engine_options import arguments_of, folders_in

MODEL_VERSION = "1"
_MODEL = re.compile(r"/v2/models/(?P<name>[^/]+)(/versions/\d+)?(?P<rest>/ready|/generate|)")


class TritonHandler(EngineHandler):
    """Triton's routes, as far as the vLLM backend has them. The server's `root` is the model's name."""

    def route(self, path: str, body: bytes) -> None:
        """Answer a request."""
        if path in ("/v2/health/ready", "/v2/health/live"):
            return self.text(200 if self.server.healthy() else 400, "")
        if path == "/v2":
            return self.json(200, {"name": "triton", "version": VERSION, "extensions": ["generate"]})
        if path == "/metrics":
            return self.text(200, "# TYPE nv_inference_request_success counter\n")
        found = _MODEL.fullmatch(path)
        if found is None:
            return self.json(404, {"error": f"Not Found: {path}"})
        if found["name"] != self.server.root:
            return self.json(400, {"error": f"Request for unknown model: '{found['name']}' is not found"})
        if found["rest"] == "/ready":
            return self.text(200, "")
        if found["rest"] == "":
            return self.json(200, {"name": self.server.root, "versions": [MODEL_VERSION], "platform": "vllm"})
        return self._infer(body)

    def _infer(self, body: bytes) -> None:
        try:
            data = json.loads(body)
            text = data["text_input"]
            parameters = data.get("parameters") or {}
        except (ValueError, LookupError, TypeError, AttributeError):
            return self.json(400, {"error": "expected to find input text_input as a string"})
        if parameters.get("stream"):
            return self.json(400, {"error": "the sandbox's stand-in has no generate_stream"})
        limit = int(parameters.get("max_tokens") or 16)
        request = TextRequest("", False, [], [str(text)], limit, (), False, False, 1)
        try:
            answer = str(self.server.generator.answer(request)["choices"][0]["text"])
        except ApiError as error:
            return self.json(error.status, {"error": error.body["error"]["message"]})
        given_back = "" if data.get("exclude_input_in_output") else str(text)
        name = self.server.root
        return self.json(200, {"model_name": name, "model_version": MODEL_VERSION, "text_output": given_back + answer})


def main(argv: list[str]) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        0 after a drain, 1 if a model could not be loaded.
    """
    parser = argparse.ArgumentParser(prog="tritonserver", allow_abbrev=False)
    parser.add_argument("--model-repository", "--model-store", required=True)
    for name, number in (("http-port", 8000), ("grpc-port", 8001), ("metrics-port", 8002), ("exit-timeout-secs", 30)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--allow-metrics", default="true")
    options = parser.parse_args(argv)
    environ = dict(os.environ)
    try:
        name, generator = load_repository(options.model_repository, environ)
    except EngineError as error:
        log.raw(f"{error.traceback}\nerror: creating server: Internal - failed to load all models")
        return 1
    metrics = http.server.ThreadingHTTPServer(("0.0.0.0", options.metrics_port), _MetricsHandler)
    in_background(metrics)
    print(f"Started HTTPService at 0.0.0.0:{options.http_port}", flush=True)
    bound = listen(options.http_port)
    return until_ended(EngineServer(bound, generator, root=name, api_keys=(), handler=TritonHandler))


def load_repository(repository: str, environ: Mapping[str, str]) -> tuple[str, Generator]:
    """Load the repository's model.

    Returns:
        Its name and what answers for it.

    Raises:
        EngineError: There is none, its files say nothing, or the engine cannot load it.
    """
    models = {name: folder for name, folder in folders_in(repository, environ).items() if _is_model(folder)}
    if len(models) != 1:
        text = f"the stand-in serves one model, {repository} holds {', '.join(sorted(models)) or 'none'}"
        raise EngineError("InternalError", text)
    name, folder = models.popitem()
    if 'backend: "vllm"' not in (folder / "config.pbtxt").read_text():
        raise EngineError("InternalError", f"{name}: the stand-in has the vllm backend only")
    try:
        options: dict[str, Any] = json.loads((folder / MODEL_VERSION / "model.json").read_text())
        model = options.pop("model")
    except (OSError, ValueError, LookupError) as error:
        raise EngineError("InternalError", f"{name}: {MODEL_VERSION}/model.json: {error}") from None
    faults = read_faults(environ)
    arguments = arguments_of(model, options, served_as=name, series=faults.series, environ=environ)
    return name, load_model(arguments, faults, environ)


def _is_model(folder: Path) -> bool:
    return (folder / "config.pbtxt").is_file()


class _MetricsHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"# TYPE nv_inference_request_success counter\n" if self.path == "/metrics" else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
