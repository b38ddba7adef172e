"""Results of load tests in the store, one below the other for each endpoint. No Prefect here.

<prefix>/.benchmarks/<namespace>/<endpoint>/<started>-<run>/result.json     what every run leaves
<prefix>/.benchmarks/<namespace>/<endpoint>/<started>-<run>/charts.svg      its picture
<prefix>/.benchmarks/<namespace>/<endpoint>/<started>-<run>/…               what the engine reported, as it came
"""

import hashlib
from collections.abc import Mapping

from pydantic import ValidationError

from serving.benchmark.comparison import comparable
from serving.benchmark.result import BenchmarkResult
from staging.layout import base
from staging.store import StoreAccess, explained, s3

ROOT = ".benchmarks/"
"""Below the store's prefix; no organization of the Hub begins with a dot."""

RESULT = "result.json"
LOOKED_AT = 50
"""Newest results that are looked at for one of the same load."""

_TYPES = {".json": "application/json", ".svg": "image/svg+xml", ".yml": "application/yaml"}


def results_prefix(store: StoreAccess, result: BenchmarkResult) -> str:
    """Returns the key prefix of a result: names of the same endpoint sort by time."""
    moment = "".join(letter for letter in result.started_at if letter.isalnum())[:15]
    run = hashlib.sha256(f"{result.flow_run}{result.started_at}".encode()).hexdigest()[:8]
    return f"{_all_of(store, result.namespace, result.endpoint)}{moment}-{run}/"


def save(store: StoreAccess, result: BenchmarkResult, files: Mapping[str, str]) -> str:
    """Writes a result and what belongs to it, the result last; returns where it stands.

    Raises:
        StoreError: The store cannot be written.
    """
    prefix = results_prefix(store, result)
    for name, text in {**files, RESULT: result.model_dump_json(indent=1)}.items():
        kind = next((kind for ending, kind in _TYPES.items() if name.endswith(ending)), "text/plain")
        with explained(store, "s3:PutObject"):
            s3(store).put_object(Bucket=store.bucket, Key=prefix + name, Body=text.encode(), ContentType=kind)
    return f"s3://{store.bucket}/{prefix}"


def previous(store: StoreAccess, now: BenchmarkResult) -> BenchmarkResult | None:
    """Returns the newest earlier result of the same load on the same endpoint; None if there is none.

    What another version wrote and this one cannot read is passed over.

    Raises:
        StoreError: The store cannot be read.
    """
    keys: list[str] = []
    prefix = _all_of(store, now.namespace, now.endpoint)
    with explained(store, "s3:ListBucket"):
        for page in s3(store).get_paginator("list_objects_v2").paginate(Bucket=store.bucket, Prefix=prefix):
            keys += [item["Key"] for item in page.get("Contents", []) if item["Key"].endswith(f"/{RESULT}")]
    own = results_prefix(store, now) + RESULT
    for key in sorted((key for key in keys if key < own), reverse=True)[:LOOKED_AT]:
        with explained(store, "s3:GetObject"):
            text = s3(store).get_object(Bucket=store.bucket, Key=key)["Body"].read()
        try:
            found = BenchmarkResult.model_validate_json(text)
        except ValidationError:
            continue
        if comparable(found, now):
            return found
    return None


def _all_of(store: StoreAccess, namespace: str, endpoint: str) -> str:
    return f"{base(store.prefix)}{ROOT}{namespace}/{endpoint}/"
