"""Names, times and identities that the server gives to objects."""

import random
import uuid
from datetime import UTC, datetime, timedelta

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own: no vowels, so that no words arise."""


def random_suffix() -> str:
    """Five characters, as `generateName` appends them."""
    return "".join(random.choices(_ALPHABET, k=5))


def new_uid() -> str:
    """A fresh UID."""
    return str(uuid.uuid4())


def now(after_seconds: float = 0) -> str:
    """The time in `after_seconds` as objects carry it (`2026-01-31T12:00:00Z`)."""
    return (datetime.now(UTC) + timedelta(seconds=after_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
