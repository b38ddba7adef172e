"""Engine arguments as one list that reaches the process as written."""

import re

from pydantic import BaseModel

from serving.spec import VllmOptions

_EXPANDED = re.compile(r"\$(?=[$(])")


def literal(value: str) -> str:
    """Escapes a value so that Kubernetes' ``$(NAME)`` expansion of args, command and env gives it back as it was."""
    return _EXPANDED.sub("$$", value)


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
