"""The log subresource of pods: what can be answered from the pod itself, and the node for the rest."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response, StreamingResponse

from sandbox.kubernetes import errors
from sandbox.kubernetes.api.backend import Backend, Call
from sandbox.kubernetes.objects import causes
from sandbox.kubernetes.resources import PODS
from sandbox.kubernetes.runtime import LogOptions

Manifest = Mapping[str, Any]

_FIRST_PART_SECONDS = 0.3
_PULL_PROBLEMS = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


async def logs(backend: Backend, call: Call) -> Response:
    """GET of a container's log."""
    name = call.target.name
    pod = backend.store.get(PODS.key, call.namespace, name)
    if pod is None:
        raise errors.not_found(PODS, name)
    options, limit = _options(call)
    container = _container(pod, call.query.get("container", ""))
    if not pod["spec"].get("nodeName"):
        return Response(status_code=204)
    _require_started(pod, container, previous=options.previous)
    if backend.runtime is None:
        raise errors.not_implemented("logs without a node that runs pods")
    source = backend.runtime.logs(pod, container, options)
    # The first part is awaited before the answer starts: a node that cannot give the log makes an error of it. One
    # that is silent so far is not waited for.
    first = asyncio.ensure_future(anext(source, None))
    await asyncio.wait([first], timeout=_FIRST_PART_SECONDS if options.follow else None)
    if first.done():
        first.result()
    return StreamingResponse(_limited(first, source, limit), media_type="text/plain")


async def _limited(
    first: asyncio.Future[bytes | None], rest: AsyncIterator[bytes], limit: int | None
) -> AsyncIterator[bytes]:
    left = limit
    try:
        part = await first
        while part is not None:
            if left is not None and len(part) >= left:
                yield part[:left]
                return
            yield part
            left = None if left is None else left - len(part)
            part = await anext(rest, None)
    finally:
        first.cancel()
        if isinstance(rest, AsyncGenerator):
            await rest.aclose()


def _integer(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _true(query: Mapping[str, str], name: str) -> bool:
    return query.get(name) in ("true", "1")


def _options(call: Call) -> tuple[LogOptions, int | None]:
    query = call.query
    tail, limit, seconds = (_integer(query, name) for name in ("tailLines", "limitBytes", "sinceSeconds"))
    found = []
    if tail is not None and tail < 0:
        found.append(causes.invalid("tailLines", tail, "must be greater than or equal to 0"))
    for name, value in (("limitBytes", limit), ("sinceSeconds", seconds)):
        if value is not None and value < 1:
            found.append(causes.invalid(name, value, "must be greater than 0"))
    if found:
        raise errors.invalid("", "PodLogOptions", call.target.name, found)
    since = datetime.now(UTC) - timedelta(seconds=seconds) if seconds else None
    if query.get("sinceTime"):
        since = datetime.fromisoformat(query["sinceTime"])
    options = LogOptions(_true(query, "previous"), tail, since, _true(query, "follow"), _true(query, "timestamps"))
    return options, limit


def _container(pod: Manifest, wanted: str) -> str:
    """The container whose log is meant."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    containers = [one["name"] for one in spec["containers"] or ()]
    initial = [one["name"] for one in spec.get("initContainers", ())]
    if wanted:
        if wanted not in containers + initial:
            raise errors.bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(containers) == 1 and not initial:
        return str(containers[0])
    default = pod["metadata"].get("annotations", {}).get("kubectl.kubernetes.io/default-container")
    if default in containers:
        return str(default)
    if len(containers) == 1:
        choices = f"choose one of: [{containers[0]}] or one of the init containers: [{' '.join(initial)}]"
        raise errors.bad_request(f"a container name must be specified for pod {name}, {choices}")
    choices = f"choose one of: [{' '.join(containers)}]"
    if initial:
        choices += f" or one of the init containers: [{' '.join(initial)}]"
    raise errors.bad_request(f"a container name must be specified for pod {name}, {choices}")


def _require_started(pod: Manifest, container: str, *, previous: bool) -> None:
    """Refuse the log of a container that has none, in the kubelet's words.

    Raises:
        ApiError: 400.
    """
    name = pod["metadata"]["name"]
    status = pod["status"]
    statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    found = next((one for one in statuses if one["name"] == container), None)
    subject = f'container "{container}" in pod "{name}"'
    if found is None:
        raise errors.bad_request(f"{subject} is not available")
    state, last = found.get("state", {}), found.get("lastState", {}).get("terminated")
    if previous:
        if last is None or not last.get("containerID"):
            raise errors.bad_request(f"previous terminated {subject} not found")
        return
    if state.get("running") or last:
        return
    if state.get("terminated"):
        if not state["terminated"].get("containerID"):
            raise errors.bad_request(f"{subject} is terminated")
        return
    reason = state.get("waiting", {}).get("reason")
    if not reason:
        raise errors.bad_request(f"{subject} is waiting to start - no logs yet")
    raise errors.bad_request(f"{subject} is waiting to start: {_PULL_PROBLEMS.get(reason, reason)}")
