"""JSON trees: copying and comparing them, fast, for they are copied and compared on every write."""

from typing import Any

import orjson


def clone(tree: dict[str, Any]) -> dict[str, Any]:
    """A deep copy of a JSON object."""
    copied: dict[str, Any] = orjson.loads(orjson.dumps(tree))
    return copied


def compact_json(tree: object, *, sort: bool = False) -> str:
    """JSON without spaces, as Go's encoder writes it."""
    return orjson.dumps(tree, option=orjson.OPT_SORT_KEYS if sort else None).decode()
