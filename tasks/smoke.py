"""The request that proves an endpoint: real, through its own Service."""

import asyncio
import time

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from kube.connect import Cluster
from kube.proxy import request
from serving.errors import ClusterError, SmokeTestError
from serving.smoke import SmokeExpectation, SmokeReport, SmokeRequest, SmokeResponse, judge, next_request

PORT = "http"
REQUEST_SECONDS = 120.0
ATTEMPTS = 3
"""Tries while the API server has not heard yet of the Service's new endpoints."""


@task(name="smoke-test", task_run_name="smoke-test", cache_policy=NO_CACHE)
async def smoke_test(service: str, namespace: str, expectation: SmokeExpectation, cluster: Cluster) -> SmokeReport:
    """Asks the endpoint a real question and judges the answer.

    Raises:
        SmokeTestError: It did not answer as it must; says what was expected and what came.
    """
    report = await asyncio.to_thread(ask, service, namespace, expectation, cluster)
    if not report.passed:
        raise SmokeTestError(f"{namespace}/{service}", report)
    get_run_logger().info("%s answered in %.2f s: %s", report.model, report.seconds, report.answer.strip()[:200])
    return report


def ask(service: str, namespace: str, expectation: SmokeExpectation, cluster: Cluster) -> SmokeReport:
    """Holds the smoke test's conversation through the API server's proxy and judges it."""
    responses: list[SmokeResponse] = []
    while (question := next_request(expectation, responses)) is not None:
        responses.append(_send(service, namespace, question, cluster))
    return judge(expectation, responses)


def _send(service: str, namespace: str, question: SmokeRequest, cluster: Cluster) -> SmokeResponse:
    started = time.monotonic()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            answer = request(
                cluster,
                question.method,
                namespace,
                service,
                PORT,
                question.path,
                json=question.body,
                timeout=REQUEST_SECONDS,
            )
            return SmokeResponse(question, answer.status, answer.text, time.monotonic() - started)
        except ClusterError as error:
            if not error.code.startswith("proxy.") or attempt == ATTEMPTS:
                return SmokeResponse(question, 0, str(error), time.monotonic() - started)
            time.sleep(0.5 * attempt)
    raise AssertionError("unreachable")
