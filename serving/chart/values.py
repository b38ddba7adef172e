"""A chart's values document, taken apart parameter by parameter."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

SERVER = "inference.modelServer"
DEPLOYMENT = f"{SERVER}.deployment"


class Values:
    """A values document from which parameters are taken one by one; what is left was not understood."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.rest: dict[str, Any] = _copied(document)

    def take(self, path: str, default: Any = None) -> Any:
        """Removes a parameter and returns it; the default if it is not there or empty."""
        *parents, last = path.split(".")
        part = self.rest
        for name in parents:
            inner = part.get(name)
            if not isinstance(inner, dict):
                return default
            part = inner
        value = part.pop(last, None)
        return default if value is None or value in ("", {}, []) else value

    def put_back(self, path: str, value: Any) -> None:
        """Puts a parameter back that is not understood after all."""
        *parents, last = path.split(".")
        part = self.rest
        for name in parents:
            part = part.setdefault(name, {})
        part[last] = value

    def leaves(self) -> Iterator[tuple[str, Any]]:
        """Yields what is left, empty values not counted."""
        yield from leaves(self.rest, "")


def _copied(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {key: _copied(value) for key, value in part.items()}
    return list(part) if isinstance(part, list) else part


def leaves(part: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yields the parameters of a part of a document, with their whole paths; empty values not counted."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif part not in (None, "", []):
        yield path, part


def snake(name: str) -> str:
    """Returns a camelCase name in snake_case."""
    return re.sub(r"(?<!^)([A-Z])", lambda match: "_" + match[1].lower(), name)


def flag(name: str) -> str:
    """Returns the command-line flag of a camelCase name."""
    return "--" + snake(name).replace("_", "-")


def text_of(value: Any) -> str:
    """Returns a value as the chart would print it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def unquoted(text: str) -> str:
    """Strips quotes that were meant for a shell: the chart's values pass through one, ours do not."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == "'" else text


def number(value: Any) -> Any:
    """Returns a number that was written as text as the number that it is."""
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
