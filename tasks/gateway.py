"""Which of a release's pods AIBrix' gateway may send requests to. No Prefect here.

The gateway sends plain requests to the Service that is called like the model, which is the endpoint's: these follow a
promotion as everywhere. Requests with a routing strategy it sends straight to ready pods with the model's label,
whatever Service selects them, and it follows changes of a pod's labels (AIBrix, ``pkg/cache/informers.go``). The label
stands in the pod template, so that pods which come later have it; a candidate's pods lose it as soon as they exist,
long before they are ready, and get it back when the candidate is promoted. No pod restarts for that, for no selector
of ours names this label.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from kube.connect import Cluster
from kube.patch import patch
from kube.read import list_
from kube.watch import Change, WatchTarget, watch
from serving.errors import ClusterError
from serving.frameworks.labels import GATEWAY_MODEL_LABEL, selector
from serving.frameworks.vllm import gateway_labels
from serving.release import Release
from serving.spec import EndpointSpec, Framework


@contextmanager
def kept_out(spec: EndpointSpec, release: Release, cluster: Cluster) -> Iterator[None]:
    """Keeps a candidate's pods out of the gateway's sight for as long as the block lasts and until `let_in`.

    Other frameworks have no such gateway: nothing is done for them.

    Raises:
        ClusterError: In the end, pods could not be kept out.
    """
    if spec.framework is not Framework.AIBRIX:
        yield
        return
    stop = threading.Event()
    keeper = threading.Thread(target=_keep_out, args=(spec, release, cluster, stop), daemon=True, name="kept-out")
    keeper.start()
    try:
        yield
    finally:
        stop.set()
        keeper.join(timeout=10.0)
    let_out(spec, release, cluster)


def let_in(spec: EndpointSpec, release: Release, cluster: Cluster) -> None:
    """Has the gateway see a release's pods."""
    _label(spec, release, cluster, spec.name)


def let_out(spec: EndpointSpec, release: Release, cluster: Cluster) -> None:
    """Has the gateway see a release's pods no longer."""
    _label(spec, release, cluster, None)


def _label(spec: EndpointSpec, release: Release, cluster: Cluster, value: str | None) -> None:
    if not gateway_labels(spec):
        return
    for pod in list_(cluster, "v1", "Pod", spec.namespace, labels=_selector(release)):
        metadata = pod["metadata"]
        if metadata.get("labels", {}).get(GATEWAY_MODEL_LABEL) != value:
            _set(cluster, spec.namespace, metadata["name"], value)


def _keep_out(spec: EndpointSpec, release: Release, cluster: Cluster, stop: threading.Event) -> None:
    target = WatchTarget("v1", "Pod", spec.namespace, labels=f"{_selector(release)},{GATEWAY_MODEL_LABEL}")
    while not stop.is_set():
        try:
            with closing(watch(cluster, [target], deadline=None, stop=stop)) as events:
                for event in events:
                    if event.type in (Change.ADDED, Change.MODIFIED):
                        _set(cluster, spec.namespace, event.object["metadata"]["name"], None)
        except ClusterError:
            time.sleep(1.0)  # what lasts is told when the pods are looked at in the end


def _set(cluster: Cluster, namespace: str, pod: str, value: str | None) -> None:
    patch(cluster, "v1", "Pod", pod, {"metadata": {"labels": {GATEWAY_MODEL_LABEL: value}}}, namespace=namespace)


def _selector(release: Release) -> str:
    return ",".join(f"{key}={value}" for key, value in selector(release).items())
