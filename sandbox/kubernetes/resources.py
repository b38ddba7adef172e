"""The resources that the API server serves, and the ones it knows but refuses with 501."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from sandbox.kubernetes.store import StoreKey

if TYPE_CHECKING:
    from sandbox.kubernetes.objects.custom import CustomType

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
SUBRESOURCE_VERBS = MappingProxyType(
    {
        "status": ("get", "patch", "update"),
        "scale": ("get", "patch", "update"),
        "log": ("get",),
        "proxy": ("create", "delete", "get", "patch", "update"),
        "token": ("create",),
        "binding": ("create",),
        "eviction": ("create",),
    }
)


@dataclass(frozen=True)
class Resource:
    """One served resource of one version.

    Attributes:
        group: API group, empty for the core group.
        version: API version.
        plural: Its name in URLs.
        kind: Its name in objects.
        namespaced: Whether its objects live in namespaces.
        short_names: What kubectl also calls it.
        categories: kubectl's collective names (`all`).
        subresources: Names of its subresources.
        verbs: What can be done with it.
        definition: Name of its OpenAPI definition; empty for custom resources.
        singular: What discovery calls one of them, where that is not the kind in lower case.
        custom_type: Of a custom resource: what its definition says.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    definition: str = ""
    singular: str = ""
    custom_type: "CustomType | None" = field(default=None, repr=False, compare=False)

    @property
    def key(self) -> StoreKey:
        """Where its objects are in the store."""
        return (self.group, self.plural)

    @property
    def api_version(self) -> str:
        """As objects carry it: `apps/v1`, `v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As error messages name it: `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def custom(self) -> bool:
        """Whether it comes from a CustomResourceDefinition."""
        return self.custom_type is not None

    @property
    def singular_name(self) -> str:
        """As discovery names one of them."""
        return self.singular or self.kind.lower()


def _builtin(
    group: str,
    version: str,
    plural: str,
    kind: str,
    *,
    namespaced: bool = True,
    short: str = "",
    in_all: bool = False,
    sub: tuple[str, ...] = (),
    verbs: tuple[str, ...] = VERBS,
) -> Resource:
    package = {
        "": "core",
        "rbac.authorization.k8s.io": "rbac",
        "discovery.k8s.io": "discovery",
        "coordination.k8s.io": "coordination",
        "events.k8s.io": "events",
        "storage.k8s.io": "storage",
        "scheduling.k8s.io": "scheduling",
        "authorization.k8s.io": "authorization",
        "authentication.k8s.io": "authentication",
    }.get(group, group)
    definition = f"io.k8s.api.{package}.{version}.{kind}"
    if group == "apiextensions.k8s.io":
        definition = f"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}.{kind}"
    return Resource(
        group,
        version,
        plural,
        kind,
        namespaced,
        (short,) if short else (),
        ("all",) if in_all else (),
        sub,
        verbs,
        definition,
        "endpoints" if plural == "endpoints" else "",
    )


_CREATE_ONLY = ("create",)
_READ_ONLY = ("get", "list", "watch")
_RBAC = "rbac.authorization.k8s.io"

CONFIGMAPS = _builtin("", "v1", "configmaps", "ConfigMap", short="cm")
ENDPOINTS = _builtin("", "v1", "endpoints", "Endpoints", short="ep")
EVENTS = _builtin("", "v1", "events", "Event", short="ev")
NAMESPACES = _builtin(
    "",
    "v1",
    "namespaces",
    "Namespace",
    namespaced=False,
    short="ns",
    sub=("status",),
    verbs=tuple(verb for verb in VERBS if verb != "deletecollection"),
)
NODES = _builtin("", "v1", "nodes", "Node", namespaced=False, short="no", sub=("status",))
PVCS = _builtin("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", short="pvc", sub=("status",))
PVS = _builtin("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False, short="pv", sub=("status",))
PODS = _builtin("", "v1", "pods", "Pod", short="po", in_all=True, sub=("log", "proxy", "status"))
RESOURCEQUOTAS = _builtin("", "v1", "resourcequotas", "ResourceQuota", short="quota", sub=("status",))
SECRETS = _builtin("", "v1", "secrets", "Secret")
SERVICEACCOUNTS = _builtin("", "v1", "serviceaccounts", "ServiceAccount", short="sa", sub=("token",))
SERVICES = _builtin("", "v1", "services", "Service", short="svc", in_all=True, sub=("proxy", "status"))
DEPLOYMENTS = _builtin("apps", "v1", "deployments", "Deployment", short="deploy", in_all=True, sub=("scale", "status"))
REPLICASETS = _builtin("apps", "v1", "replicasets", "ReplicaSet", short="rs", in_all=True, sub=("scale", "status"))
# There are none, for no controller makes their pods: they can be looked for and not be made.
STATEFULSETS = _builtin("apps", "v1", "statefulsets", "StatefulSet", short="sts", in_all=True, verbs=_READ_ONLY)
JOBS = _builtin("batch", "v1", "jobs", "Job", in_all=True, sub=("status",))
HPAS = _builtin(
    "autoscaling",
    "v2",
    "horizontalpodautoscalers",
    "HorizontalPodAutoscaler",
    short="hpa",
    in_all=True,
    sub=("status",),
)
PDBS = _builtin("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", short="pdb", sub=("status",))
ENDPOINTSLICES = _builtin("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
LEASES = _builtin("coordination.k8s.io", "v1", "leases", "Lease")
NEW_EVENTS = _builtin("events.k8s.io", "v1", "events", "Event", short="ev", verbs=("get", "list"))
ROLES = _builtin(_RBAC, "v1", "roles", "Role")
ROLEBINDINGS = _builtin(_RBAC, "v1", "rolebindings", "RoleBinding")
CLUSTERROLES = _builtin(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTERROLEBINDINGS = _builtin(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)
STORAGECLASSES = _builtin("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False, short="sc")
PRIORITYCLASSES = _builtin("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False, short="pc")
CRDS = _builtin(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
    short="crd",
    sub=("status",),
)
ACCESS_REVIEWS = _builtin(
    "authorization.k8s.io",
    "v1",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
    verbs=_CREATE_ONLY,
)
RULES_REVIEWS = _builtin(
    "authorization.k8s.io",
    "v1",
    "selfsubjectrulesreviews",
    "SelfSubjectRulesReview",
    namespaced=False,
    verbs=_CREATE_ONLY,
)
SUBJECT_REVIEWS = _builtin(
    "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False, verbs=_CREATE_ONLY
)

BUILTIN: tuple[Resource, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Resource))

REFUSED: MappingProxyType[str, str] = MappingProxyType(
    {
        "v1": "bindings componentstatuses limitranges podtemplates replicationcontrollers",
        "apps/v1": "controllerrevisions daemonsets",
        "batch/v1": "cronjobs",
        "autoscaling/v1": "horizontalpodautoscalers",
        "authorization.k8s.io/v1": "localsubjectaccessreviews subjectaccessreviews",
        "authentication.k8s.io/v1": "tokenreviews",
        "storage.k8s.io/v1": "csidrivers csinodes csistoragecapacities volumeattachments volumeattributesclasses",
        "apiregistration.k8s.io/v1": "apiservices",
        "certificates.k8s.io/v1": "certificatesigningrequests",
        "networking.k8s.io/v1": "ingressclasses ingresses ipaddresses networkpolicies servicecidrs",
        "admissionregistration.k8s.io/v1": "mutatingadmissionpolicies mutatingadmissionpolicybindings "
        "mutatingwebhookconfigurations validatingadmissionpolicies validatingadmissionpolicybindings "
        "validatingwebhookconfigurations",
        "node.k8s.io/v1": "runtimeclasses",
        "resource.k8s.io/v1": "deviceclasses resourceclaims resourceclaimtemplates resourceslices",
        "flowcontrol.apiserver.k8s.io/v1": "flowschemas prioritylevelconfigurations",
    }
)
"""What a real server of this version has and this one does not, by group and version."""


class Registry:
    """Which resources are served now: the built-in ones and those of installed definitions."""

    def __init__(self) -> None:
        self._served = {(one.group, one.version, one.plural): one for one in BUILTIN}

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._served.values())

    def add(self, resource: Resource) -> None:
        """Serve a custom resource (again, when its definition changed)."""
        self._served[resource.group, resource.version, resource.plural] = resource

    def remove(self, group: str, plural: str) -> None:
        """Stop serving a custom resource in all its versions."""
        for key in [key for key in self._served if (key[0], key[2]) == (group, plural)]:
            del self._served[key]

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The served resource of that name, if there is one."""
        return self._served.get((group, version, plural))

    def stored(self, key: StoreKey) -> Resource | None:
        """The (newest) served version of a stored resource."""
        return next((one for one in self._served.values() if one.key == key and one is not NEW_EVENTS), None)

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of objects with this apiVersion and kind, as owner references name it."""
        group = api_version.rpartition("/")[0]
        return next((one for one in self._served.values() if (one.group, one.kind) == (group, kind)), None)

    def groups(self) -> dict[str, list[str]]:
        """Served versions of each named group, the preferred one first."""
        found: dict[str, list[str]] = {}
        for one in self._served.values():
            versions = found.setdefault(one.group, [])
            if one.version not in versions:
                versions.append(one.version)
        found.pop("")
        return found


def refused(group: str, version: str, plural: str = "") -> bool:
    """Whether a real server has this group version (and resource) though this one does not."""
    names = REFUSED.get(f"{group}/{version}" if group else version)
    return names is not None and (not plural or plural in names.split())
