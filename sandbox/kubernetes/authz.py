"""RBAC: whether a user may do something, by the Roles and Bindings in the cluster."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.kubernetes.authn import ADMINS, AUTHENTICATED, SERVICE_ACCOUNT, User
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, ROLEBINDINGS, ROLES
from sandbox.kubernetes.store import Store

Manifest = Mapping[str, Any]

PUBLIC_PATHS = ("/healthz", "/livez", "/readyz", "/version", "/version/")
DISCOVERY_PATHS = ("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", *PUBLIC_PATHS)
SELF_RULES: tuple[Manifest, ...] = (
    {
        "verbs": ["create"],
        "apiGroups": ["authorization.k8s.io"],
        "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
    },
    {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
)
"""What every authenticated user may do (ClusterRoles system:basic-user and system:discovery)."""

_REMEMBERED = 50_000


@dataclass(frozen=True)
class Attributes:
    """What someone wants to do.

    Attributes:
        verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
        group: API group; empty for the core group.
        resource: Plural name.
        subresource: Empty for the resource itself.
        namespace: Empty for the cluster's scope.
        name: Of the object, where there is one.
        path: Of requests for no resource: the URL's path.
    """

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        """As rules name it: `pods/log`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True)
class Decision:
    """Whether something is allowed, and by which binding."""

    allowed: bool
    reason: str = ""


class Authorizer:
    """Evaluates RBAC objects as they are now.

    Attributes:
        used: Which right each user has made use of so far; requests for reviews and paths, which everybody may make,
            are left out.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.used: dict[tuple[str, Attributes], None] = {}

    def decide(self, user: User, wanted: Attributes) -> Decision:
        """Whether `user` may do what is `wanted`."""
        if ADMINS in user.groups:
            return Decision(allowed=True)
        if wanted.path:
            paths = DISCOVERY_PATHS if AUTHENTICATED in user.groups else PUBLIC_PATHS
            return Decision(wanted.verb == "get" and any(_path_matches(one, wanted.path) for one in paths))
        if AUTHENTICATED in user.groups and any(_allows(rule, wanted) for rule in SELF_RULES):
            return Decision(allowed=True)
        for reason, rule in self._rules(user, wanted.namespace):
            if _allows(rule, wanted):
                return Decision(allowed=True, reason=reason)
        return Decision(allowed=False)

    def require(self, user: User, wanted: Attributes) -> None:
        """Refuse what is not allowed.

        Raises:
            ApiError: 403 in the server's words.
        """
        if self.decide(user, wanted).allowed:
            self._note(user, wanted)
            return
        if wanted.path:
            message = f'forbidden: User "{user.name}" cannot {wanted.verb} path "{wanted.path}"'
            raise ApiError(403, "Forbidden", message, {})
        qualified = f"{wanted.resource}.{wanted.group}" if wanted.group else wanted.resource
        subject = f'{qualified} "{wanted.name}"' if wanted.name else qualified
        scope = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
        message = (
            f'{subject} is forbidden: User "{user.name}" cannot {wanted.verb} resource "{wanted.full_resource}" '
            f'in API group "{wanted.group}" {scope}'
        )
        details = {"name": wanted.name} if wanted.name else {}
        group = {"group": wanted.group} if wanted.group else {}
        raise ApiError(403, "Forbidden", message, {**details, **group, "kind": wanted.resource})

    def _note(self, user: User, wanted: Attributes) -> None:
        if wanted.path or any(_allows(rule, wanted) for rule in SELF_RULES):
            return
        self.used[user.name, wanted] = None
        if len(self.used) > _REMEMBERED:
            del self.used[next(iter(self.used))]

    def rules(self, user: User, namespace: str) -> list[Manifest]:
        """Every rule that holds for a user in a namespace."""
        if ADMINS in user.groups:
            return [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
        return [*SELF_RULES, *(rule for _, rule in self._rules(user, namespace))]

    def _rules(self, user: User, namespace: str) -> Iterator[tuple[str, Manifest]]:
        for binding in self._store.select(CLUSTERROLEBINDINGS.key):
            yield from self._bound(binding, user, "")
        if namespace:
            for binding in self._store.select(ROLEBINDINGS.key, namespace):
                yield from self._bound(binding, user, namespace)

    def _bound(self, binding: Manifest, user: User, namespace: str) -> Iterator[tuple[str, Manifest]]:
        subject = next((one for one in binding.get("subjects", ()) if _is(one, user, namespace)), None)
        if subject is None:
            return
        reference, meta = binding["roleRef"], binding["metadata"]
        if reference["kind"] == "Role":
            role = self._store.get(ROLES.key, namespace, reference["name"])
        else:
            role = self._store.get(CLUSTERROLES.key, "", reference["name"])
        name = f"{meta['name']}/{namespace}" if namespace else meta["name"]
        reason = (
            f'RBAC: allowed by {binding["kind"]} "{name}" of {reference["kind"]} "{reference["name"]}" '
            f"to {_described(subject)}"
        )
        for rule in (role or {}).get("rules") or ():
            yield reason, rule


def _is(subject: Manifest, user: User, namespace: str) -> bool:
    match subject.get("kind"):
        case "User":
            return bool(subject["name"] == user.name)
        case "Group":
            return subject["name"] in user.groups
        case "ServiceAccount":
            home = subject.get("namespace") or namespace
            return user.name == f"{SERVICE_ACCOUNT}{home}:{subject['name']}"
    return False


def _described(subject: Manifest) -> str:
    if subject["kind"] == "ServiceAccount":
        return f'ServiceAccount "{subject["name"]}/{subject.get("namespace", "")}"'
    return f'{subject["kind"]} "{subject["name"]}"'


def _allows(rule: Manifest, wanted: Attributes) -> bool:
    verbs, groups, resources = (rule.get(name) or () for name in ("verbs", "apiGroups", "resources"))
    names = rule.get("resourceNames") or ()
    return (
        ("*" in verbs or wanted.verb in verbs)
        and ("*" in groups or wanted.group in groups)
        and any(_resource_matches(one, wanted) for one in resources)
        and (not names or wanted.name in names)
    )


def _resource_matches(pattern: str, wanted: Attributes) -> bool:
    if pattern in ("*", wanted.full_resource):
        return True
    return bool(wanted.subresource) and pattern == f"*/{wanted.subresource}"


def _path_matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
