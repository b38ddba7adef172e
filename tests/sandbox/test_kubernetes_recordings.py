"""Recorded answers of a real server (1.36): ours are the same, but for identities, versions and times."""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from kubernetes_http import Api, Object, until

from sandbox.kubernetes.server import KubernetesConfig, serve_kubernetes

DATA = Path(__file__).parents[1] / "data" / "kubernetes"
TOPICS = ("namespaces", "apply", "errors", "auth", "crd_status")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MASKED = frozenset(
    [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "time",
        "clusterIP",
        "lastTransitionTime",
        "expirationTimestamp",
        "token",
    ]
)
REVISION = "deployment.kubernetes.io/revision"
JOB_TEMPLATE = "immutable Job template"
"""Its message shows the server's internal form of a pod template, which is not imitated."""


@cache
def entries(topic: str) -> list[Object]:
    return json.loads((DATA / f"{topic}.json").read_text())


def comparable(value: Any) -> Any:
    if isinstance(value, dict):
        result = {}
        for name, one in value.items():
            if name in MASKED and not isinstance(one, dict):
                result[name] = "masked"
            elif name == "clusterIPs":
                result[name] = ["masked"]
            elif name == "annotations":
                kept = {key: text for key, text in one.items() if key != REVISION}
                result |= {name: kept} if kept else {}
            elif name == "managedFields":
                # By time, and how many seconds a replay takes is its own: the order has a test of its own.
                result[name] = sorted((comparable(entry) for entry in one), key=json.dumps)
            elif name == "causes":
                # Conflicts come in the order of a Go map: any.
                result[name] = sorted(one, key=json.dumps) if one[0]["reason"] == "FieldManagerConflict" else one
            else:
                result[name] = comparable(one)
        return result
    if isinstance(value, list):
        return [comparable(one) for one in value]
    return UUID.sub("UID", value) if isinstance(value, str) else value


def ask(api: Api, request: Object) -> Any:
    body = request.get("body")
    content_type = request.get("content_type", "application/json")
    query = request.get("query", {})
    return api.call(request["method"], request["path"], body, content_type, **query)


class Replay:
    """The answers to all requests of a topic, in the order of the recording."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.answers: dict[str, Any] = {}

    def prepare(self, topic: str) -> None:
        if topic == "namespaces":
            return
        for entry in entries("namespaces")[3:4]:
            ask(self.api, entry["request"])
        applied = {"apply": 0, "errors": None, "auth": None, "crd_status": 18}[topic]
        for entry in entries("apply")[:applied]:
            ask(self.api, entry["request"])
        if topic == "auth":
            self.api.post("/api/v1/namespaces/inference/serviceaccounts", {"metadata": {"name": "runner"}})

    def run(self, topic: str) -> None:
        users: dict[str, Api] = {"": self.api, "none (anonymous)": self.api.as_user("")}
        users["an invalid bearer token"] = self.api.as_user("wrong")
        for entry in entries(topic):
            credentials = entry["request"].get("credentials", "")
            if credentials.startswith("token of ServiceAccount"):
                self._give_role(credentials.partition("role: ")[2])
                credentials = "runner"
            answer = ask(users[credentials], entry["request"])
            self.answers[entry["name"]] = answer
            if entry["name"] == "TokenRequest":
                users["runner"] = self.api.as_user(answer.body["status"]["token"])
            if entry["name"] == "create":
                until(self._has_account)

    def _has_account(self) -> bool:
        return self.api.get("/api/v1/namespaces/inference/serviceaccounts/default").status == 200

    def _give_role(self, role: str) -> None:
        if not role:
            return
        verbs, resource = role.rsplit(" ", 1)
        rules = [{"apiGroups": [""], "resources": [resource], "verbs": verbs.split("/")}]
        base = "/apis/rbac.authorization.k8s.io/v1/namespaces/inference"
        role_object = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "runner" if resource == "pods" else resource},
            "rules": rules,
        }
        name = role_object["metadata"]["name"]
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "runner", "namespace": "inference"}],
        }
        self.api.apply(f"{base}/roles/{name}", role_object)
        self.api.apply(f"{base}/rolebindings/{name}", binding)


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Replay]]:
    done: dict[str, Replay] = {}

    def run(topic: str) -> Replay:
        if topic not in done:
            config = KubernetesConfig(tmp_path_factory.mktemp(topic), tls=False, controllers=False)
            with serve_kubernetes(config) as server:
                done[topic] = Replay(Api(server.url, server.admin_token))
                # The recorded requests named no user agent.
                done[topic].prepare(topic)
                done[topic].run(topic)
        return done[topic]

    return run


@pytest.mark.parametrize(
    ("topic", "index"),
    [
        pytest.param(topic, index, id=f"{topic}: {entry['name']}")
        for topic in TOPICS
        for index, entry in enumerate(entries(topic))
    ],
)
def test_answer_is_the_recorded_one(replay: Callable[[str], Replay], topic: str, index: int) -> None:
    entry = entries(topic)[index]
    answer, wanted = replay(topic).answers[entry["name"]], entry["response"]
    assert answer.status == wanted["status"]
    if entry["name"] == JOB_TEMPLATE:
        cause = answer.body["details"]["causes"][0]
        assert cause["field"] == "spec.template"
        assert cause["message"].startswith("Invalid value: {")
        assert cause["message"].endswith("}: field is immutable")
        return
    got = answer.body
    if isinstance(got, dict) and got.get("kind") != "Status" and topic in ("apply", "errors"):
        got = {name: value for name, value in got.items() if name != "status"}
    if isinstance(got, dict) and got.get("kind") == "TokenRequest":
        wanted["body"]["metadata"].pop("managedFields", None)
    assert comparable(got) == comparable(wanted["body"])
    assert answer.headers.getlist("warning") == wanted.get("warning", [])
