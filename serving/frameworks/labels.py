"""Labels and annotations of everything that belongs to an endpoint."""

import re

from serving.models import StagedModel
from serving.record import ENDPOINT_LABEL
from serving.release import Release
from serving.spec import EndpointSpec

MANAGED_BY = "inference-flows"
COMPONENT_LABEL = "app.kubernetes.io/component"
RELEASE_LABEL = "inference-flows/release"
MODEL_LABEL = "inference-flows/model"
COMMIT_LABEL = "inference-flows/commit"
PRESET_LABEL = "inference-flows/preset"
RUN_LABEL = "inference-flows/run"
GATEWAY_MODEL_LABEL = "model.aibrix.ai/name"
"""What AIBrix' gateway finds a model's pods by; those of a release that is not promoted are without it."""
MODEL_ANNOTATION = "inference-flows/model"
STAGED_ANNOTATION = "inference-flows/staged-model"


def label_value(text: str) -> str:
    """Returns the text as a label may hold it: at most 63 letters, digits, ``-``, ``_`` and ``.``."""
    return re.sub(r"[^A-Za-z0-9_.-]+", ".", text)[:63].strip("._-")


def selector(release: Release) -> dict[str, str]:
    """Returns what finds the pods of one release."""
    return {COMPONENT_LABEL: release.endpoint, ENDPOINT_LABEL: release.endpoint, RELEASE_LABEL: release.id}


def pod_labels(spec: EndpointSpec, release: Release) -> dict[str, str]:
    """Returns the labels of the pods: only what belongs to the release, so that nothing else starts a rollout.

    The user's own come first: ours, which selectors rely on, win.
    """
    return spec.pod.labels | identity(spec, release)


def identity(spec: EndpointSpec, release: Release) -> dict[str, str]:
    """Returns the labels that say what something belongs to."""
    return {
        "app.kubernetes.io/name": spec.framework.value,
        "app.kubernetes.io/instance": release.name,
        COMPONENT_LABEL: spec.name,
        "app.kubernetes.io/managed-by": MANAGED_BY,
        ENDPOINT_LABEL: spec.name,
        RELEASE_LABEL: release.id,
        MODEL_LABEL: label_value(release.model.repo_id),
        COMMIT_LABEL: release.model.commit,
    }


def object_labels(spec: EndpointSpec, release: Release) -> dict[str, str]:
    """Returns the labels of every object of the endpoint."""
    labels = identity(spec, release)
    if spec.preset:
        labels[PRESET_LABEL] = spec.preset
    return labels


def workload_labels(spec: EndpointSpec, release: Release) -> dict[str, str]:
    """Returns the labels of the workload object: the run stands here alone, where it moves no generation."""
    labels = object_labels(spec, release)
    if release.run:
        labels[RUN_LABEL] = label_value(release.run)
    return labels


def annotations(release: Release, staged: StagedModel | None) -> dict[str, str]:
    """Returns what labels cannot hold: the model's full name and where its weights stand."""
    found = {MODEL_ANNOTATION: release.model.repo_id}
    if staged is not None:
        found[STAGED_ANNOTATION] = staged.uri
    return found
