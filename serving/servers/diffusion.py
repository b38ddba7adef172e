"""Image server: one diffusion pipeline behind HTTP. Needs torch and diffusers (or optimum-neuron), and nothing else.

    GET  /health                  200 once the pipeline is loaded, 503 before
    GET  /v1/models, /metrics     the served model as OpenAI lists it; Prometheus text
    POST /v1/generations          {"prompt": …} → image/png
    POST /v1/images/generations   OpenAI's images route → {"created": …, "data": [{"b64_json": …}]}

Optional fields of both POST routes: negative_prompt, width, height, steps, guidance_scale, seed.
"""

import argparse
import base64
import contextlib
import importlib
import io
import json
import math
import pathlib
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIPELINES = {
    "flux": "FluxPipeline",
    "stablediffusion3": "StableDiffusion3Pipeline",
    "stablediffusionxl": "StableDiffusionXLPipeline",
    "kolors": "KolorsPipeline",
    "omnigen": "OmniGenPipeline",
    "diffusion": "DiffusionPipeline",
}
NEURON_PIPELINES = {
    "flux": "NeuronFluxPipeline",
    "stablediffusionxl": "NeuronStableDiffusionXLPipeline",
    "diffusion": "NeuronStableDiffusionPipeline",
}
DTYPES = {"flux": "bfloat16", "stablediffusion3": "bfloat16", "omnigen": "bfloat16", "kolors": "float16"}
VARIANTS = {"kolors": "fp16"}
MAX_BODY = 1 << 20


class BadRequest(Exception):
    """What the client sent cannot be done."""


class Counters:
    """What /metrics tells."""

    def __init__(self) -> None:
        names = "requests_waiting requests_running images_total failures_total generation_seconds_total"
        self.values = dict.fromkeys(names.split(), 0.0)
        self._lock = threading.Lock()

    def add(self, **changes: float) -> None:
        """Adds to counters, all at once."""
        with self._lock:
            for name, change in changes.items():
                self.values[name] += change

    def text(self) -> str:
        """Returns Prometheus' text format."""
        return "".join(f"diffusers_{name} {value:g}\n" for name, value in self.values.items())


class Pipeline:
    """The loaded model. One image at a time: the accelerator is one."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.name: str = options.served_model_name
        self.counters = Counters()
        self.ready = threading.Event()
        self._turn = threading.Lock()
        self._pipe: Any = None

    def load(self) -> None:
        """Loads the pipeline onto its device."""
        begin = time.monotonic()
        try:
            self._pipe = _load_neuron(self.options) if self.options.device == "neuron" else _load(self.options)
        except ImportError as error:
            message = f"{error}. This image cannot run the pipeline. Name what it lacks in diffusers.packages."
            raise ImportError(message) from error
        if hasattr(self._pipe, "set_progress_bar_config"):
            self._pipe.set_progress_bar_config(disable=True)
        self.ready.set()
        print(f"loaded {self.options.model} in {time.monotonic() - begin:.1f} s", flush=True)

    def generate(self, wanted: dict[str, Any]) -> bytes:
        """Returns a PNG.

        Raises:
            BadRequest: A field is missing or does not fit.
        """
        arguments = self._arguments(wanted)
        self.counters.add(requests_waiting=1)
        with self._turn:
            self.counters.add(requests_waiting=-1, requests_running=1)
            begin = time.monotonic()
            outcome = "failures_total"
            try:
                image = self._pipe(**arguments).images[0]
                outcome = "images_total"
            except (ValueError, TypeError) as error:
                raise BadRequest(str(error)) from error
            finally:
                seconds = time.monotonic() - begin
                self.counters.add(requests_running=-1, generation_seconds_total=seconds, **{outcome: 1})
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        return buffer.getvalue()

    def _arguments(self, wanted: dict[str, Any]) -> dict[str, Any]:
        prompt = wanted.get("prompt")
        if not isinstance(prompt, str) or not prompt.strip():
            raise BadRequest("prompt should be text that is not empty")
        arguments: dict[str, Any] = {"prompt": prompt}
        options = self.options
        sizes = {"width": options.width, "height": options.height}
        for name, default in sizes.items():
            arguments[name] = _number(wanted, name, default, int, 64, 4096)
            if arguments[name] % 8:
                raise BadRequest(f"{name} is {arguments[name]}, should be a multiple of 8")
        # A Neuron pipeline is compiled for one size.
        if options.device == "neuron" and any(arguments.pop(name) != default for name, default in sizes.items()):
            raise BadRequest(f"this endpoint makes images of {options.width}x{options.height} only")
        steps = _number(wanted, "steps", options.steps, int, 1, 1000)
        guidance = _number(wanted, "guidance_scale", options.guidance_scale, float, 0, 100)
        negative = wanted.get("negative_prompt")
        optional = {"num_inference_steps": steps, "guidance_scale": guidance, "negative_prompt": negative}
        arguments |= {name: value for name, value in optional.items() if value is not None}
        seed = _number(wanted, "seed", None, int, 0, 2**63 - 1)
        if seed is not None:
            arguments["generator"] = importlib.import_module("torch").Generator("cpu").manual_seed(seed)
        return arguments


def _number(wanted: dict[str, Any], name: str, default: Any, kind: type, least: float, most: float) -> Any:
    value = wanted.get(name)
    if value is None:
        return default
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or (kind is int and value != int(value)) or not least <= value <= most:
        raise BadRequest(f"{name} is {value!r}, should be a number from {least} to {most}")
    return kind(value)


def _load(options: argparse.Namespace) -> Any:
    torch, diffusers = importlib.import_module("torch"), importlib.import_module("diffusers")
    dtype = options.dtype or ("float32" if options.device == "cpu" else DTYPES.get(options.pipeline, ""))
    chosen = {
        "torch_dtype": getattr(torch, dtype) if dtype else None,
        "variant": VARIANTS.get(options.pipeline),
        "revision": options.revision or None,
    }
    arguments = {name: value for name, value in chosen.items() if value is not None}
    kind = getattr(diffusers, PIPELINES[options.pipeline])
    spread = {"device_map": "balanced"} if options.devices > 1 else {}
    pipe = kind.from_pretrained(options.model, **spread, **arguments)
    return pipe if spread else pipe.to(options.device)


def _load_neuron(options: argparse.Namespace) -> Any:
    """Loads the compiled pipeline, or compiles it first and keeps it for the container's next start."""
    kind = getattr(importlib.import_module("optimum.neuron"), NEURON_PIPELINES[options.pipeline])
    kept = pathlib.Path(options.artifacts)
    if (kept / "model_index.json").exists():
        return kind.from_pretrained(str(kept))
    shapes = {"batch_size": 1, "height": options.height, "width": options.width, "num_images_per_prompt": 1}
    # The weights stand here: nothing is asked of the Hub, its cache of compiled models included.
    pipe = kind.from_pretrained(
        options.model, export=True, disable_neuron_cache=True, **_neuron_arguments(options), **shapes
    )
    pipe.save_pretrained(str(kept))
    return pipe


def _neuron_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Returns how a pipeline is compiled.

    Flux is larger than a NeuronCore's memory: its transformer is cut into as many parts as there are cores, 8 at most,
    in its own type (optimum-neuron's documentation of Flux). The others fit one core.
    """
    if options.pipeline != "flux":
        kind = {"": "bf16", "bfloat16": "bf16", "float16": "fp16"}.get(options.dtype)
        return {"auto_cast": "matmul", "auto_cast_type": kind} if kind else {"auto_cast": "none"}
    parts = 1 << (min(options.devices, 8).bit_length() - 1)
    dtype = getattr(importlib.import_module("torch"), options.dtype or "bfloat16")
    return {"auto_cast": "none", "torch_dtype": dtype, "tensor_parallel_size": parts}


class Server(ThreadingHTTPServer):
    """Answers until it is closed: then the requests in work are finished, and idle connections end."""

    daemon_threads = False  # closing waits for the pictures in work

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._idle: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._ending = False

    def rest(self, connection: socket.socket) -> None:
        """A kept connection waits for its next request; at the end there is none."""
        with self._lock:
            self._idle.add(connection)
            if self._ending:
                self._end(connection)

    def work(self, connection: socket.socket) -> None:
        """A request has begun on the connection."""
        with self._lock:
            self._idle.discard(connection)

    def stop(self) -> None:
        """Takes no new connection, and returns when all requests are answered."""
        self.shutdown()
        with self._lock:
            self._ending = True
            for connection in self._idle:
                self._end(connection)
        self.server_close()

    def _end(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """The routes."""

    protocol_version = "HTTP/1.1"
    server: Server
    pipeline: Pipeline

    def handle_one_request(self) -> None:
        """Answers one request of a connection."""
        self.server.rest(self.connection)
        try:
            super().handle_one_request()
        finally:
            self.server.work(self.connection)

    def parse_request(self) -> bool:
        """Reads a request whose first line is there."""
        self.server.work(self.connection)
        return super().parse_request()

    def do_GET(self) -> None:
        """Answers health, models and metrics."""
        path = self.path.partition("?")[0]
        if path == "/health":
            status, word = (200, "ready") if self.pipeline.ready.is_set() else (503, "loading")
            self._json(status, {"status": word})
        elif path == "/v1/models":
            entry = {"id": self.pipeline.name, "object": "model", "owned_by": "diffusers"}
            self._json(200, {"object": "list", "data": [entry]})
        elif path == "/metrics":
            self._answer(200, "text/plain; version=0.0.4", self.pipeline.counters.text().encode())
        else:
            self._error(404, f"there is no {path}")

    def do_POST(self) -> None:
        """Makes images."""
        path = self.path.partition("?")[0]
        try:
            wanted = self._body()
            if path not in ("/v1/generations", "/v1/images/generations"):
                self._error(404, f"there is no {path}")
            elif not self.pipeline.ready.is_set():
                self._error(503, "the model is still loading")
            elif path == "/v1/generations":
                self._answer(200, "image/png", self.pipeline.generate(wanted))
            else:
                self._openai(wanted)
        except BadRequest as error:
            self._error(400, str(error))
        except Exception as error:
            message = f"generation failed: {type(error).__name__}: {error}"
            self.log_message("%s", message)
            self._error(500, message)

    def _openai(self, wanted: dict[str, Any]) -> None:
        model = wanted.get("model")
        if model not in (None, "", self.pipeline.name):
            self._error(404, f"The model `{model}` does not exist; this endpoint serves `{self.pipeline.name}`.")
            return
        if wanted.get("response_format", "b64_json") != "b64_json":
            raise BadRequest("response_format should be b64_json: pictures are not kept here, so there is no url")
        size = str(wanted.get("size", "auto"))
        if size != "auto":
            width, _, height = size.partition("x")
            if not width.isdigit() or not height.isdigit():
                raise BadRequest(f"size is {size!r}, should be WIDTHxHEIGHT or auto")
            wanted = {**wanted, "width": int(width), "height": int(height)}
        count = _number(wanted, "n", 1, int, 1, 10)
        pictures = [self.pipeline.generate(wanted) for _ in range(count)]
        data = [{"b64_json": base64.b64encode(picture).decode()} for picture in pictures]
        self._json(200, {"created": int(time.time()), "data": data})

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            raise BadRequest(f"Content-Length should be a number up to {MAX_BODY}")
        try:
            document = json.loads(self.rfile.read(int(length)))
        except ValueError as error:
            raise BadRequest(f"the body is not JSON: {error}") from error
        if isinstance(document, dict):
            return document
        raise BadRequest("the body should be a JSON object")

    def _error(self, status: int, message: str) -> None:
        self._json(status, {"error": {"message": message, "type": "invalid_request_error", "code": status}})

    def _json(self, status: int, document: dict[str, Any]) -> None:
        self._answer(status, "application/json", json.dumps(document).encode())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002
        """Logs what is asked, but for the probes."""
        if not self.path.startswith(("/health", "/metrics")):
            self.log_message('"%s" %s', self.requestline, str(code))


def read_options(arguments: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Serve one diffusion pipeline.")
    parser.add_argument("--model", required=True, help="directory, or Hub repository")
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--device", choices=("cuda", "cpu", "neuron"), required=True)
    parser.add_argument("--pipeline", choices=sorted(PIPELINES), default="diffusion")
    parser.add_argument("--revision", default="", help="commit, for a Hub repository")
    parser.add_argument("--artifacts", default="", help="where a compiled pipeline is kept (neuron)")
    parser.add_argument("--dtype", default="")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--guidance-scale", type=float)
    for name, default in (("devices", 1), ("width", 1024), ("height", 1024), ("steps", None), ("port", 8000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Serves until asked to stop; a model that cannot be loaded ends the process."""
    options = read_options(arguments)
    pipeline = Pipeline(options)
    handler = type("BoundHandler", (Handler,), {"pipeline": pipeline})
    server = Server((options.host, options.port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"listening on {options.host}:{server.server_address[1]}", flush=True)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    pipeline.load()
    stopped.wait()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
