"""The stand-in engine as a process: when it begins to answer, and how it ends."""

import http.client
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from engine_models import write_manifest

from sandbox import tiny_models

SIZE = 2_000_000


def status(address: str, path: str) -> int:
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", path)
    return connection.getresponse().status


def body(address: str, path: str) -> str:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        return str(answer.read())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


class Engine:
    """The engine as a process, as a pod runs it."""

    def __init__(self, directory: Path, **env: str) -> None:
        command = [sys.executable, "-P", "-m", "sandbox.engine", "serve", str(directory), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--host", "127.0.0.1"], stderr=subprocess.PIPE, text=True, env={"PATH": "/usr/bin:/bin", **env}
        )

    def wait_for(self, text: str) -> str:
        assert self.process.stderr
        for line in self.process.stderr:
            if text in line:
                return line.strip()
        raise AssertionError(f"the engine ended without {text!r}")


@contextmanager
def running(directory: Path, **env: str) -> Iterator[Engine]:
    engine = Engine(directory, **env)
    try:
        yield engine
    finally:
        engine.process.kill()
        engine.process.communicate()


@pytest.fixture(scope="module")
def staged(cache: Path) -> Path:
    directory = tiny_models.generate(tiny_models.MODELS["deepseek-ai/DeepSeek-R1-Distill-Llama-8B"], cache, size=SIZE)
    write_manifest(directory)
    return directory


def test_nobody_is_answered_before_the_model_is_loaded_and_sigterm_drains(staged: Path) -> None:
    with running(staged, SANDBOX_ENGINE_LOAD_SECONDS="0.5") as engine:
        address = engine.wait_for("Listening socket is bound to").rpartition(" ")[2]
        engine.wait_for("Starting to load model")
        with pytest.raises(ConnectionRefusedError):
            status(address, "/health")
        engine.wait_for("Application startup complete.")
        assert status(address, "/health") == 200
        connection = http.client.HTTPConnection(address, timeout=10)
        connection.request("POST", "/v1/completions", json.dumps({"prompt": "x", "stream": True, "max_tokens": 30}))
        answer = connection.getresponse()
        engine.process.send_signal(signal.SIGTERM)
        assert answer.read().endswith(b"data: [DONE]\n\n")
        assert engine.process.wait(timeout=10) == 0
        with pytest.raises(ConnectionRefusedError):
            status(address, "/health")


def test_a_core_that_dies_takes_the_engine_with_it(staged: Path) -> None:
    with running(staged, SANDBOX_ENGINE_FAIL="crash-after=0.2,wrong-model-name") as engine:
        address = engine.wait_for("Listening socket is bound to").rpartition(" ")[2]
        engine.wait_for("Application startup complete.")
        assert "another-model" in body(address, "/v1/models")
        engine.wait_for("EngineDeadError")
        assert engine.process.wait(timeout=10) == 1


def test_an_engine_that_never_gets_ready_can_be_ended(staged: Path) -> None:
    with running(staged, SANDBOX_ENGINE_FAIL="never-ready") as engine:
        engine.wait_for("100% Completed")
        time.sleep(0.1)
        assert engine.process.poll() is None
        engine.process.send_signal(signal.SIGTERM)
        assert engine.process.wait(timeout=10) == -signal.SIGTERM
