"""Endpoints that exist as a record alone: what looks at many of them needs no pods."""

from typing import Any

from kube.apply import apply
from kube.connect import Cluster
from serving.models import ModelSource, PinnedModel
from serving.record import EndpointRecord, ReleaseRecord, to_manifest
from serving.spec import Accelerator, Framework
from tests.flows.releases import spec_of


def record_only(
    name: str, namespace: str, repo_id: str, commit: str, *, revision: str = "main", staged_uri: str = "", **spec: Any
) -> EndpointRecord:
    """An endpoint that serves a commit, as its record says."""
    source = ModelSource(repo_id=repo_id, revision=revision)
    made = spec_of(Framework.VLLM, Accelerator.GPU, name, namespace=namespace, model=source, **spec)
    current = ReleaseRecord(
        spec=made,
        id=commit[:10],
        model=PinnedModel(repo_id=repo_id, revision=revision, commit=commit),
        staged_uri=staged_uri,
        staged_bytes=1000,
        moved_bytes=0,
        image=made.image,
        flow_run="",
        deployed_at="2026-11-20T12:00:00+00:00",
    )
    return EndpointRecord(current=current)


def write(cluster: Cluster, *records: EndpointRecord) -> None:
    """Puts records into the cluster."""
    for record in records:
        apply(cluster, to_manifest(record))
