"""The arithmetic of rolling updates holds its limits whatever the numbers are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.kubernetes.controllers.deployments import rolling

COUNTS = st.integers(0, 12)
SHARES = st.one_of(st.integers(0, 6), st.integers(0, 100).map(lambda share: f"{share}%"))


def a_deployment(replicas: int, surge: int | str = "25%", unavailable: int | str = "25%") -> dict[str, Any]:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    return {"spec": {"replicas": replicas, "strategy": strategy}, "status": {}}


def a_replica_set(name: str, replicas: int, available: int, maximum: int = 0) -> dict[str, Any]:
    annotations = {rolling.MAXIMUM: str(maximum)} if maximum else {}
    return {
        "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": annotations},
        "spec": {"replicas": replicas},
        "status": {"replicas": replicas, "availableReplicas": available},
    }


@st.composite
def rollouts(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """A Deployment with old ReplicaSets and a new one, some of their pods available."""
    made = a_deployment(draw(COUNTS), draw(SHARES), draw(SHARES))
    sizes = draw(st.lists(COUNTS, max_size=3))
    old = [a_replica_set(f"old-{n}", size, draw(st.integers(0, size))) for n, size in enumerate(sizes)]
    size = draw(COUNTS)
    return made, old, a_replica_set("new", size, draw(st.integers(0, size)))


@given(rollouts())
def test_the_new_replica_set_never_grows_beyond_the_surge(
    rollout: tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]],
) -> None:
    deployment, old, new = rollout
    before = new["spec"]["replicas"]
    size = rolling.new_size(deployment, [*old, new], new)
    if size > before:
        others = rolling.spec_replicas(old)
        assert others + size <= rolling.wanted(deployment) + rolling.limits(deployment).surge
        assert size <= rolling.wanted(deployment)


@given(rollouts())
def test_old_replica_sets_shrink_only_as_far_as_enough_pods_stay_available(
    rollout: tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]],
) -> None:
    deployment, old, new = rollout
    sizes = rolling.old_sizes(deployment, old, new)
    minimum = rolling.wanted(deployment) - rolling.limits(deployment).unavailable
    available = rolling.status_count([*old, new], "availableReplicas")
    kept = rolling.status_count([new], "availableReplicas")
    for one in old:
        size = sizes.get(one["metadata"]["name"], one["spec"]["replicas"])
        assert 0 <= size <= one["spec"]["replicas"]
        kept += min(size, one["status"]["availableReplicas"])
    assert kept >= min(minimum, available)


@given(COUNTS, SHARES, SHARES)
def test_a_rollout_can_always_take_a_step(replicas: int, surge: int | str, unavailable: int | str) -> None:
    limits = rolling.limits(a_deployment(replicas, surge, unavailable))
    assert limits.surge > 0 or limits.unavailable > 0 or replicas == 0
    assert limits.unavailable <= replicas


@given(st.integers(1, 20), st.lists(st.integers(1, 10), min_size=2, max_size=4), st.integers(0, 5))
def test_scaling_in_the_middle_of_a_rollout_goes_towards_the_allowed_total(
    replicas: int, sizes: list[int], surge: int
) -> None:
    deployment = a_deployment(replicas, surge, 1)
    parts = [a_replica_set(f"rs-{n}", size, size, maximum=sum(sizes)) for n, size in enumerate(sizes)]
    after = rolling.proportional_sizes(deployment, parts[:-1], parts[-1])
    allowed, before, total = replicas + surge, sum(sizes), sum(after.values())
    # Down, the largest takes what rounding left over and may have too little: the rollout itself does the rest.
    assert total == allowed if allowed >= before else allowed <= total <= before
    assert all(size >= 0 for size in after.values())


def test_percentages_round_in_the_careful_direction() -> None:
    assert rolling.limits(a_deployment(1)) == rolling.Limits(surge=1, unavailable=0)
    assert rolling.limits(a_deployment(10)) == rolling.Limits(surge=3, unavailable=2)
    assert rolling.limits(a_deployment(4, 0, 0)) == rolling.Limits(surge=0, unavailable=1)


@pytest.mark.parametrize(("active", "expected"), [([0, 0], "new"), ([2, 0], "old-0"), ([2, 1], None)])
def test_one_replica_set_with_pods_takes_the_whole_scale(active: list[int], expected: str | None) -> None:
    old, new = a_replica_set("old-0", active[0], 0), a_replica_set("new", active[1], 0)
    found = rolling.only_one([old], new)
    assert (found and found["metadata"]["name"]) == expected
