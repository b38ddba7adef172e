"""Releases brought up without a flow: staged once, rendered, applied, waited for, asked, taken away."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from kube.apply import Applied, apply_all
from kube.connect import Cluster, from_kubeconfig
from serving.build import build_spec
from serving.frameworks import nim
from serving.frameworks.labels import selector
from serving.frameworks.workload import Manifest
from serving.models import ModelSource, PinnedModel, StagedModel
from serving.readiness import Readiness
from serving.release import Release, release_of
from serving.rendering import render
from serving.smoke import SmokeReport, expectation_for
from serving.spec import Accelerator, EndpointSpec, Framework, WeightsSource
from staging.engine import stage
from staging.hub import pin
from staging.plan import plan
from tasks.release import take_away
from tasks.rollout import wait_for_rollout
from tasks.smoke import Address, ask, own_address
from tasks.wait import workload_of
from tests.flows.conftest import NAMESPACE, World

MODEL = ModelSource(repo_id="Qwen/Qwen3-1.7B")


@cache
def staged_model(world: World, source: ModelSource = MODEL) -> StagedModel:
    """The model in the store."""
    return stage(plan(pin(source, world.hub.access()), world.hub.access(), world.store.access())).staged


def spec_of(
    framework: Framework, accelerator: Accelerator = Accelerator.GPU, name: str = "", **fields: Any
) -> EndpointSpec:
    """An endpoint for the sandbox: small pods that end at once."""
    given = {
        "name": name or f"{framework.value}-{accelerator.value}",
        "namespace": NAMESPACE,
        "model": MODEL,
        "pod": {"drain_seconds": 0},
        **fields,
    }
    return build_spec(framework, accelerator, given)


@dataclass
class Trial:
    """A release on its way."""

    world: World
    spec: EndpointSpec
    release: Release
    manifests: list[Manifest]
    cluster: Cluster
    seen: list[Readiness] = field(default_factory=list)

    def apply(self) -> list[Applied]:
        """Applies what was rendered."""
        return apply_all(self.cluster, self.manifests)

    def wait(self, timeout_seconds: float = 60.0) -> Readiness:
        """Waits as a deploy does."""
        return wait_for_rollout(
            self.cluster,
            workload_of(self.manifests),
            selector(self.release),
            timeout_seconds=timeout_seconds,
            note=self.seen.append,
            stop=threading.Event(),
        )

    @property
    def address(self) -> Address:
        """The release's own Service."""
        return own_address(self.release, self.spec.namespace, self.manifests)

    def ask(self) -> SmokeReport:
        """Asks as a deploy does."""
        return ask(self.address, expectation_for(self.spec), self.cluster)


def _pinned(world: World, spec: EndpointSpec) -> PinnedModel:
    return nim.pinned(spec) if spec.framework is Framework.NIM else pin(spec.model, world.hub.access())


@contextmanager
def trial(world: World, spec: EndpointSpec) -> Iterator[Trial]:
    """Renders a release; in the end nothing of it is left."""
    staged = None if spec.weights is WeightsSource.HUB else staged_model(world, spec.model)
    pinned = staged.model if staged else _pinned(world, spec)
    release = release_of(spec, pinned, staged)
    with from_kubeconfig(world.kubernetes.kubeconfig) as cluster:
        found = Trial(world, spec, release, render(spec, staged, release), cluster)
        try:
            yield found
        finally:
            take_away(spec, found.release, cluster)
