"""From pydantic's findings to one sentence a person can act on."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from serving.errors import InputError
from serving.partial import Partly


def close_to(word: str, allowed: Iterable[str]) -> list[str]:
    """Returns up to three of the allowed words that look like `word`, best first."""
    choices = sorted(allowed)
    return difflib.get_close_matches(word, choices, n=3, cutoff=0.5) or [c for c in choices if word and word in c][:3]


def unknown(kind: str, word: str, allowed: Iterable[str]) -> str:
    """Returns the sentence for a name that does not exist, with what was probably meant."""
    choices = sorted(allowed)
    near = close_to(word, choices)
    meant = f"; did you mean {' or '.join(near)}?" if near else "."
    return f"{kind} {word!r} does not exist{meant} Allowed: {', '.join(choices)}."


def problems(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Returns one sentence for each finding: field, value and what is allowed."""
    return [_sentence(finding, model) for finding in error.errors(include_url=False)]


def input_error(what: str, found: Sequence[str], *, fix: str = "", code: str = "input.invalid") -> InputError:
    """Returns the error that names every problem at once.

    Args:
        what: What was read, for example ``Preset qwen3-1.7b-vllm``.
        found: One sentence per problem; at least one.
        fix: What to do next.
        code: Stable name of the failure.
    """
    if not found:
        raise ValueError("an input error needs at least one problem")
    if len(found) == 1:
        return InputError(f"{what}: {found[0]}", fix=fix, code=code)
    listed = " ".join(f"({number}) {problem}" for number, problem in enumerate(found, 1))
    return InputError(f"{what} has {len(found)} problems: {listed}", fix=fix, code=code)


def _sentence(finding: Any, model: type[BaseModel]) -> str:
    location = [str(part) for part in finding["loc"]]
    field = ".".join(location) or "the whole"
    if finding["type"] == "extra_forbidden":
        owner = _model_at(model, location[:-1])
        allowed = sorted(owner.model_fields) if owner else []
        near = close_to(location[-1], allowed)
        meant = f"; did you mean {' or '.join(near)}?" if near else "."
        return f"{field} is not a known field{meant} Allowed: {', '.join(allowed)}."
    if finding["type"] == "missing":
        return f"{field} is missing."
    message = str(finding["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should", "should").rstrip(".")
    if finding["type"] == "value_error":
        return f"{field}: {message}." if location else f"{message}."
    if finding["type"] == "string_pattern_mismatch":
        message = f"should {_pattern_in_words(finding['ctx']['pattern'])}"
    return f"{field} is {_shown(finding['input'])}, {message}."


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


_PATTERNS = {
    r"^[a-z]([a-z0-9-]*[a-z0-9])?$": "begin with a lower-case letter and hold lower-case letters, digits and '-' only",
    r"^[0-9a-f]{40}$": "be a full commit: 40 hexadecimal digits",
}


def _pattern_in_words(pattern: str) -> str:
    if "/" in pattern and "{0,95}" in pattern:
        return "be a Hub repository, organization/name"
    return _PATTERNS.get(pattern, f"match {pattern}")


def _model_at(model: type[BaseModel], location: Sequence[str]) -> type[BaseModel] | None:
    current: type[BaseModel] | None = model
    for part in location:
        if current is None or part not in current.model_fields:
            return None
        field = current.model_fields[part]
        partly = next((mark.fields for mark in field.metadata if isinstance(mark, Partly)), None)
        current = partly or _model_in(field.annotation)
    return current


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
