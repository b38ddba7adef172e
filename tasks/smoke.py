"""The requests that prove an endpoint: real, through its own Service, or through a gateway in front of it."""

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from prefect import get_run_logger, task
from prefect.artifacts import acreate_image_artifact
from prefect.cache_policies import NO_CACHE

from kube.connect import Cluster
from kube.read import list_
from kube.service import ServiceWay, way_to
from serving.errors import ClusterError, SmokeTestError
from serving.frameworks.workload import Manifest
from serving.release import Release
from serving.smoke import SmokeExpectation, SmokeReport, SmokeRequest, SmokeResponse, judge, next_request
from serving.spec import EndpointSpec, Framework

PORT = 8000
"""The port that all endpoints' Services have."""

REQUEST_SECONDS = 300.0
"""Longest answer without a bound from the user; a picture on a processor takes minutes."""

PICTURE_BYTES = 3_000_000
"""Largest picture that is shown in the UI: it travels inside the artifact."""

FIRST_ATTEMPTS, DIRECT_ATTEMPTS, LATER_ATTEMPTS = 6, 3, 2
"""Tries of a request that did not reach the pods: pods are ready a little before their Service has them."""

GATEWAY_NAMESPACE = "envoy-gateway-system"
GATEWAY_LABEL = "gateway.envoyproxy.io/owning-gateway-name=aibrix-eg"
GATEWAY_PORT = 80


@dataclass(frozen=True)
class Address:
    """A Service and its port."""

    namespace: str
    service: str
    port: int = PORT

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service}"


def own_address(release: Release, namespace: str, manifests: Sequence[Manifest]) -> Address:
    """Where a release is reached before it is promoted: its own Service, which an operator may have made."""
    made = [one["metadata"]["name"] for one in manifests if one["kind"] == "Service"]
    return Address(namespace, made[0] if made else release.name)


@task(name="smoke-test", task_run_name="smoke-test", cache_policy=NO_CACHE)
async def smoke_test(address: Address, expectation: SmokeExpectation, cluster: Cluster, *, show: str) -> SmokeReport:
    """Asks the endpoint a real question and judges the answer.

    Args:
        address: Where the endpoint is.
        expectation: What is asked, and what the answer must be like.
        cluster: Where the Service is.
        show: Artifact key of the picture, where the endpoint makes one.

    Raises:
        SmokeTestError: It did not answer as it must; says what was expected and what came.
    """
    report = await asyncio.to_thread(ask, address, expectation, cluster)
    log = get_run_logger()
    log.info("Asked %s %s", address, report.way)
    if report.picture:
        await _show(report, show)
    if not report.passed:
        raise SmokeTestError(str(address), report)
    log.info("%s answered in %.2f s: %s", report.model, report.seconds, report.answer.strip()[:200])
    if report.first_token_seconds is not None and report.tokens_per_second is not None:
        timing = (report.first_token_seconds, report.tokens_per_second)
        log.info("First token after %.2f s, then %.1f tokens per second", *timing)
    return report


async def _show(report: SmokeReport, key: str) -> None:
    """Shows the picture in the UI, wanted or not: what a failed test got is worth seeing, too."""
    if len(report.picture) > PICTURE_BYTES:
        get_run_logger().info("The picture is too large to show: %d bytes", len(report.picture))
        return
    url = f"data:image/png;base64,{base64.b64encode(report.picture).decode()}"
    await acreate_image_artifact(image_url=url, key=key, description=f"{report.prompt} ({report.answer})")


def gateway(spec: EndpointSpec, cluster: Cluster) -> Address | None:
    """The AIBrix gateway that clients of this endpoint go through; None elsewhere, or where it cannot be seen."""
    if spec.framework is not Framework.AIBRIX:
        return None
    try:
        found = list_(cluster, "v1", "Service", GATEWAY_NAMESPACE, labels=GATEWAY_LABEL)
    except ClusterError:
        return None
    names = sorted(one["metadata"]["name"] for one in found)
    return Address(GATEWAY_NAMESPACE, names[0], GATEWAY_PORT) if names else None


def through_gateway(expectation: SmokeExpectation) -> SmokeExpectation:
    """The same test for the gateway, which routes by the model's name; metrics are the pods' own affair."""
    headers = {**expectation.headers, "model": expectation.model}
    return replace(expectation, headers=headers, metrics="", streaming=False)


def ask(address: Address, expectation: SmokeExpectation, cluster: Cluster) -> SmokeReport:
    """Holds the smoke test's conversation and judges it: by cluster DNS from inside, else through the API server.

    Raises nothing: an endpoint that is not reached has a report that says so.
    """
    return converse(way_to(cluster, address.namespace, address.service, address.port), expectation)


def converse(way: ServiceWay, expectation: SmokeExpectation) -> SmokeReport:
    """Holds the conversation this way; where the name does not lead there, through the proxy instead."""
    responses = _answers(way, expectation)
    if way.direct and not responses[0].status:
        way = way.through_proxy()
        responses = _answers(way, expectation)
    return replace(judge(expectation, responses), way=str(way))


def _answers(way: ServiceWay, expectation: SmokeExpectation) -> list[SmokeResponse]:
    responses: list[SmokeResponse] = []
    first = DIRECT_ATTEMPTS if way.direct else FIRST_ATTEMPTS
    while (question := next_request(expectation, responses)) is not None:
        attempts = LATER_ATTEMPTS if responses else first
        responses.append(_send(way, question, attempts))
    return responses


def _send(way: ServiceWay, question: SmokeRequest, attempts: int) -> SmokeResponse:
    started = time.monotonic()
    for attempt in range(1, attempts + 1):
        try:
            return (_streamed if question.stream else _answered)(way, question)
        except ClusterError as error:
            if not error.code.startswith(("proxy.", "service.")) or attempt == attempts:
                return SmokeResponse(question, 0, str(error), time.monotonic() - started)
            time.sleep(0.5 * attempt)
    raise AssertionError("unreachable")


def _answered(way: ServiceWay, question: SmokeRequest) -> SmokeResponse:
    started = time.monotonic()
    answer = way.request(
        question.method, question.path, json=question.body, headers=question.headers, timeout=REQUEST_SECONDS
    )
    picture = answer.headers.get("content-type", "").startswith("image/")
    text = "" if picture else answer.text
    return SmokeResponse(question, answer.status, text, time.monotonic() - started, content=answer.body)


def _streamed(way: ServiceWay, question: SmokeRequest) -> SmokeResponse:
    started, first = time.monotonic(), None
    lines: list[str] = []
    with way.stream(
        question.method, question.path, json=question.body, headers=question.headers, timeout=REQUEST_SECONDS
    ) as opened:
        for line in opened.lines:
            if first is None and says_something(line):
                first = time.monotonic() - started
            lines.append(line)
        status = opened.status
    return SmokeResponse(question, status, "\n".join(lines), time.monotonic() - started, first_seconds=first)


def says_something(line: str) -> bool:
    """Whether a line of a stream of server-sent events carries text, and not just the role or the end."""
    if not line.startswith("data:"):
        return False
    try:
        choices = json.loads(line.removeprefix("data:"))["choices"]
        parts = [choice.get("delta") or choice for choice in choices]
    except (ValueError, LookupError, TypeError, AttributeError):
        return False
    said = ("content", "reasoning_content", "reasoning", "text")
    return any(part.get(name) for part in parts for name in said)
