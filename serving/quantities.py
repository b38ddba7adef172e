"""Kubernetes quantities: ``500m`` CPU, ``16Gi`` memory."""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

_QUANTITY = re.compile(
    r"^([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,2})|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei))?$"
)
_SMALL = {"n": 10**9, "u": 10**6, "m": 10**3}
_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}

GIB = 2**30


def parse(quantity: str | int | float) -> Decimal:
    """Returns the quantity in its base unit: bytes, cores or devices.

    Raises:
        ValueError: It is not a quantity as Kubernetes writes them.
    """
    match = _QUANTITY.match(str(quantity))
    if match is None:
        raise ValueError(f"should be a Kubernetes quantity such as 2, 500m or 16Gi, not {quantity!r}")
    number, unit = Decimal(match[1]).scaleb(int(match[2] or 0)), match[3] or ""
    if unit in _SMALL:
        return number / _SMALL[unit]
    return number * (_DECIMAL[unit] if unit in _DECIMAL else _BINARY[unit])


def gibibytes(size: int) -> str:
    """Returns the bytes as whole GiB, rounded up: ``7Gi``."""
    return f"{-(-size // GIB)}Gi"


def human(size: float) -> str:
    """Returns bytes for people: ``3.4 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} TB"


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _checked(value: str) -> str:
    if value:
        parse(value)
    return value


Quantity = Annotated[str, BeforeValidator(_as_text), AfterValidator(_checked)]
"""A quantity as text, numbers accepted; empty means not set."""
