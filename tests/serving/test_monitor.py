"""PodMonitors: each names a port that the pods it finds have, and the path where the framework's metrics are."""

from typing import Any

import pytest

from serving.build import build_spec
from serving.errors import InputError
from serving.release import release_of
from serving.rendering import render
from serving.spec import Framework
from tests.serving.test_frameworks import Make, one, pods, rendered, spec_for, staged_for

MONITOR = {"monitor": True, "monitor_labels": {"release": "prometheus"}, "monitor_seconds": 15}
ADDED_BY_OPERATORS = {"metrics": 8080}  # KubeRay adds it to Ray's containers
PATHS = {Framework.NIM: "/v1/metrics"}


@pytest.mark.parametrize("framework", Framework)
def test_the_port_is_one_of_the_pods_that_are_found(framework: Framework, make_staged: Make) -> None:
    spec = spec_for(framework, pod=MONITOR)
    manifests, release = rendered(spec, make_staged)
    monitor = one(manifests, "PodMonitor")
    (target,) = monitor["spec"]["podMetricsEndpoints"]
    assert target["path"] == PATHS.get(framework, "/metrics")
    assert target["interval"] == "15s"
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    found = [pod for pod in pods(manifests) if wanted <= pod["metadata"]["labels"].items()]
    assert found
    for pod in found:
        ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        number = (ports | ADDED_BY_OPERATORS if framework is Framework.RAY_VLLM else ports)[target["port"]]
        noted = pod["metadata"]["annotations"].get("prometheus.io/port", str(number))
        assert noted == str(number)
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["metadata"]["labels"]["inference-flows/release"] == release.id


def test_asking_for_it_starts_no_rollout_and_not_asking_renders_none(make_staged: Make) -> None:
    plain, watched = spec_for(Framework.VLLM), spec_for(Framework.VLLM, pod=MONITOR)
    staged = staged_for(plain, make_staged)
    assert staged is not None
    before, after = (release_of(spec, staged.model, staged) for spec in (plain, watched))
    assert before.id == after.id
    without: list[dict[str, Any]] = render(plain, staged, before)
    assert [manifest for manifest in render(watched, staged, after) if manifest["kind"] != "PodMonitor"] == without


def test_a_nim_of_the_operator_is_scraped_at_the_operators_port(make_staged: Make) -> None:
    monitor = one(rendered(spec_for(Framework.NIM, pod=MONITOR, nim={"operator": True}), make_staged)[0], "PodMonitor")
    assert monitor["spec"]["podMetricsEndpoints"][0]["port"] == "api"


def test_where_there_are_no_metrics_asking_for_them_is_refused() -> None:
    with pytest.raises(InputError, match=r"pod\.monitor needs metrics"):
        build_spec(
            Framework.NIM,
            spec_for(Framework.NIM).accelerator,
            {
                "name": "pictures",
                "model": {"repo_id": "org/name"},
                "image": "nvcr.io/nim/org/pictures:1",
                "nim": {"kind": "image"},
                "pod": MONITOR,
            },
        )
