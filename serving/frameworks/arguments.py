"""Engine arguments as one list that reaches the process as written."""

import re
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel

from serving.spec import VllmOptions

_EXPANDED = re.compile(r"\$(?=[$(])")


def literal(value: str) -> str:
    """Escapes a value so that Kubernetes' ``$(NAME)`` expansion of args, command and env gives it back as it was."""
    return _EXPANDED.sub("$$", value)


def as_written(command: Sequence[str]) -> list[str]:
    """Escapes a whole command line, see `literal`."""
    return [literal(part) for part in command]


def flag(name: str) -> str:
    """Returns the command-line flag of an option: ``max_model_len`` → ``--max-model-len``."""
    return "--" + name.replace("_", "-")


def option_flags(options: BaseModel, *, leave_out: frozenset[str] = frozenset()) -> list[str]:
    """Turns options into flags: booleans as ``--name`` or ``--no-name``, None not at all, the rest with its value."""
    arguments: list[str] = []
    for name, value in options:
        if value is None or name in leave_out:
            continue
        if isinstance(value, bool):
            arguments.append(flag(name) if value else f"--no-{flag(name)[2:]}")
        else:
            arguments += [flag(name), str(value)]
    return arguments


def vllm_flags(options: VllmOptions, *, tensor_parallel_size: int | None = None) -> list[str]:
    """Returns vLLM's flags for the options, `extra_args` last.

    Args:
        options: The engine's options.
        tensor_parallel_size: Used where the options leave it out.
    """
    chosen = options
    if options.tensor_parallel_size is None and tensor_parallel_size is not None:
        chosen = options.model_copy(update={"tensor_parallel_size": tensor_parallel_size})
    arguments = option_flags(chosen, leave_out=frozenset({"trust_remote_code", "extra_args"}))
    if chosen.trust_remote_code:
        arguments.append("--trust-remote-code")
    return [*arguments, *chosen.extra_args]


def vllm_engine_options(options: VllmOptions, *, tensor_parallel_size: int | None = None) -> dict[str, Any]:
    """Returns vLLM's engine options as a mapping, for stacks that take them so (Ray Serve, Triton).

    Raises:
        ValueError: `extra_args` cannot be read as options.
    """
    chosen = options.model_dump(exclude_none=True, exclude={"extra_args", "trust_remote_code"})
    if tensor_parallel_size is not None:
        chosen.setdefault("tensor_parallel_size", tensor_parallel_size)
    if options.trust_remote_code:
        chosen["trust_remote_code"] = True
    return chosen | options_from_arguments(options.extra_args)


def options_from_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """Reads command-line arguments as engine options: ``--swap-space 4`` → ``swap_space: 4``.

    Values are read as YAML scalars or JSON; a flag without value is true, ``--no-…`` false.

    Raises:
        ValueError: An argument does not begin with ``--`` where a flag is due.
    """
    found: dict[str, Any] = {}
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        if not argument.startswith("--") or len(argument) < 3:
            raise ValueError(f"{argument!r} should be a flag that begins with --")
        name, equals, value = argument[2:].partition("=")
        key = name.replace("-", "_")
        if equals:
            found[key] = _scalar(value)
        elif remaining and not remaining[0].startswith("--"):
            found[key] = _scalar(remaining.pop(0))
        elif key.startswith("no_"):
            found[key[3:]] = False
        else:
            found[key] = True
    return found


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
