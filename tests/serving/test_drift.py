"""What differs from what was applied is named with its field and its owner; nothing else is."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.drift import DriftKind, drift

NAME = "Deployment chat/llama"
OURS = "inference-flows"

APPLIED: dict[str, Any] = {
    "spec": {
        "replicas": 2,
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "vllm",
                        "image": "vllm:1",
                        "args": ["serve", "--api-key", "geheim"],
                        "env": [{"name": "A", "value": "1"}, {"name": "HF_TOKEN", "value": "geheim"}],
                        "ports": [{"containerPort": 8000, "name": "http"}],
                    }
                ]
            }
        },
    }
}
OWNED = {
    "f:spec": {
        "f:replicas": {},
        "f:template": {
            "f:spec": {
                "f:containers": {
                    'k:{"name":"vllm"}': {
                        ".": {},
                        "f:name": {},
                        "f:image": {},
                        "f:args": {},
                        "f:env": {
                            'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}},
                            'k:{"name":"HF_TOKEN"}': {".": {}, "f:name": {}, "f:value": {}},
                        },
                        "f:ports": {
                            'k:{"containerPort":8000,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:name": {}}
                        },
                    }
                }
            }
        },
    }
}


def manager(name: str, fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"manager": name, "operation": "Update", "fieldsV1": fields, **more}


def ours(fields: dict[str, Any]) -> dict[str, Any]:
    return {"manager": OURS, "operation": "Apply", "fieldsV1": fields}


def container(thing: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = thing["spec"]["template"]["spec"]["containers"][0]
    return found


def in_container(fields: dict[str, Any]) -> dict[str, Any]:
    return {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"vllm"}': fields}}}}}


def test_a_scaled_workload_names_who_scaled_it() -> None:
    live = copy.deepcopy(APPLIED)
    live["spec"]["replicas"] = 5
    managers = [ours(OWNED), manager("kubectl", {"f:spec": {"f:replicas": {}}}, subresource="scale")]
    [found] = drift(NAME, live, APPLIED, managers, OURS)
    assert str(found) == "Deployment chat/llama spec.replicas changed: 5, applied was 2 (by kubectl scale)"


def test_another_image_and_an_added_variable() -> None:
    live = copy.deepcopy(APPLIED)
    container(live)["image"] = "vllm:2"
    container(live)["env"].append({"name": "DEBUG", "value": "1"})
    # An apply leaves what others added.
    left = copy.deepcopy(APPLIED)
    container(left)["env"].append({"name": "DEBUG", "value": "1"})
    managers = [
        ours(OWNED),
        manager("kubectl-set", in_container({"f:image": {}})),
        manager("kubectl-edit", in_container({"f:env": {'k:{"name":"DEBUG"}': {".": {}, "f:value": {}}}})),
        manager("kube-controller-manager", {"f:spec": {"f:paused": {}}}),
        manager("kubelet", {"f:status": {"f:phase": {}}}, subresource="status"),
    ]
    assert [str(one) for one in drift(NAME, live, left, managers, OURS)] == [
        f"{NAME} spec.template.spec.containers[vllm].image changed: vllm:2, applied was vllm:1 (by kubectl-set)",
        f"{NAME} spec.template.spec.containers[vllm].env[DEBUG] added (by kubectl-edit)",
    ]


def test_what_somebody_took_away_has_a_suspect() -> None:
    live = copy.deepcopy(APPLIED)
    container(live)["env"].pop(0)
    managers = [
        ours(OWNED),
        manager("kubectl-edit", {"f:metadata": {}}, time="2026-11-25T10:00:00Z"),
        manager("helm", {"f:metadata": {}}, time="2026-11-24T10:00:00Z"),
    ]
    [found] = drift(NAME, live, APPLIED, managers, OURS)
    assert found.kind is DriftKind.REMOVED
    assert found.field == "spec.template.spec.containers[vllm].env[A]"
    assert found.owner == "perhaps kubectl-edit"


@pytest.mark.parametrize("place", ["args", "env"])
def test_values_that_may_be_secret_are_not_shown(place: str) -> None:
    live = copy.deepcopy(APPLIED)
    if place == "args":
        container(live)["args"][-1] = "anders"
    else:
        container(live)["env"][1]["value"] = "anders"
    [found] = drift(NAME, live, APPLIED, [ours(OWNED)], OURS)
    assert "geheim" not in str(found)
    assert "anders" not in str(found)
    assert f"containers[vllm].{place}" in found.field


def test_what_we_no_longer_render_is_told() -> None:
    live = copy.deepcopy(APPLIED)
    live["spec"]["minReadySeconds"] = 5
    [found] = drift(NAME, live, APPLIED, [ours({"f:spec": {"f:minReadySeconds": {}}})], OURS)
    assert str(found) == f"{NAME} spec.minReadySeconds left: 5, applied was none (by {OURS})"


TREES = st.recursive(
    st.one_of(st.integers(0, 9), st.text("ab", max_size=3)),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
        st.lists(inner, max_size=3),
        st.lists(
            st.builds(lambda name, value: {"name": name, "value": value}, st.sampled_from("xyz"), inner),
            max_size=3,
            unique_by=lambda item: item["name"],
        ),
    ),
    max_leaves=12,
)


def ordered(tree: Any) -> Any:
    """The order of items that have names says nothing."""
    if isinstance(tree, dict):
        return {key: ordered(value) for key, value in tree.items()}
    if isinstance(tree, list):
        inner = [ordered(item) for item in tree]
        named = all(isinstance(item, dict) and "name" in item for item in tree)
        return sorted(inner, key=lambda item: str(item["name"])) if named else inner
    return tree


@given(TREES, TREES)
def test_there_is_drift_exactly_if_something_differs(live: Any, applied: Any) -> None:
    found = drift(NAME, {"spec": live}, {"spec": applied}, [], OURS)
    assert bool(found) == (ordered(live) != ordered(applied))
    assert drift(NAME, {"spec": live}, {"spec": live}, [], OURS) == []
