"""What is done to objects, or refused, before they are stored: the admission plugins that pods meet."""

from collections.abc import Mapping
from typing import Any

from sandbox.kubernetes import errors
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.naming import random_suffix
from sandbox.kubernetes.resources import (
    CRDS,
    NAMESPACES,
    PODS,
    PRIORITYCLASSES,
    PVCS,
    RESOURCEQUOTAS,
    SERVICEACCOUNTS,
    STORAGECLASSES,
    Resource,
)
from sandbox.kubernetes.store import Store

Manifest = dict[str, Any]

_POD_SECURITY = "pod-security.kubernetes.io/enforce"
_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_SYSTEM_PRIORITIES: Mapping[str, int] = {
    "system-cluster-critical": 2_000_000_000,
    "system-node-critical": 2_000_001_000,
}


def require_namespace(store: Store, resource: Resource, namespace: str, name: str) -> None:
    """Refuse new objects in a namespace that does not exist or is going.

    Raises:
        ApiError: 404 or 403.
    """
    if not resource.namespaced:
        return
    found = store.get(NAMESPACES.key, "", namespace)
    if found is None:
        raise errors.not_found(NAMESPACES, namespace)
    if "deletionTimestamp" in found["metadata"]:
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        error = errors.forbidden(resource, name, why)
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
        raise ApiError(error.code, error.reason, error.message, {**(error.details or {}), "causes": [cause]})


def refuse_unsupported(resource: Resource, obj: Manifest) -> None:
    """Refuse what would be stored but not enforced.

    Raises:
        ApiError: 501 with the name of what is not there.
    """
    if resource is NAMESPACES:
        level = obj["metadata"].get("labels", {}).get(_POD_SECURITY)
        if level not in (None, "privileged"):
            raise errors.not_implemented(f"Pod Security admission ({_POD_SECURITY}={level})")
    elif resource is RESOURCEQUOTAS:
        if obj["spec"].get("scopes") or obj["spec"].get("scopeSelector"):
            raise errors.not_implemented("scopes of a ResourceQuota")
    elif resource is CRDS and obj["spec"].get("conversion", {}).get("strategy") == "Webhook":
        raise errors.not_implemented("conversion webhooks of a CustomResourceDefinition")


def admit_new(store: Store, resource: Resource, obj: Manifest) -> None:
    """Complete a new object, in place.

    Raises:
        ApiError: 403, the object names something that does not exist.
    """
    if resource is PODS:
        _service_account(store, obj)
        _priority(store, obj)
        _tolerations(obj["spec"])
    elif resource is PVCS:
        _storage_class(store, obj)


def _service_account(store: Store, pod: Manifest) -> None:
    meta, spec = pod["metadata"], pod["spec"]
    name = spec.setdefault("serviceAccountName", "default")
    spec["serviceAccount"] = name
    namespace = meta["namespace"]
    account = store.get(SERVICEACCOUNTS.key, namespace, name)
    if account is None:
        why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise errors.forbidden(PODS, meta.get("name") or meta.get("generateName", ""), why)
    if "imagePullSecrets" in account and "imagePullSecrets" not in spec:
        spec["imagePullSecrets"] = list(account["imagePullSecrets"])
    if spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True)):
        _mount_token(spec)


def _mount_token(spec: Manifest) -> None:
    containers = [*spec.get("initContainers", ()), *(spec["containers"] or ())]
    bare = [
        one for one in containers if all(mount.get("mountPath") != _TOKEN_PATH for mount in one.get("volumeMounts", ()))
    ]
    if not bare:
        return
    name = f"kube-api-access-{random_suffix()}"
    for container in bare:
        mount = {"name": name, "readOnly": True, "mountPath": _TOKEN_PATH}
        container["volumeMounts"] = [*container.get("volumeMounts", ()), mount]
    sources = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]
            }
        },
    ]
    volume = {"name": name, "projected": {"sources": sources, "defaultMode": 420}}
    spec["volumes"] = [*spec.get("volumes", ()), volume]


def _priority(store: Store, pod: Manifest) -> None:
    spec = pod["spec"]
    name = spec.get("priorityClassName")
    found: Manifest | None = None
    if name and name not in _SYSTEM_PRIORITIES:
        found = store.get(PRIORITYCLASSES.key, "", name)
        if found is None:
            meta = pod["metadata"]
            why = f"no PriorityClass with name {name} was found"
            raise errors.forbidden(PODS, meta.get("name") or meta.get("generateName", ""), why)
    elif not name:
        found = next((one for one in store.select(PRIORITYCLASSES.key) if one.get("globalDefault")), None)
        if found:
            spec["priorityClassName"] = found["metadata"]["name"]
    spec["priority"] = found["value"] if found else _SYSTEM_PRIORITIES.get(name or "", 0)
    spec.setdefault("preemptionPolicy", (found or {}).get("preemptionPolicy", "PreemptLowerPriority"))


def _tolerations(spec: Manifest) -> None:
    present = spec.setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        tolerated = any(
            one.get("key") in (key, None, "") and one.get("effect") in ("NoExecute", None, "") for one in present
        )
        if not tolerated:
            present.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})


def _storage_class(store: Store, claim: Manifest) -> None:
    if "storageClassName" in claim["spec"]:
        return
    for one in store.select(STORAGECLASSES.key):
        if one["metadata"].get("annotations", {}).get("storageclass.kubernetes.io/is-default-class") == "true":
            claim["spec"]["storageClassName"] = one["metadata"]["name"]
            return
