"""The image server as a process: with a stand-in for the pipeline, and with a real tiny one where torch is at hand."""

import base64
import http.client
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from serving.frameworks import diffusers
from serving.servers import diffusion

SERVER = Path(diffusion.__file__)

STAND_IN = """
import time
from PIL import Image
class DiffusionPipeline:
    @classmethod
    def from_pretrained(cls, model, **arguments):
        if model.endswith("broken"):
            raise OSError(f"{model} holds no model_index.json")
        time.sleep(0.5)
        return cls()
    def to(self, device):
        return self
    def __call__(self, prompt, width, height, **arguments):
        if prompt == "crash":
            raise RuntimeError("device lost")
        if prompt == "slow":
            time.sleep(1)
        class Result: pass
        result = Result()
        shade = arguments.get("num_inference_steps", 1)
        result.images = [Image.linear_gradient("L").resize((width, height)).convert("RGB")]
        return result
"""


class Server:
    """The server as a child process."""

    def __init__(self, arguments: list[str], python: str = sys.executable, env: dict[str, str] | None = None) -> None:
        command = [python, str(SERVER), "--host", "127.0.0.1", "--port", "0", "--served-model-name", "org/tiny"]
        self.process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
        )
        assert self.process.stdout is not None
        line = ""
        while "listening on" not in line:
            line = self.process.stdout.readline()
            assert line, "the server ended before it listened"
        match = re.search(r":(\d+)$", line.strip())
        assert match
        self.url = f"http://127.0.0.1:{match[1]}"

    def ask(self, path: str, body: Any = None) -> tuple[int, str, bytes]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, data=data), timeout=60) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"], error.read()

    def wait_until_ready(self, seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while self.ask("/health")[0] != 200:
            assert time.monotonic() < end
            assert self.process.poll() is None, self.process.stdout and self.process.stdout.read()
            time.sleep(0.05)

    def last_words(self) -> str:
        """What it says until it ends by itself: through the stream that read its first line, which may hold more."""
        assert self.process.stdout is not None
        with self.process.stdout as output:
            text = output.read()
        self.process.wait(timeout=30)
        return text

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    packages = tmp_path_factory.mktemp("packages")
    (packages / "diffusers.py").write_text(STAND_IN)
    (packages / "torch.py").write_text("float32 = 'float32'\nbfloat16 = 'bfloat16'\n")
    return {"PYTHONPATH": str(packages)}


ARGUMENTS = ["--model", "/staged-model", "--device", "cpu", "--width", "128", "--height", "64"]


@pytest.fixture(scope="module")
def server(stand_in: dict[str, str]) -> Iterator[Server]:
    running = Server(ARGUMENTS, env=stand_in)
    assert running.ask("/health")[0] == 503
    assert running.ask("/v1/generations", {"prompt": "too early"})[0] == 503
    running.wait_until_ready()
    yield running
    assert running.stop() == 0


def test_a_prompt_becomes_a_png_of_the_asked_size(server: Server) -> None:
    status, kind, body = server.ask("/v1/generations", {"prompt": "a fox"})
    assert (status, kind) == (200, "image/png")
    assert Image.open(io.BytesIO(body)).size == (128, 64)
    _, _, body = server.ask("/v1/generations", {"prompt": "a fox", "width": 72, "height": 80, "steps": 3})
    assert Image.open(io.BytesIO(body)).size == (72, 80)


def test_the_openai_route_answers_pictures_in_base64(server: Server) -> None:
    status, _, body = server.ask("/v1/images/generations", {"prompt": "a fox", "n": 2, "size": "64x96"})
    assert status == 200
    pictures = [Image.open(io.BytesIO(base64.b64decode(e["b64_json"]))) for e in json.loads(body)["data"]]
    assert [picture.size for picture in pictures] == [(64, 96), (64, 96)]
    assert json.loads(server.ask("/v1/models")[2])["data"][0]["id"] == "org/tiny"


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/v1/generations", {}, 400, "prompt should be text"),
        ("/v1/generations", {"prompt": "  "}, 400, "prompt should be text"),
        ("/v1/generations", {"prompt": "x", "width": 65}, 400, "width is 65, should be a multiple of 8"),
        ("/v1/generations", {"prompt": "x", "width": 10**6}, 400, "width is 1000000, should be a number from 64"),
        ("/v1/generations", {"prompt": "x", "steps": True}, 400, "steps is True"),
        ("/v1/generations", b"{", 400, "the body is not JSON"),
        ("/v1/generations", b"[]", 400, "should be a JSON object"),
        ("/v1/generations", {"prompt": "crash"}, 500, "RuntimeError: device lost"),
        ("/v1/images/generations", {"prompt": "x", "size": "big"}, 400, "should be WIDTHxHEIGHT"),
        ("/v1/images/generations", {"prompt": "x", "response_format": "url"}, 400, "b64_json"),
        ("/v1/images/generations", {"prompt": "x", "model": "other"}, 404, "does not exist"),
        ("/v1/chat/completions", {"prompt": "x"}, 404, "there is no /v1/chat/completions"),
    ],
)
def test_what_cannot_be_done_is_said_and_does_not_end_the_server(
    server: Server, path: str, body: Any, status: int, said: str
) -> None:
    answered, _, text = server.ask(path, body)
    assert answered == status
    assert said in json.loads(text)["error"]["message"]
    assert server.ask("/health")[0] == 200


def test_metrics_count_what_happened(server: Server) -> None:
    def value(name: str) -> float:
        match = re.search(rf"^{name} (\S+)$", server.ask("/metrics")[2].decode(), re.MULTILINE)
        assert match
        return float(match[1])

    before = value("diffusers_images_total")
    server.ask("/v1/generations", {"prompt": "x"})
    assert value("diffusers_images_total") == before + 1
    assert value("diffusers_requests_running") == 0


def test_a_stop_waits_for_the_picture_in_work(stand_in: dict[str, str]) -> None:
    running = Server(ARGUMENTS, env=stand_in)
    running.wait_until_ready()
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(running.ask("/v1/generations", {"prompt": "slow"})[0]))
    asking.start()
    while b"running 1" not in running.ask("/metrics")[2]:
        time.sleep(0.02)
    assert running.stop() == 0
    asking.join()
    assert answers == [200]


def test_a_stop_does_not_wait_for_clients_that_keep_their_connections(stand_in: dict[str, str]) -> None:
    """A gateway keeps connections for minutes: with one open, a pod would only end when it is killed."""
    running = Server(ARGUMENTS, env=stand_in)
    running.wait_until_ready()
    host, _, port = running.url.removeprefix("http://").partition(":")
    kept = http.client.HTTPConnection(host, int(port), timeout=30)
    kept.request("GET", "/health")
    assert kept.getresponse().read()
    assert running.stop() == 0
    kept.close()


def test_a_model_that_cannot_be_loaded_ends_the_server(stand_in: dict[str, str]) -> None:
    running = Server(["--model", "/broken", "--device", "cpu"], env=stand_in)
    output = running.last_words()
    assert running.process.returncode == 1
    assert "/broken holds no model_index.json" in output


NEURON_STAND_IN = """
import json, pathlib
from PIL import Image
class Kept:
    @classmethod
    def from_pretrained(cls, model, **arguments):
        print("from_pretrained " + json.dumps({"model": model, **arguments}), flush=True)
        return cls()
    def save_pretrained(self, target):
        pathlib.Path(target).mkdir(parents=True)
        (pathlib.Path(target) / "model_index.json").write_text("{}")
NeuronFluxPipeline = NeuronStableDiffusionXLPipeline = NeuronStableDiffusionPipeline = Kept
"""


@pytest.mark.parametrize(
    ("pipeline", "cores", "expected"),
    [
        ("flux", 12, {"tensor_parallel_size": 8, "auto_cast": "none", "torch_dtype": "bfloat16"}),
        ("flux", 4, {"tensor_parallel_size": 4, "auto_cast": "none", "torch_dtype": "bfloat16"}),
        ("stablediffusionxl", 2, {"auto_cast": "matmul", "auto_cast_type": "bf16"}),
    ],
)
def test_on_neuron_a_pipeline_is_compiled_once_for_its_cores_and_kept(
    pipeline: str, cores: int, expected: dict[str, Any], tmp_path: Path
) -> None:
    packages = tmp_path / "packages"
    (packages / "optimum").mkdir(parents=True)
    (packages / "optimum" / "neuron.py").write_text(NEURON_STAND_IN)
    (packages / "torch.py").write_text("bfloat16 = 'bfloat16'\n")
    kept = tmp_path / "artifacts" / "pipeline"
    arguments = ["--model", "/staged-model", "--device", "neuron", "--pipeline", pipeline, "--devices", str(cores)]
    calls = []
    for _ in range(2):
        running = Server([*arguments, "--artifacts", str(kept)], env={"PYTHONPATH": str(packages)})
        running.wait_until_ready()
        assert running.process.stdout is not None
        line = running.process.stdout.readline()
        calls.append(json.loads(line.removeprefix("from_pretrained ")))
        assert running.stop() == 0
    compiled, loaded = calls
    shapes = {"batch_size": 1, "height": 1024, "width": 1024, "num_images_per_prompt": 1}
    own = {"model": "/staged-model", "export": True, "disable_neuron_cache": True}
    assert compiled == own | shapes | expected
    assert loaded == {"model": str(kept)}


def test_an_image_without_the_library_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("")
    (tmp_path / "diffusers.py").write_text("raise ModuleNotFoundError(\"No module named 'diffusers'\")")
    running = Server(["--model", "/m", "--device", "cpu"], env={"PYTHONPATH": str(tmp_path)})
    output = running.last_words()
    assert running.process.returncode == 1
    assert "No module named 'diffusers'" in output
    assert "Name what it lacks in diffusers.packages" in output


@pytest.fixture(scope="module")
def real_python() -> str:
    """A Python that has torch and diffusers: named in DIFFUSERS_PYTHON, or this one.

    None is installed for the test: that is a gigabyte, and torch's CPU build is not to be had everywhere.
    """
    named = os.environ.get("DIFFUSERS_PYTHON", "")
    if named:
        return named
    if not all(importlib.util.find_spec(name) for name in ("torch", "diffusers", "transformers")):
        pytest.skip("torch and diffusers are not installed here; name a Python that has them in DIFFUSERS_PYTHON")
    return sys.executable


TINY = """
    import json, pathlib, sys, torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
    target = pathlib.Path(sys.argv[1])
    torch.manual_seed(0)
    words = {c: i for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")}
    words |= {c + "</w>": len(words) + i for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")}
    words |= {"<|startoftext|>": len(words), "<|endoftext|>": len(words) + 1}
    folder = target / "words"
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    text = CLIPTextModel(CLIPTextConfig(vocab_size=len(words), hidden_size=32, intermediate_size=37,
        num_hidden_layers=2, num_attention_heads=4, bos_token_id=52, eos_token_id=53, projection_dim=32))
    unet = UNet2DConditionModel(sample_size=32, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32, attention_head_dim=2)
    vae = AutoencoderKL(block_out_channels=(4, 8), norm_num_groups=2, latent_channels=4, sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)
    StableDiffusionPipeline(vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=DDIMScheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False).save_pretrained(target)
"""


@pytest.mark.long
def test_a_real_tiny_pipeline_makes_a_picture_that_its_seed_repeats(tmp_path: Path, real_python: str) -> None:
    model = tmp_path / "tiny"
    made = subprocess.run(
        [real_python, "-c", textwrap.dedent(TINY), str(model)], capture_output=True, text=True, timeout=250, check=False
    )
    assert made.returncode == 0, made.stderr[-2000:]
    options = ["--model", str(model), "--device", "cpu", "--width", "64", "--height", "64", "--steps", "2"]
    running = Server(options, python=real_python, env={"HF_HUB_OFFLINE": "1"})
    running.wait_until_ready(240)
    wanted = {"prompt": "a fox", "seed": 7}
    status, kind, first = running.ask("/v1/generations", wanted)
    assert (status, kind) == (200, "image/png"), first
    assert running.ask("/v1/generations", wanted)[2] == first
    assert running.ask("/v1/generations", {**wanted, "seed": 8})[2] != first
    picture = Image.open(io.BytesIO(first))
    assert picture.size == (64, 64)
    assert len(picture.getcolors(64 * 64) or []) > 1
    assert running.stop() == 0


def test_the_rendered_command_line_is_one_that_the_server_takes() -> None:
    from serving.frameworks.weights import Weights
    from serving.models import PinnedModel
    from serving.options import DiffusersOptions
    from serving.release import release_of
    from serving.spec import Accelerator, Framework
    from tests.serving.test_frameworks import spec_for

    for accelerator in Accelerator:
        options = DiffusersOptions(steps=4, guidance_scale=3.5, dtype="float16", width=512)
        spec = spec_for(Framework.DIFFUSERS, accelerator, diffusers=options.model_dump(), weights="hub")
        model = PinnedModel(repo_id="org/name", revision="main", commit="a" * 40)
        command = diffusers.command_line(spec, options, Weights(location="org/name"), release_of(spec, model, None))
        read = diffusion.read_options(command[2:])
        assert (read.width, read.steps, read.guidance_scale, read.dtype) == (512, 4, 3.5, "float16")
        assert read.revision == "a" * 40
