"""A release's name: the same for the same pods, another for any change that a pod would notice.

Everything that belongs to a release carries its name, so that two releases of an endpoint stand side by side: the new
one is proved before the endpoint's own Service points at it.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from serving.models import PinnedModel, StagedModel
from serving.spec import EndpointSpec

RENDERING = 1
"""Which pods come of a spec: raised by one whenever the renderers make others of the same spec.

It is part of a release's name from 2 on. So what a later version renders otherwise becomes another release with the
endpoint's next run, proved beside the one that runs, which would be rolled in place if it kept its name.
tests/serving/test_rendering_number.py holds what each number renders, and fails when other pods come of it.
"""

_NOT_IN_PODS: dict[str, Any] = {
    "namespace": True,
    "replicas": True,
    "preset": True,
    "autoscaling": True,
    "rollout": True,
    "refresh": True,
    "smoke": True,
    "pod": {"service_annotations", "monitor", "monitor_labels", "monitor_seconds"},
}
_ENDPOINT_PART = 36
"""Letters of the endpoint's name in the release's: a RayService may have 47 in all."""


@dataclass(frozen=True)
class Release:
    """What the renderers need to know of a release besides spec and staged model.

    Attributes:
        endpoint: Name of the endpoint that it may come to serve.
        id: Ten hexadecimal digits, from the spec, the commit, the staged prefix and `RENDERING`.
        model: The commit that is served.
        run: Flow run that applies it; empty outside a run. It stands in a label of the workload object only: labels
            of an object move no generation, annotations and pod templates do.
    """

    endpoint: str
    id: str
    model: PinnedModel
    run: str = ""

    @property
    def name(self) -> str:
        """Name of the release's objects: workload, candidate Service and what they need; at most 47 letters."""
        return f"{self.endpoint[:_ENDPOINT_PART].rstrip('-')}-{self.id}"


def release_of(spec: EndpointSpec, model: PinnedModel, staged: StagedModel | None, *, run: str = "") -> Release:
    """Names the release of `model` with `spec`.

    What changes no pod (replicas, autoscaling, refresh policy, smoke test, preset) changes no release; fields at their
    default do not count, so that a new field of a later version renames nothing.
    """
    document = spec.model_dump(mode="json", exclude=_NOT_IN_PODS, exclude_defaults=True)
    # A group of which only fields that pods do not notice are set says nothing.
    document = {name: value for name, value in document.items() if value != {}}
    document["model"] = [model.repo_id, model.commit]
    document["staged"] = [staged.uri, staged.region, staged.endpoint_url] if staged else []
    if RENDERING > 1:  # names from before it was counted stay
        document["rendering"] = RENDERING
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return Release(endpoint=spec.name, id=hashlib.sha256(canonical.encode()).hexdigest()[:10], model=model, run=run)
