"""Endpoints and EndpointSlices of Services."""

import asyncio
from typing import Any

from cluster_harness import (
    NAMESPACE,
    Harness,
    container,
    controlled_cluster,
    deployment,
    eventually,
    pod_spec,
    service,
)

from sandbox.kubernetes.controllers.endpoints import SERVICE_NAME
from sandbox.kubernetes.resources import ENDPOINTS, ENDPOINTSLICES, PODS, SERVICES

SERVING = pod_spec(container(ports=[{"name": "http", "containerPort": 8000}]))


def slices(harness: Harness, name: str = "chat") -> list[dict[str, Any]]:
    return harness.cluster.list(ENDPOINTSLICES, NAMESPACE, {SERVICE_NAME: name})


def ready(harness: Harness) -> list[bool]:
    return [one["conditions"]["ready"] for each in slices(harness) for one in each["endpoints"] or []]


def test_ready_and_unready_pods_stand_apart() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, kubelet):
            kubelet.unready.add("chat")
            harness.apply(service(), deployment(spec=SERVING, replicas=2))
            await eventually(lambda: ready(harness) == [False, False])
            first = harness.pods()[0]["metadata"]["name"]
            kubelet.report(first, "Running", ready=True)
            await eventually(lambda: sorted(ready(harness)) == [False, True])
            (subset,) = harness.one(ENDPOINTS, "chat")["subsets"]
            assert [one["targetRef"]["name"] for one in subset["addresses"]] == [first]
            assert len(subset["notReadyAddresses"]) == 1
            assert subset["ports"] == [{"name": "http", "port": 8000, "protocol": "TCP"}]

    asyncio.run(main())


def test_a_terminating_pod_serves_and_takes_nothing_new() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, kubelet):
            harness.apply(service(), deployment(spec=SERVING))
            await eventually(lambda: ready(harness) == [True])
            kubelet.keeps_deleted = True
            harness.cluster.delete(PODS, NAMESPACE, harness.pods()[0]["metadata"]["name"])

            def terminating() -> Any:
                found = [one["conditions"] for one in slices(harness)[0]["endpoints"]]
                return {"ready": False, "serving": True, "terminating": True} in found

            await eventually(terminating)
            # The older kind leaves it out; its successor takes its place.
            await eventually(lambda: harness.one(ENDPOINTS, "chat").get("subsets"))
            assert len(harness.one(ENDPOINTS, "chat")["subsets"][0]["addresses"]) == 1

    asyncio.run(main())


def test_a_service_without_pods_has_an_empty_slice() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(service())
            (one,) = await eventually(lambda: slices(harness))
            assert (one["endpoints"], one["ports"]) == (None, None)
            assert one["metadata"]["labels"]["app"] == "chat"
            assert "subsets" not in harness.one(ENDPOINTS, "chat")

    asyncio.run(main())


def test_a_port_name_that_no_container_has_gives_no_port() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(service(port="grpc"), deployment(spec=SERVING))
            await eventually(lambda: ready(harness) == [True])
            assert slices(harness)[0]["ports"] == []
            assert "subsets" not in harness.one(ENDPOINTS, "chat")

    asyncio.run(main())


def test_pods_with_different_ports_of_one_name_get_slices_of_their_own() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            other = pod_spec(container(ports=[{"name": "http", "containerPort": 9000}]))
            second = deployment("other", spec=other)
            second["spec"]["template"]["metadata"]["labels"]["tier"] = "web"
            first = deployment("chat", spec=SERVING)
            first["spec"]["template"]["metadata"]["labels"]["tier"] = "web"
            harness.apply(service("web", selector={"tier": "web"}), first, second)
            await eventually(lambda: len(slices(harness, "web")) == 2)
            ports = sorted(one["ports"][0]["port"] for one in slices(harness, "web"))
            assert ports == [8000, 9000]

    asyncio.run(main())


def test_the_selector_of_the_service_decides() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(service(), deployment(spec=SERVING), deployment("next", spec=SERVING))
            await eventually(lambda: ready(harness) == [True])

            def point_elsewhere(obj: dict[str, Any]) -> None:
                obj["spec"]["selector"] = {"app": "next"}

            harness.change(SERVICES, "chat", point_elsewhere)

            def names() -> Any:
                found = [one["targetRef"]["name"] for one in slices(harness)[0]["endpoints"]]
                return len(found) == 1 and found[0].startswith("next-")

            await eventually(names)

    asyncio.run(main())


def test_a_pod_whose_label_changes_leaves_the_service() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(service(), deployment(spec=SERVING))
            await eventually(lambda: ready(harness) == [True])
            (pod,) = harness.pods()
            name = pod["metadata"]["name"]
            harness.change(PODS, name, lambda obj: obj["metadata"]["labels"].update(app="debug"))

            def without() -> Any:
                found = [one["targetRef"]["name"] for one in slices(harness)[0]["endpoints"] or ()]
                return len(found) == 1 and name not in found

            await eventually(without)

    asyncio.run(main())


def test_endpoints_go_with_their_service() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, _):
            harness.apply(service(), deployment(spec=SERVING))
            await eventually(lambda: ready(harness) == [True])
            harness.cluster.delete(SERVICES, NAMESPACE, "chat")
            await eventually(lambda: not slices(harness))
            await eventually(lambda: harness.cluster.get(ENDPOINTS, NAMESPACE, "chat") is None)

    asyncio.run(main())


def test_not_ready_addresses_are_published_on_demand() -> None:
    async def main() -> None:
        async with controlled_cluster() as (harness, kubelet):
            kubelet.unready.add("chat")
            harness.apply(service(publishNotReadyAddresses=True, clusterIP="None"), deployment(spec=SERVING))
            await eventually(lambda: ready(harness) == [True])
            assert slices(harness)[0]["metadata"]["labels"]["service.kubernetes.io/headless"] == ""

    asyncio.run(main())
