"""Why the engine does not start, with the last line that the real one's traceback would have."""


class EngineError(Exception):
    """The engine cannot start.

    Args:
        kind: Python's name of the exception that the real engine raises, with its module.
        message: Its text.
        in_core: It comes from the engine core's process, so its lines carry that prefix.
        frames: Places of the traceback, outermost first: path and function.
    """

    def __init__(
        self, kind: str, message: str, *, in_core: bool = False, frames: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.in_core = in_core
        self.frames = frames

    @property
    def traceback(self) -> str:
        """The traceback as Python prints it."""
        lines = ["Traceback (most recent call last):"]
        lines += [f'  File "{path}", line 1, in {function}' for path, function in self.frames]
        return "\n".join([*lines, f"{self.kind}: {self.message}"])


def cannot_find_config(model: str) -> EngineError:
    """No config.json where the model should be."""
    return EngineError(
        "ValueError",
        f"Invalid repository ID or local directory specified: '{model}'.\nPlease verify the following requirements:\n"
        "1. Provide a valid Hugging Face repository ID.\n"
        "2. Specify a local directory that contains a recognized configuration file.\n"
        "   - For Hugging Face models: ensure the presence of a 'config.json'.\n"
        "   - For Mistral models: ensure the presence of a 'params.json'.",
        frames=(("vllm/transformers_utils/config.py", "get_config"),),
    )


def cannot_find_weights(model: str) -> EngineError:
    """No safetensors file where the model should be."""
    return EngineError(
        "RuntimeError",
        f"Cannot find any model weights with `{model}`",
        in_core=True,
        frames=(("vllm/model_executor/model_loader/default_loader.py", "_prepare_weights"),),
    )


def cannot_load_tokenizer(model: str) -> EngineError:
    """No tokenizer where the model should be."""
    return EngineError(
        "OSError",
        f"Can't load tokenizer for '{model}'. If you were trying to load it from 'https://huggingface.co/models', make"
        f" sure you don't have a local directory with the same name. Otherwise, make sure '{model}' is the correct path"
        " to a directory containing all relevant files for a PreTrainedTokenizerFast tokenizer.",
        frames=(("transformers/tokenization_utils_base.py", "from_pretrained"),),
    )


def broken_safetensors(path: str, what: str) -> EngineError:
    """A safetensors file that cannot be read."""
    return EngineError(
        "safetensors_rust.SafetensorError",
        f"Error while deserializing header: {what} ({path})",
        in_core=True,
        frames=(("vllm/model_executor/model_loader/weight_utils.py", "safetensors_weights_iterator"),),
    )


def not_as_staged(problem: str) -> EngineError:
    """The files are not what the manifest lists: a check of this stand-in, which the real engine lacks."""
    return EngineError(
        "RuntimeError",
        f"The model files are not what was staged: {problem}",
        in_core=True,
        frames=(("sandbox/engine/model.py", "verify"),),
    )


def invalid_config(name: str, message: str) -> EngineError:
    """A combination of options that vLLM's configuration refuses, as pydantic words it."""
    return EngineError(
        "pydantic_core._pydantic_core.ValidationError",
        f"1 validation error for {name}\n  Value error, {message} [type=value_error, input_value=ArgsKwargs(()),"
        " input_type=ArgsKwargs]",
        frames=(("vllm/engine/arg_utils.py", "create_engine_config"),),
    )
