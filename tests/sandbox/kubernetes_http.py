"""A small HTTP client for tests of the sandbox's Kubernetes API: statuses and bodies as they come."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import urllib3

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

Object = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; `body` is parsed JSON, or text."""

    status: int
    headers: Any
    body: Any

    @property
    def meta(self) -> Object:
        return self.body["metadata"]

    @property
    def message(self) -> str:
        return self.body["message"] if isinstance(self.body, dict) else self.body

    def failure(self) -> tuple[int, str | None, str]:
        """Status, reason and message of an error; fails when this is none."""
        assert self.body["kind"] == "Status", self.body
        assert self.body["status"] == "Failure"
        assert self.body["code"] == self.status
        return self.status, self.body.get("reason"), self.body["message"]


class Api:
    """A server as one user sees it."""

    def __init__(self, url: str, token: str, ca_file: Any = None) -> None:
        self.url, self.token, self._ca = url, token, str(ca_file) if ca_file else None
        self._pool = urllib3.PoolManager(ca_certs=self._ca, retries=False, maxsize=4)

    def as_user(self, token: str) -> "Api":
        return Api(self.url, token, self._ca)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        **query: Any,
    ) -> Answer:
        headers = {"Accept": accept, "User-Agent": urllib3.util.SKIP_HEADER}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = body if isinstance(body, str | bytes) else json.dumps(body)
        got = self._pool.request(method, self._address(path, query), body=data, headers=headers, redirect=False)
        text = got.data.decode()
        parsed = json.loads(text) if "json" in got.headers.get("content-type", "") and text else text
        return Answer(got.status, got.headers, parsed)

    def _address(self, path: str, query: dict[str, Any]) -> str:
        texts = {name.rstrip("_"): str(value) for name, value in query.items()}
        return self.url + path + ("?" + urlencode(texts) if texts else "")

    def get(self, path: str, **query: Any) -> Answer:
        return self.call("GET", path, **query)

    def post(self, path: str, body: Any, **query: Any) -> Answer:
        return self.call("POST", path, body, **query)

    def patch(self, path: str, body: Any, content_type: str = MERGE, **query: Any) -> Answer:
        return self.call("PATCH", path, body, content_type, **query)

    def apply(self, path: str, body: Any, manager: str = "flows", **query: Any) -> Answer:
        return self.call("PATCH", path, body, APPLY, fieldManager=manager, **query)

    def delete(self, path: str, body: Any = None, **query: Any) -> Answer:
        return self.call("DELETE", path, body, **query)

    def watch(
        self, path: str, seconds: int = 1, act: Callable[[], object] | None = None, **query: Any
    ) -> list[tuple[str, Object]]:
        """The events of one watch to its end; `act` runs once it is open."""
        address = self._address(path, {"watch": "true", "timeoutSeconds": seconds, **query})
        headers = {"Authorization": f"Bearer {self.token}", "Accept": query.pop("accept", "application/json")}
        stream = self._pool.request("GET", address, headers=headers, preload_content=False)
        if act is not None:
            threading.Timer(0.05, act).start()
        data = b"".join(stream.stream())
        stream.release_conn()
        assert stream.status == 200, data
        return [(event["type"], event["object"]) for event in map(json.loads, data.splitlines())]


@dataclass(frozen=True)
class Space:
    """A namespace of its own, and the paths into it."""

    api: Api
    name: str

    @property
    def core(self) -> str:
        return f"/api/v1/namespaces/{self.name}"

    def group(self, group_version: str) -> str:
        return f"/apis/{group_version}/namespaces/{self.name}"

    @property
    def apps(self) -> str:
        return self.group("apps/v1")

    @property
    def batch(self) -> str:
        return self.group("batch/v1")


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true value of `condition`; fails when there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def config_map(name: str, data: Object | None = None, **meta: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **meta},
        "data": {"a": "1", "b": "2"} if data is None else data,
    }


def deployment(app: str, replicas: int | None = 0, setting: str = "1", **container: Any) -> Object:
    one = {
        "name": "c",
        "image": "registry.example.com/none:1",
        "env": [{"name": "A", "value": setting}],
        "ports": [{"name": "http", "containerPort": 8000}],
        **container,
    }
    spec: Object = {
        "selector": {"matchLabels": {"app": app}},
        "template": {"metadata": {"labels": {"app": app}}, "spec": {"containers": [one]}},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    meta = {"name": app, "labels": {"app": app}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def service(name: str, **spec: Any) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    content = {"selector": {"app": name}, "ports": ports, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": content}
