from hypothesis import given
from hypothesis import strategies as st

from kube.order import deletion_steps, step

KINDS = [
    "Namespace",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "Secret",
    "ConfigMap",
    "PersistentVolumeClaim",
    "Service",
    "Deployment",
    "RayService",
    "LeaderWorkerSet",
    "SomethingNew",
    "HorizontalPodAutoscaler",
    "ScaledObject",
    "HTTPRoute",
]


def test_what_others_need_is_applied_first() -> None:
    steps = [step(kind) for kind in KINDS]
    assert steps == sorted(steps)
    assert step("Secret") < step("Deployment") == step("RayService") == step("SomethingNew")


def test_autoscalers_go_before_workloads_and_secrets_go_last() -> None:
    wanted = [
        ("v1", "Secret"),
        ("v1", "ConfigMap"),
        ("apps/v1", "Deployment"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("v1", "Service"),
        ("ray.io/v1", "RayService"),
        ("keda.sh/v1alpha1", "ScaledObject"),
    ]
    assert deletion_steps(wanted) == [
        [("autoscaling/v2", "HorizontalPodAutoscaler"), ("keda.sh/v1alpha1", "ScaledObject")],
        [("apps/v1", "Deployment"), ("ray.io/v1", "RayService")],
        [("v1", "Service")],
        [("v1", "ConfigMap")],
        [("v1", "Secret")],
    ]


@given(st.lists(st.sampled_from(KINDS)))
def test_deleting_is_applying_backwards_and_loses_nothing(kinds: list[str]) -> None:
    steps = deletion_steps(("v1", kind) for kind in kinds)
    flat = [kind for group in steps for _, kind in group]
    assert sorted(flat) == sorted(set(kinds))
    assert [step(kind) for kind in flat] == sorted((step(kind) for kind in flat), reverse=True)
