"""Do an endpoint's live objects say what was applied? Asked of the API server as a dry run; changes nothing."""

from dataclasses import replace

from blocks.store import ModelStore
from kube.apply import MANAGER, apply
from kube.connect import Cluster
from kube.diff import content
from kube.read import describe, get
from kube.redact import redact_text
from serving.drift import Drift, DriftKind, drift
from serving.errors import ApplyError, StagingError
from serving.frameworks.workload import Manifest
from serving.models import StagedModel
from serving.record import EndpointRecord
from serving.release import Release, release_of
from serving.rendering import render, render_aliases, render_endpoint
from staging.layout import staged_prefix
from staging.manifest import find_staged
from tasks.release import bringing_run


class NotComparable(Exception):
    """What was applied cannot be rendered here; says why."""


def find_drift(record: EndpointRecord, store: ModelStore, cluster: Cluster) -> tuple[Drift, ...]:
    """Compares all objects of the release that serves, and the endpoint's Services, with what was applied.

    Raises:
        NotComparable: It is staged in another store, or another version of the project rendered it.
        StagingError: ``staging.not_staged``: its weights are gone.
        ClusterError: The API cannot be reached or refuses.
        StoreError: The model store cannot be read.
    """
    manifests = applied_manifests(record, store, cluster)
    return tuple(one for manifest in manifests for one in _compared(manifest, cluster))


def applied_manifests(record: EndpointRecord, store: ModelStore, cluster: Cluster) -> list[Manifest]:
    """The manifests that were applied for what serves now, rendered again. Raises as `find_drift`."""
    release = record.serving
    staged: StagedModel | None = None
    if release.staged_uri:
        access = store.access()
        here = f"s3://{access.bucket}/{staged_prefix(access.prefix, release.model, access.layout)}"
        if here != release.staged_uri:
            raise NotComparable(f"its weights stand at {release.staged_uri}, which is not in the given model store")
        staged = find_staged(release.model, access)
        if staged is None:
            raise StagingError(
                f"The weights of release {release.id} are gone from {release.staged_uri}.",
                cause="Pods that start now find none: it cannot be scaled, and does not survive the loss of a node.",
                fix="Deploy the endpoint again: that stages them.",
                code="staging.not_staged",
            )
    same = release_of(release.spec, release.model, staged)
    if same.id != release.id:
        raise NotComparable(f"another version of inference-flows rendered release {release.id}")
    known = replace(same, run=bringing_run(release.spec, same, cluster))
    return [*render(release.spec, staged, known), *_services(record, known)]


def _services(record: EndpointRecord, release: Release) -> list[Manifest]:
    spec = record.serving.spec
    return [render_endpoint(spec, release), *render_aliases(spec, release)]


def _compared(manifest: Manifest, cluster: Cluster) -> list[Drift]:
    metadata = manifest["metadata"]
    kind, name, namespace = manifest["kind"], metadata["name"], metadata.get("namespace", "")
    called = describe(kind, name, namespace)
    live = get(cluster, manifest["apiVersion"], kind, name, namespace or None)
    if live is None:
        return [Drift(called, DriftKind.MISSING)]
    try:
        would_be = apply(cluster, manifest, force=True, dry_run=True).object
    except ApplyError as error:
        # A field that cannot be changed any more: the API server's own words tell which.
        return [Drift(called, DriftKind.CHANGED, field=f"in a way that no apply brings back ({error.what})")]
    managers = live["metadata"].get("managedFields") or []
    after = would_be["metadata"].get("managedFields") or []
    found = drift(called, content(live), content(would_be), managers, MANAGER, after)
    return [replace(one, live=redact_text(one.live), wanted=redact_text(one.wanted)) for one in found]
