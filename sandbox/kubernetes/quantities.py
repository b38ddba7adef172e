"""Resource quantities: parsing and the canonical form in which the server stores them."""

import re
from fractions import Fraction
from functools import lru_cache

_PATTERN = re.compile(r"^([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]+|)$")
_BINARY = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4, "Pi": 1024**5, "Ei": 1024**6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BAD_QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def _split(text: str) -> tuple[Fraction, str]:
    match = _PATTERN.match(text)
    if match is None:
        raise ValueError(BAD_QUANTITY)
    number, suffix = match.groups()
    if suffix in _BINARY:
        return Fraction(number) * _BINARY[suffix], suffix
    exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
    return Fraction(number) * Fraction(10) ** exponent, suffix


@lru_cache(maxsize=4096)
def parse(quantity: str | float) -> Fraction:
    """The exact value of a quantity.

    Raises:
        ValueError: it is not a quantity.
    """
    return _split(str(quantity))[0]


@lru_cache(maxsize=4096)
def canonical(quantity: str | float) -> str:
    """The quantity as the server writes it: no fraction, the largest suffix of its family (`1024Mi` → `1Gi`).

    Raises:
        ValueError: it is not a quantity.
    """
    value, suffix = _split(str(quantity))
    if suffix in _BINARY and abs(value) >= 1024 and value.denominator == 1:
        return _with_binary_suffix(value.numerator)
    exponent = suffix[:1] in ("e", "E") and len(suffix) > 1
    return _with_decimal_suffix(value, "e" if exponent else "")


def _with_binary_suffix(value: int) -> str:
    for suffix in reversed(_BINARY):
        if value % _BINARY[suffix] == 0:
            return f"{value // _BINARY[suffix]}{suffix}"
    return str(value)


def _with_decimal_suffix(value: Fraction, style: str) -> str:
    if value == 0:
        return "0"
    for suffix, exponent in sorted(_DECIMAL.items(), key=lambda pair: -pair[1]):
        scaled = value / Fraction(10) ** exponent
        if scaled.denominator == 1:
            if style and exponent:
                return f"{scaled.numerator}{style}{exponent}"
            return f"{scaled.numerator}{suffix}"
    # Finer than nano: the server rounds up.
    return f"{-(-value.numerator * 10**9 // value.denominator)}n"
