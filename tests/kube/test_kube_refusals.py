"""Recorded refusals of a real API server, and what people are told."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.errors import cluster_error, failure
from kube.rejections import rejection
from serving.errors import ApplyError, ClusterError

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "kube" / "refusals.json").read_text())
SERVER = "https://api.example.com"


def recorded(name: str) -> ClusterError:
    entry = next(entry for entry in RECORDED if entry["name"] == name)
    return explained(entry)


def explained(entry: dict) -> ClusterError:
    failed = failure(entry["status"], raw(entry))
    if entry["manifest"]:
        return rejection(failed, entry["manifest"], server=SERVER, doing="apply it")
    return cluster_error(failed, server=SERVER, doing="do it")


def raw(entry: dict) -> bytes:
    return (entry["body"] if isinstance(entry["body"], str) else json.dumps(entry["body"])).encode()


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: f"{entry['topic']}: {entry['name']}")
def test_every_refusal_is_a_short_paragraph_with_a_code_and_a_fix(entry: dict) -> None:
    error = explained(entry)
    assert error.code.startswith(("cluster.", "apply."))
    assert error.fix
    assert str(error).count("\n") == 0
    assert len(str(error)) < 900
    assert ".." not in str(error).replace("…", "").replace("[-a-z0-9]*", "")


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("unknown field in a Deployment (apply)", "apply.unknown_field", "no field spec.replicass"),
        ("unknown field deep in a container", "apply.unknown_field", 'containers[name="vllm"].readinesProbe'),
        ("custom resource: unknown field, Strict", "apply.unknown_field", "ray.io/v1 RayService has no field"),
        ("wrong type: replicas a string", "apply.invalid", "spec.replicas: expected numeric"),
        ("wrong type: env value a number", "apply.invalid", "expected string, got 1"),
        ("quantity does not parse", "apply.invalid", "quantities must match"),
        ("duplicate env name (list map key)", "apply.invalid", "duplicate entries"),
        ("GPU request differs from limit", "apply.invalid", "must be equal to nvidia.com/gpu limit of 2"),
        ("custom resource: enum violated", "apply.invalid", 'Unsupported value: "Sometimes"'),
        ("immutable Deployment selector", "apply.immutable", "field is immutable"),
        ("immutable Service clusterIP", "apply.immutable", "may not change once set"),
        ("PVC storage shrink / spec change", "apply.immutable", "immutable after creation"),
        ("object in a missing namespace", "cluster.namespace_missing", "kubectl create namespace nowhere"),
        ("apply of a kind whose CRD is absent", "cluster.kind_missing", "does not serve this kind"),
        ("conflict with that manager", "apply.conflict", "kubectl-edit owns data.model"),
        ("first applier wants another value: conflict", "apply.conflict", "other-tool owns data.model"),
        ("conflict on .spec.replicas after a scale", "apply.conflict", "hpa (subresource scale) owns spec.replicas"),
        ("403 list pods", "cluster.forbidden", '{apiGroups: [""], resources: ["pods"], verbs: ["list"]}'),
        ("403 list nodes", "cluster.forbidden", "a ClusterRole"),
        ("403 apply deployment", "cluster.forbidden", '{apiGroups: ["apps"], resources: ["deployments"]'),
        ("403 service proxy", "cluster.forbidden", "get services/proxy"),
        ("patch but no create: apply of a new object", "cluster.forbidden", 'verbs: ["create"]'),
        ("401 bad token", "cluster.unauthorized", "expired"),
        ("anonymous: 403", "cluster.unauthorized", "No credentials were sent"),
        ("create in a terminating namespace", "cluster.namespace_terminating", "being terminated"),
        ("create existing", "cluster.exists", "already exists"),
        ("missing pod", "cluster.not_found", 'pods "zzz" not found'),
    ],
)
def test_refusal_names_cause_and_fix(name: str, code: str, says: str) -> None:
    error = recorded(name)
    assert error.code == code
    assert says in str(error)
    assert isinstance(error, ApplyError) == code.startswith("apply.")


def test_several_conflicts_are_grouped_by_their_owner() -> None:
    error = recorded("several conflicts with two managers")
    assert "3 of its fields are managed by somebody else" in error.what
    assert "hpa (subresource scale) owns spec.replicas; kubectl-edit owns" in error.what
    assert "(force)" in error.fix


def test_a_quoted_pod_template_is_not_passed_on() -> None:
    error = recorded("immutable Job template")
    assert error.code == "apply.immutable"
    assert "hf_example" not in str(error)
    assert "spec.template" in error.what


def test_schema_errors_are_final_though_they_come_as_500() -> None:
    for entry in RECORDED:
        failed = failure(entry["status"], raw(entry))
        assert failed.transient == (entry["status"] in {429, 503, 504}), entry["name"]
    assert failure(500, b'{"kind":"Status","message":"etcdserver: leader changed","code":500}').transient


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (403, 'pods "x" is forbidden: exceeded quota: gpu, requested: requests.nvidia.com/gpu=2', "apply.quota"),
        (403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged', "apply.denied"),
        (400, 'admission webhook "policy.example.com" denied the request: no latest tag', "apply.denied"),
        (500, 'Internal error occurred: failed calling webhook "v.kb.io": connection refused', "apply.webhook"),
        (400, 'strict decoding error: unknown field "spec.foo", unknown field "bar"', "apply.unknown_field"),
    ],
)
def test_admission_refusals(status: int, message: str, code: str) -> None:
    body = json.dumps({"kind": "Status", "message": message, "code": status}).encode()
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}
    assert rejection(failure(status, body), manifest, server=SERVER, doing="apply Pod x").code == code


SECRET_VALUES = st.text('ZQJ789"\\', min_size=8, max_size=40)  # nothing that stands in a message by itself


@given(
    value=SECRET_VALUES,
    template=st.sampled_from(
        [
            "failed to create typed patch object (a/s; /v1, Kind=Secret): .stringData.t: expected string, got "
            "&value.valueUnstructured{{Value:{}}}",
            'Secret "s" is invalid: data[t]: Invalid value: "{}": must not be so',
            "something else about {} went wrong",
        ]
    ),
    status=st.sampled_from([400, 409, 422, 500]),
    padding=st.integers(0, 450),
)
def test_a_secrets_value_is_never_told(value: str, template: str, status: int, padding: int) -> None:
    message = " " * 3 + "x" * padding + template.format(value)
    causes = [{"reason": "FieldValueInvalid", "message": f'Invalid value: "{value}": must not be so', "field": "data"}]
    body = {"kind": "Status", "message": message, "code": status, "details": {"causes": causes}}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"t": value}}
    error = rejection(failure(status, json.dumps(body).encode()), manifest, server=SERVER, doing="apply Secret s")
    told = " ".join((str(error), repr(error), repr(error.args), repr(vars(error))))
    assert not any(value[start : start + 6] in told for start in range(len(value) - 5))
