"""What is applied to EKS and AWS parses, names what exists, and grants what the code uses."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import kubernetes_validate
import yaml
from prefect.client.schemas.objects import FlowRun
from prefect.utilities.templating import apply_values
from prefect_kubernetes.worker import KubernetesWorker, KubernetesWorkerJobConfiguration

from deployments.pools import FLOWS_UID, PodSettings, job_template
from deployments.prefect_yaml import KUBERNETES
from deployments.rules import FLOWS, WORKER, manifests, rights

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deployments"
DATA = Path(__file__).parents[1] / "data" / "deployments"
ACTIONS = {
    "list_objects_v2": "s3:ListBucket",
    "head_bucket": "s3:ListBucket",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "head_object": "s3:GetObject",
    "get_object": "s3:GetObject",
    "upload_part_copy": "s3:PutObject",
    "put_object": "s3:PutObject",
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "copy_object": "s3:PutObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "list_parts": "s3:ListMultipartUploadParts",
    "delete_object": "s3:DeleteObject",
    "delete_objects": "s3:DeleteObject",
}
"""The IAM action of each call of the S3 client (Service Authorization Reference, Amazon S3)."""


def policy(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / name).read_text())["Statement"]
    return found


def actions(statements: list[dict[str, Any]]) -> set[str]:
    return {
        action
        for one in statements
        for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])
    }


def calls(folder: Path) -> set[str]:
    """S3 operations that the code asks for: methods of the client, and names given to it."""
    found: set[str] = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found & ACTIONS.keys()


def test_the_staging_policy_is_what_staging_asks_of_s3() -> None:
    assert actions(policy("iam/staging.json")) == {ACTIONS[call] for call in calls(ROOT / "staging")}


def test_pods_may_read_and_nothing_else() -> None:
    assert actions(policy("iam/pods.json")) == {"s3:ListBucket", "s3:GetObject"}


def test_the_endpoint_of_the_network_lets_through_what_the_identities_may() -> None:
    through = policy("bucket/vpc-endpoint.json")[0]
    assert set(through["Action"]) == actions(policy("iam/staging.json")) | actions(policy("iam/pods.json"))


def test_no_policy_grants_more_than_it_names() -> None:
    for path in FOLDER.glob("iam/*.json"):
        for one in json.loads(path.read_text())["Statement"]:
            assert one["Effect"] == "Allow"
            assert not any("*" in action for action in actions([one])), path.name
            if not path.name.startswith("trust"):
                assert "*" not in str(one["Resource"]).removesuffix("*"), path.name


def test_stale_uploads_go_by_themselves() -> None:
    rules = json.loads((FOLDER / "bucket/lifecycle.json").read_text())["Rules"]
    assert any(rule.get("AbortIncompleteMultipartUpload") for rule in rules)


def unknown(values: dict[str, Any], known: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in values.items():
        if key not in known:
            yield f"{path}{key}"
        elif isinstance(value, dict) and known[key]:
            yield from unknown(value, known[key], f"{path}{key}.")


def test_the_helm_values_are_keys_of_the_chart() -> None:
    values = yaml.safe_load((FOLDER / "helm/prefect-worker-values.yaml").read_text())
    known = json.loads((DATA / "prefect_worker_values.json").read_text())["values"]
    assert not list(unknown(values, known))
    assert list(unknown({"worker": {"config": {"workpool": "x"}}}, known)) == ["worker.config.workpool"]
    worker = values["worker"]
    assert worker["config"]["workPool"] == KUBERNETES.name
    assert worker["config"]["jobNamespace"] == WORKER[0]
    assert values["serviceAccount"] == {"create": False, "name": WORKER[1]}
    assert worker["podSecurityContext"]["runAsUser"] == FLOWS_UID


def test_runs_in_pods_have_their_own_account_and_no_privilege() -> None:
    template = job_template(KUBERNETES, {}, PodSettings("example.com/flows:1", FLOWS[0], FLOWS[1]))
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    container = pod["containers"][0]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    written = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"/home/flows", "/tmp"} == written
    assert pod["serviceAccountName"] == "{{ service_account_name }}"


def job_of(variables: dict[str, Any], template: dict[str, Any]) -> dict[str, Any]:
    """The Job that a run becomes, made by the worker's own code."""
    properties = template["variables"]["properties"]
    defaults = {name: one["default"] for name, one in properties.items() if one.get("default") is not None}
    values = apply_values(template["job_configuration"], defaults | variables)
    configuration = KubernetesWorkerJobConfiguration(**values)
    configuration.prepare_for_flow_run(FlowRun(id=uuid4(), flow_id=uuid4(), name="stage"))
    job: dict[str, Any] = configuration.job_manifest
    pod = job["spec"]["template"]["spec"]
    # prefect-kubernetes insists on these two in the pod, where the API server drops them.
    strict = {name: value for name, value in pod.items() if name not in ("completions", "parallelism")}
    checked = {**job, "spec": {**job["spec"], "template": {**job["spec"]["template"], "spec": strict}}}
    kubernetes_validate.validate(checked, "1.31", strict=True)
    return job


def test_a_run_chooses_its_node_its_account_and_its_namespace() -> None:
    template = job_template(KUBERNETES, {}, PodSettings("example.com/flows:1", FLOWS[0], FLOWS[1]))
    chosen = {
        "namespace": "models",
        "service_account_name": "s3-writer",
        "node_selector": {"node.kubernetes.io/instance-type": "c7gn.4xlarge"},
        "tolerations": [{"key": "transfer", "operator": "Exists"}],
    }
    plain, placed = job_of({}, template), job_of(chosen, template)
    assert (plain["metadata"]["namespace"], placed["metadata"]["namespace"]) == (FLOWS[0], "models")
    before, after = (job["spec"]["template"]["spec"] for job in (plain, placed))
    assert before["serviceAccountName"] == FLOWS[1]
    assert not {"nodeSelector", "tolerations"} & before.keys()
    assert after["serviceAccountName"] == "s3-writer"
    assert after["nodeSelector"] == chosen["node_selector"]
    assert after["tolerations"] == chosen["tolerations"]


def test_a_pool_from_before_gets_the_variables_that_place_a_run() -> None:
    old = KubernetesWorker.get_default_base_job_template()
    old["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["nodeSelector"] = {"own": "label"}
    template = job_template(KUBERNETES, old, PodSettings())
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"own": "label"}, "what a person added stays"
    assert "node_selector" not in template["variables"]["properties"]
    assert pod["tolerations"] == "{{ tolerations }}"
    assert job_template(KUBERNETES, template, PodSettings()) == template


def test_every_role_is_bound_and_no_rule_is_a_wildcard() -> None:
    for one in manifests():
        for rule in one.get("rules", ()):
            for field in ("apiGroups", "resources", "verbs"):
                assert "*" not in rule[field], one["metadata"]["name"]
    bound = {one.role for account in (FLOWS, WORKER) for one in rights(account)}
    assert bound == {one["metadata"]["name"] for one in manifests() if one["kind"] in ("Role", "ClusterRole")}


def test_everything_that_is_shipped_is_in_the_kustomization() -> None:
    text = (FOLDER / "rbac/kustomization.yaml").read_text()
    for path in (FOLDER / "rbac").glob("*.yaml"):
        assert path.name == "kustomization.yaml" or path.name in text


def test_the_image_holds_no_secret_and_runs_as_nobody_special() -> None:
    lines = (FOLDER / "worker/Dockerfile").read_text().splitlines()
    assert f"USER {FLOWS_UID}:{FLOWS_UID}" in lines
    assert sum(line.startswith("FROM ") for line in lines) == 2
    assert any("uv sync --locked" in line for line in lines)
    assert not [line for line in lines if any(word in line.upper() for word in ("TOKEN", "SECRET", "PASSWORD"))]
    ignored = (FOLDER / "worker/Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored, "the context starts from nothing"
