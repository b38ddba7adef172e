"""Everything about a deploy that can be refused, looked at before anything changes."""

from dataclasses import dataclass

from flows.target import Target
from kube.connect import Cluster
from serving.frameworks.nim import pinned as pinned_by_image
from serving.models import PinnedModel, StagedFile, StagedModel
from serving.release import release_of
from serving.rendering import render
from serving.spec import EndpointSpec, Framework, WeightsSource
from staging.plan import StagePlan
from tasks.fit import check_fit
from tasks.preflight import preflight
from tasks.runs import describe_deploy
from tasks.stage import check_model_store, pin_model, plan_staging
from tasks.together import all_of


@dataclass(frozen=True)
class LookedUp:
    """What was found out about the model: the commit, and the plan of its staging unless pods load from the Hub."""

    pinned: PinnedModel
    plan: StagePlan | None

    @property
    def expected(self) -> StagedModel | None:
        """The staged model, or what it will be."""
        return (self.plan.staged or _as_if_staged(self.plan)) if self.plan else None


async def look(spec: EndpointSpec, target: Target, pinned: PinnedModel | None, cluster: Cluster) -> LookedUp:
    """Asks the Hub, the store and the cluster at the same time, and whether the model fits; changes nothing.

    Args:
        spec: What the endpoint is to be.
        target: Where.
        pinned: The commit to serve; by default what the spec's revision is now.
        cluster: The target's cluster.

    Raises:
        InferenceError: It cannot work, with cause and fix.
    """
    looks = _look_at_model(spec, target, pinned), preflight(spec, cluster), describe_deploy(spec)
    model: LookedUp = (await all_of(*looks))[0]
    staged = model.expected
    manifests = render(spec, staged, release_of(spec, model.pinned, staged))
    await check_fit(spec, model.pinned, model.plan, manifests, target.hub.access(), cluster)
    return model


async def _look_at_model(spec: EndpointSpec, target: Target, pinned: PinnedModel | None) -> LookedUp:
    if spec.framework is Framework.NIM:
        return LookedUp(pinned_by_image(spec), None)
    known = _given(pinned) if pinned else pin_model(spec.model, target.hub)
    if spec.weights is WeightsSource.HUB:
        return LookedUp(await known, None)
    pinned, _ = await all_of(known, check_model_store(target.store))
    return LookedUp(pinned, await plan_staging(pinned, target.hub, target.store))


def _as_if_staged(plan: StagePlan) -> StagedModel:
    """The staged model as far as it is known before a byte moved: checksums of small files show as zeros."""
    files = tuple(
        StagedFile(path=entry.file.path, size=entry.file.size, sha256=entry.sha256 or entry.file.sha256 or "0" * 64)
        for entry in plan.files
    )
    return StagedModel(
        model=plan.model, uri=plan.uri, files=files, region=plan.store.region, endpoint_url=plan.store.endpoint_url
    )


async def _given(pinned: PinnedModel) -> PinnedModel:
    return pinned
