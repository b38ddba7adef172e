"""`vllm serve`: from the command line to an engine that answers, and its end."""

import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.engine import VERSION, errors, log
from sandbox.engine.arguments import Arguments, parse
from sandbox.engine.faults import Faults, out_of_memory, read_faults
from sandbox.engine.model import load, read_config
from sandbox.engine.running import ended, in_background, listen
from sandbox.engine.sources import Source, open_source

if TYPE_CHECKING:  # at run time it is imported once the arguments are known to be good
    from sandbox.engine.generation import Generator


def main(argv: list[str]) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        0 after a drain, 1 if the engine could not start. What the command line's parser refuses exits with 2.
    """
    environ = dict(os.environ)
    faults = read_faults(environ)
    arguments = parse(argv, series=faults.series, environ=environ)
    log.api_server(f"vLLM API server version {VERSION}")
    log.api_server(f"non-default args: {arguments.given}", place="utils.py:328")
    try:
        bound = _bind(arguments)
        return _serve(arguments, load_model(arguments, faults, environ), faults, bound)
    except errors.EngineError as error:
        report(error)
        return 1


def check_config(arguments: Arguments, config: Mapping[str, Any], environ: Mapping[str, str]) -> int:
    """Hold the options against the model's configuration, as vLLM does before it loads anything.

    Returns:
        Longest prompt plus answer, tokens.

    Raises:
        EngineError: A combination that cannot work.
    """
    if not config.get("architectures"):
        raise errors.invalid_config("ModelConfig", "No model architectures are specified")
    derived = int(config.get("max_position_embeddings") or 2048)
    wanted = arguments.max_model_len
    if wanted is not None and wanted > derived and environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") != "1":
        raise errors.invalid_config(
            "ModelConfig",
            f"User-specified max_model_len ({wanted}) is greater than the derived max_model_len"
            f" (max_position_embeddings={derived} or model_max_length=None in model's config.json). To allow greater"
            " max_model_len, set VLLM_ALLOW_LONG_MAX_MODEL_LEN=1. VLLM_ALLOW_LONG_MAX_MODEL_LEN must be used with"
            " extreme caution. If the model uses relative position encoding (RoPE), positions exceeding"
            " derived_max_model_len lead to nan. If the model uses absolute position encoding, positions exceeding"
            " derived_max_model_len will"
            " cause a CUDA array out-of-bounds error.",
        )
    heads, size = int(config.get("num_attention_heads") or 1), arguments.tensor_parallel_size
    if size < 1 or heads % size:
        text = f"Total number of attention heads ({heads}) must be divisible by tensor parallel size ({size})."
        raise errors.invalid_config("VllmConfig", text)
    return wanted or derived


def report(error: errors.EngineError) -> None:
    """Write why the engine does not start, where and as the real one does."""
    if not error.in_core:
        log.raw(error.traceback)
        return
    log.core("EngineCore failed to start.", level="ERROR", place="core.py:708")
    log.core(error.traceback, level="ERROR", place="core.py:708")
    log.raw(
        "Traceback (most recent call last):\n"
        '  File "vllm/v1/engine/utils.py", line 1, in wait_for_engine_startup\n'
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
    )


def _bind(arguments: Arguments) -> socket.socket:
    """Take the port before the work; nobody is answered on it until `listen`."""
    try:
        bound = listen(arguments.port, arguments.host)
    except OSError as error:
        frames = (("vllm/entrypoints/openai/api_server.py", "create_server_socket"),)
        raise errors.EngineError("OSError", f"[Errno {error.errno}] {error.strerror}", frames=frames) from None
    host, port = bound.getsockname()[:2]
    log.api_server(f"Listening socket is bound to {host}:{port}")
    return bound


def load_model(
    arguments: Arguments, faults: Faults, environ: Mapping[str, str], *, source: Source | None = None
) -> "Generator":
    """Read and verify the weights.

    Args:
        arguments: Of the command line.
        faults: What is to go wrong.
        environ: Of the process.
        source: Where the weights are; by default what the arguments name.

    Returns:
        A model that can answer.

    Raises:
        EngineError: What the real engine would end with.
    """
    from sandbox.engine.generation import Generator
    from sandbox.engine.metrics import Metrics
    from sandbox.engine.text import TextModel

    source = source or open_source(
        arguments.model,
        revision=arguments.revision,
        load_format=arguments.load_format,
        series=faults.series,
        environ=environ,
    )
    config = read_config(source)
    length = check_config(arguments, config, environ)
    began = time.monotonic()
    size = arguments.tensor_parallel_size
    log.core(
        f"Initializing a V1 LLM engine ({VERSION}) with config: model='{arguments.model}', max_seq_len={length},"
        f" tensor_parallel_size={size}, load_format={arguments.load_format}"
    )
    log.core(f"Starting to load model {arguments.model}...", place="gpu_model_runner.py:2602")
    if "cuda-oom" in faults:
        raise out_of_memory()
    model = load(source, config, _progress)
    text = TextModel(model)
    _take_time(faults, began)
    log.core(f"Model loading took {model.total_bytes / 2**30:.4f} GiB and {time.monotonic() - began:.3f} seconds")
    names = ("another-model",) if "wrong-model-name" in faults else arguments.served_model_names
    template = _template(arguments.chat_template)
    return Generator(text, names, length, template, Metrics(names[0]), faults)


def _serve(arguments: Arguments, generator: "Generator", faults: Faults, bound: socket.socket) -> int:
    from sandbox.engine.api import EngineServer

    server = EngineServer(bound, generator, root=arguments.model, api_keys=arguments.api_keys)
    stop = ended()
    in_background(server)
    log.api_server(
        f"Starting vLLM API server 0 on http://{arguments.host}:{arguments.port}", place="api_server.py:1971"
    )
    log.uvicorn("Application startup complete.")
    if not stop.wait(faults.seconds("crash-after")):
        log.core("EngineCore encountered a fatal error.", level="ERROR", place="core.py:710")
        log.api_server("AsyncLLM output_handler failed.", level="ERROR", place="async_llm.py:480")
        log.raw("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above).")
        return 1
    log.uvicorn("Shutting down")
    server.drain()
    log.uvicorn("Application shutdown complete.")
    return 0


def _progress(done: int, count: int) -> None:
    share = 100 * done // count
    log.progress(f"Loading safetensors checkpoint shards: {share:3d}% Completed | {done}/{count}")


def _take_time(faults: Faults, began: float) -> None:
    if "never-ready" in faults:
        threading.Event().wait()
    time.sleep(max(0.0, faults.load_seconds - (time.monotonic() - began)))


def _template(given: str | None) -> str | None:
    """A template from the command line: a file's name or the template itself."""
    if given is None:
        return None
    if "{" not in given and not Path(given).is_file():
        text = f"The supplied chat template string ({given}) appears path-like, but doesn't exist!"
        raise errors.EngineError("ValueError", text)
    return Path(given).read_text() if Path(given).is_file() else given
