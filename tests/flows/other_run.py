"""Another run that has an endpoint's lease while a flow under test looks at the endpoint."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from kube.connect import Cluster, from_kubeconfig
from kube.lease import LeaseTerms, held
from serving.record import ENDPOINT_LABEL
from tasks.record import lease_name
from tests.flows.conftest import World
from tests.flows.live_endpoint import wait_until

HOLDER = "a-deploy"
"""Its name."""


@contextmanager
def other_run(cluster: Cluster, namespace: str, endpoint: str) -> Iterator[None]:
    """It has the lease for as long as the block lasts."""
    labels = {ENDPOINT_LABEL: endpoint}
    terms = LeaseTerms(namespace=namespace, name=lease_name(endpoint), holder=HOLDER, labels=labels, seconds=60)
    with held(cluster, terms):
        yield


def nothing(_: Cluster) -> None:
    """What a run does that leaves an endpoint as it was."""


@contextmanager
def other_run_until_the_hub_was_asked(
    place: World, endpoint: str, meanwhile: Callable[[Cluster], None] = nothing
) -> Iterator[None]:
    """It has the lease until a refresh has read the record and asked the Hub; what it does, it does then."""
    asked = len(place.hub_server.requests)
    has_it = threading.Event()

    def work() -> None:
        with (
            from_kubeconfig(place.kubernetes.kubeconfig) as cluster,
            other_run(cluster, place.cluster.namespace, endpoint),
        ):
            has_it.set()
            wait_until(lambda: len(place.hub_server.requests) > asked)
            meanwhile(cluster)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(work)
        try:
            assert has_it.wait(60)
            yield
        finally:
            other.result(120)
