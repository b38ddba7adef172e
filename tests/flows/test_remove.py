"""Removing an endpoint takes what is its own, and nothing of an endpoint of the same name elsewhere."""

from typing import Any

from kube.apply import apply
from kube.connect import from_kubeconfig
from kube.read import get, list_
from tasks.remove import remove_objects
from tests.flows.conftest import NAMESPACE, World

OTHER = "somewhere-else"


def labelled(api_version: str, kind: str, name: str, namespace: str = "", **body: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "labels": {"inference-flows/endpoint": "twin"}}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def volume(namespace: str) -> dict[str, Any]:
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadOnlyMany"],
        "claimRef": {"namespace": namespace, "name": "twin-model"},
        "csi": {"driver": "s3.csi.aws.com", "volumeHandle": f"{namespace}-twin"},
    }
    return labelled("v1", "PersistentVolume", f"{namespace}-twin-model", spec=spec)


def test_a_twin_in_another_namespace_keeps_everything(machines: World) -> None:
    with from_kubeconfig(machines.kubernetes.kubeconfig) as cluster:
        apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OTHER}})
        for namespace in (NAMESPACE, OTHER):
            apply(cluster, volume(namespace))
            apply(cluster, labelled("v1", "ConfigMap", "twin-record", namespace, data={"a": "1"}))
        removed = remove_objects(NAMESPACE, "twin", cluster)
        assert len(removed) == 2
        assert get(cluster, "v1", "ConfigMap", "twin-record", NAMESPACE) is None
        assert get(cluster, "v1", "ConfigMap", "twin-record", OTHER) is not None
        volumes = list_(cluster, "v1", "PersistentVolume", labels="inference-flows/endpoint=twin")
        assert [one["metadata"]["name"] for one in volumes] == [f"{OTHER}-twin-model"]
        assert remove_objects(NAMESPACE, "twin", cluster) == []
