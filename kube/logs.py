"""What a container has written."""

import re
from collections.abc import Iterator

import urllib3.exceptions as http

from kube.connect import Cluster
from kube.discovery import group_path
from kube.errors import Failure, cluster_error, failure
from kube.streaming import stream
from kube.transport import Query, Reply, call
from serving.errors import ClusterError

MAX_BYTES = 4 * 1024 * 1024
"""Bytes of a log at most: the last lines are few, but a progress bar can be one very long line."""

_NOT_STARTED = re.compile(r"is waiting to start|previous terminated container .* not found|ContainerCreating")
_CHOICES = re.compile(r"choose one of: \[([^\]]*)\](?: or one of the init containers: \[([^\]]*)\])?")


def logs(
    cluster: Cluster,
    namespace: str,
    pod: str,
    container: str | None = None,
    *,
    previous: bool = False,
    tail_lines: int | None = 500,
    since_seconds: int | None = None,
    timestamps: bool = False,
) -> str:
    """Read a container's log, standard output and error as one.

    Args:
        cluster: Where the pod is.
        namespace: The pod's namespace.
        pod: The pod's name.
        container: May be left out if there is only one.
        previous: The run before the present one, after a crash.
        tail_lines: Only the last lines; None means all (at most `MAX_BYTES`).
        since_seconds: Only what is younger.
        timestamps: Begin each line with its time.

    Returns:
        The log; empty if the container has not started, or has no previous run.

    Raises:
        ClusterError: ``cluster.not_found`` if the pod is gone, ``logs.container`` if there are several containers,
            ``logs.node`` if the pod's node does not answer.
    """
    query: dict[str, str | int | bool] = {"limitBytes": MAX_BYTES}
    if container:
        query["container"] = container
    if previous:
        query["previous"] = True
    if tail_lines is not None:
        query["tailLines"] = tail_lines
    if since_seconds is not None:
        query["sinceSeconds"] = since_seconds
    if timestamps:
        query["timestamps"] = True
    reply = fetch_logs(cluster, namespace, pod, query)
    if reply.status < 400:
        return reply.body.decode(errors="replace")
    failed = failure(reply.status, reply.body)
    if reply.status == 400 and _NOT_STARTED.search(failed.message):
        return ""
    raise _error(failed, cluster, namespace, pod)


def fetch_logs(cluster: Cluster, namespace: str, pod: str, query: Query) -> Reply:
    """Ask for a log and return the answer as it is, refusals included.

    Args:
        cluster: Where the pod is.
        namespace: The pod's namespace.
        pod: The pod's name.
        query: The API's own parameters: ``container``, ``previous``, ``tailLines`` …
    """
    path = f"{group_path('v1')}/namespaces/{namespace}/pods/{pod}/log"
    return call(cluster, "GET", path, doing=_doing(namespace, pod), query=query, headers={"Accept": "*/*"})


def follow_logs(
    cluster: Cluster, namespace: str, pod: str, container: str | None = None, *, silence_seconds: float = 300.0
) -> Iterator[str]:
    """Give a container's lines as they are written, from its beginning, until it ends.

    Args:
        cluster: Where the pod is.
        namespace: The pod's namespace.
        pod: The pod's name.
        container: May be left out if there is only one.
        silence_seconds: Ends, too, when nothing is written for so long.

    Raises:
        ClusterError: As for `logs`; also if the connection breaks.
    """
    query: dict[str, str | int | bool] = {"follow": True}
    if container:
        query["container"] = container
    path = f"{group_path('v1')}/namespaces/{namespace}/pods/{pod}/log"
    doing = _doing(namespace, pod)
    with stream(
        cluster, "GET", path, doing=doing, query=query, headers={"Accept": "*/*"}, read_timeout=silence_seconds
    ) as opened:
        if opened.status >= 400:
            failed = failure(opened.status, opened.read())
            if opened.status == 400 and _NOT_STARTED.search(failed.message):
                return
            raise _error(failed, cluster, namespace, pod)
        try:
            for line in opened.lines():
                yield line.decode(errors="replace")
        except http.ReadTimeoutError:
            return


def _doing(namespace: str, pod: str) -> str:
    return f"read the log of pod {namespace}/{pod}"


def _error(failed: Failure, cluster: Cluster, namespace: str, pod: str) -> ClusterError:
    if several := _CHOICES.search(failed.message):
        names = ", ".join(" ".join(group or "" for group in several.groups()).split())
        return ClusterError(
            f"Could not {_doing(namespace, pod)}: it has several containers.",
            fix=f"Name one of {names}.",
            code="logs.container",
        )
    if "containerLogs" in failed.message:
        return ClusterError(
            f"Could not {_doing(namespace, pod)}: its node does not answer.",
            cause="The node was lost or its kubelet is down; the log is on that node.",
            fix="Look at the node (kubectl describe node); the replacement pod has a log of its own.",
            code="logs.node",
        )
    return cluster_error(failed, server=cluster.server, doing=_doing(namespace, pod))
