"""vLLM's command line: which arguments there are, by series of releases, and how it refuses others.

`flags.json` lists the arguments of ``vllm serve`` of releases 0.9.1, 0.10.2 and 0.32.0: names only, as switches
(``--x`` and ``--no-x``), lists and single values.
"""

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_FLAGS = Path(__file__).with_name("flags.json")
_SHORT = {
    "tensor-parallel-size": "-tp",
    "pipeline-parallel-size": "-pp",
    "data-parallel-size": "-dp",
    "quantization": "-q",
}
_NUMBER = re.compile(r"(\d+)([kKmMgG]?)")


@dataclass(frozen=True)
class Arguments:
    """What the stand-in itself looks at; every other argument is only checked for being one.

    Attributes:
        given: Name and value of every argument that was given, for the log.
    """

    model: str
    host: str
    port: int
    served_model_names: tuple[str, ...]
    max_model_len: int | None
    tensor_parallel_size: int
    load_format: str
    revision: str | None
    tokenizer: str | None
    chat_template: str | None
    api_keys: tuple[str, ...]
    trust_remote_code: bool
    given: dict[str, object]


def parse(argv: list[str], *, series: str, environ: dict[str, str]) -> Arguments:
    """Read the command line as vLLM does.

    Args:
        argv: Without the program's name.
        series: Release series whose arguments are known: ``0.9``, ``0.10`` or ``0.32``.
        environ: For VLLM_API_KEY.

    Raises:
        SystemExit: 2, after a message on standard error, for what vLLM's parser refuses.
    """
    known = known_flags(series)
    program = argparse.ArgumentParser(prog="vllm")
    commands = program.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", usage="vllm serve [model_tag] [options]", allow_abbrev=True)
    serve.add_argument("model_tag", nargs="?")
    for name, kind in known.items():
        names = [f"--{name}", *([_SHORT[name]] if name in _SHORT else [])]
        if kind == "switch":
            serve.add_argument(*names, action=argparse.BooleanOptionalAction, default=None)
        elif kind == "many":
            serve.add_argument(*names, nargs="+")
        else:
            serve.add_argument(*names, type=_TYPES.get(name, str))
    parsed = program.parse_args([_dashes(argument) for argument in argv])
    values = {name: value for name, value in vars(parsed).items() if value is not None and name != "command"}
    model = values.get("model_tag") or values.get("model")
    if not model:
        serve.error("the following arguments are required: model_tag")
    keys = values.get("api_key") or ([environ["VLLM_API_KEY"]] if environ.get("VLLM_API_KEY") else [])
    shown = {name: "***" if name in ("api_key", "hf_token") else value for name, value in values.items()}
    return Arguments(
        model=str(model),
        host=values.get("host") or "0.0.0.0",
        port=values.get("port", 8000),
        served_model_names=tuple(values.get("served_model_name") or [str(model)]),
        max_model_len=values.get("max_model_len"),
        tensor_parallel_size=values.get("tensor_parallel_size", 1),
        load_format=values.get("load_format", "auto"),
        revision=values.get("revision"),
        tokenizer=values.get("tokenizer"),
        chat_template=values.get("chat_template"),
        api_keys=tuple(keys),
        trust_remote_code=bool(values.get("trust_remote_code")),
        given=shown,
    )


def known_flags(series: str) -> dict[str, str]:
    """What the arguments of a release series are: ``switch``, ``many`` or ``one`` by name."""
    kinds = json.loads(_FLAGS.read_text())[series]
    return {name: kind for kind, names in kinds.items() for name in names}


def _dashes(argument: str) -> str:
    """``--max_model_len`` is taken for ``--max-model-len``."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value


def _length(text: str) -> int:
    """A count with vLLM's suffixes: ``8k`` is 8000, ``8K`` 8192."""
    found = _NUMBER.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"Value {text} cannot be converted to <class 'int'>.")
    unit = {"": 1, "k": 1000, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}[found[2]]
    return int(found[1]) * unit


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"Value {text} cannot be converted to <function loads>.") from None


_TYPES: dict[str, Callable[[str], object]] = {
    "port": int,
    "max-model-len": _length,
    "max-num-seqs": int,
    "max-num-batched-tokens": _length,
    "tensor-parallel-size": int,
    "pipeline-parallel-size": int,
    "data-parallel-size": int,
    "max-parallel-loading-workers": int,
    "tokenizer-pool-size": int,
    "seed": int,
    "gpu-memory-utilization": float,
    "cpu-offload-gb": float,
    "swap-space": float,
    "model-loader-extra-config": _json,
    "hf-overrides": _json,
    "compilation-config": _json,
    "speculative-config": _json,
    "kv-transfer-config": _json,
    "additional-config": _json,
}
