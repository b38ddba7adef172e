"""`llama-server`: one GGUF file, llama.cpp's routes. It listens once the file is read; the real one says 503 before."""

import argparse
import os
import sys
from pathlib import Path

from sandbox.engine import VERSION, log
from sandbox.engine.api import EngineHandler, EngineServer
from sandbox.engine.faults import read_faults
from sandbox.engine.generation import Generator
from sandbox.engine.metrics import Metrics
from sandbox.engine.model import MANIFEST, Matrix, Model
from sandbox.engine.running import listen, until_ended
from sandbox.engine.text import TextModel
from sandbox.standins import gguf
from sandbox.standins.staged import check, digests


class LlamaHandler(EngineHandler):
    """llama.cpp's routes: those of the OpenAI API as vLLM's, health and metrics its own."""

    def route(self, path: str, body: bytes) -> None:
        """Answer a request."""
        if path in ("/health", "/v1/health"):
            return self.json(200, {"status": "ok"})
        if path == "/props":
            return self.json(200, {"model_path": self.engine.root, "build_info": VERSION})
        if path == "/metrics":
            return self.text(200, "llamacpp:requests_processing 0\nllamacpp:requests_deferred 0\n")
        if path in ("/ping", "/version"):
            return self.json(404, {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}})
        return super().route(path, body)


def main(argv: list[str]) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        0 after a drain, 1 if the model could not be loaded.
    """
    parser = argparse.ArgumentParser(prog="llama-server", allow_abbrev=False)
    parser.add_argument("--model", "-m", required=True)
    parser.add_argument("--alias", "-a", default="")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--ctx-size", "-c", type=int, default=0)
    options, others = parser.parse_known_args(argv)
    if others:
        print(f"the stand-in makes nothing of {' '.join(others)}", flush=True)
    bound = listen(options.port, options.host)
    try:
        generator = load(Path(options.model), options.alias or options.model, options.ctx_size)
    except (OSError, gguf.NotGguf, KeyError) as error:
        log.raw(f"gguf_init_from_file: {error}\nmain: exiting due to model loading error")
        return 1
    print("main: server is listening, starting the main loop", flush=True)
    return until_ended(EngineServer(bound, generator, root=options.model, api_keys=(), handler=LlamaHandler))


def load(path: Path, name: str, context: int) -> Generator:
    """Read and verify the file.

    Raises:
        OSError: It is not there, or not what was staged.
        NotGguf: It is no GGUF file.
        KeyError: It lacks what the stand-in needs.
    """
    _verify(path)
    metadata, tensors = gguf.read(path)
    settings = {"chat_template": metadata[gguf.TEMPLATE]} if gguf.TEMPLATE in metadata else {}
    model = Model(
        config={},
        tokenizer_json=str(metadata[gguf.TOKENIZER]).encode(),
        tokenizer_config=settings,
        embedding=Matrix(tensors[gguf.EMBEDDING]),
        output=Matrix(tensors[gguf.OUTPUT]),
        files=1,
        total_bytes=path.stat().st_size,
    )
    trained = next((value for key, value in metadata.items() if key.endswith(gguf.CONTEXT)), 2048)
    return Generator(TextModel(model), (name,), context or int(trained), None, Metrics(name), read_faults(os.environ))


def _verify(path: Path) -> None:
    folder = next((one for one in path.parents if (one / MANIFEST).is_file()), None)
    if folder is not None:
        check(path, digests(folder).get(str(path.relative_to(folder))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
