"""Who may do what: tokens, RBAC, reviews, impersonation, and faults on demand."""

from pathlib import Path
from stat import S_IMODE

import pytest
from kubernetes_http import Api, Space, config_map

from sandbox.kubernetes.server import KubernetesServer

RBAC = "rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def allow(space: Space, user: str, verbs: str, resources: str, group: str = "", name: str = "part") -> None:
    rules = [{"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}]
    base = space.group(RBAC)
    space.api.post(f"{base}/roles", {"metadata": {"name": name}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subjects = [{"kind": "User", "name": user}]
    binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects}
    assert space.api.post(f"{base}/rolebindings", binding).status == 201


def review(api: Api, **attributes: str) -> dict[str, object]:
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    answer = api.post(REVIEWS, {**body, "spec": {"resourceAttributes": attributes}})
    assert answer.status == 201
    return answer.body["status"]


@pytest.fixture
def ann(api_server: KubernetesServer, space: Space) -> Api:
    return space.api.as_user(api_server.add_token(f"ann@{space.name}", ["people"]))


def test_wrong_and_expired_tokens_are_401(api_server: KubernetesServer, space: Space) -> None:
    expired = api_server.add_token("late", expired=True)
    for token in ("wrong", expired):
        answer = space.api.as_user(token).get(f"{space.core}/pods")
        assert answer.failure() == (401, "Unauthorized", "Unauthorized")
    assert space.api.as_user("").get("/version").status == 200
    refused = space.api.as_user("").get(f"{space.core}/pods")
    assert 'User "system:anonymous" cannot list' in refused.message


def test_nothing_is_allowed_until_a_binding_says_so(space: Space, ann: Api) -> None:
    refused = ann.get(f"{space.core}/pods")
    user = f"ann@{space.name}"
    text = (
        f'pods is forbidden: User "{user}" cannot list resource "pods" in API group "" in the namespace "{space.name}"'
    )
    assert refused.failure() == (403, "Forbidden", text)
    allow(space, user, "get list", "pods")
    assert ann.get(f"{space.core}/pods").status == 200
    assert ann.get(f"{space.core}/pods/x").status == 404
    assert ann.get(f"{space.core}/pods", watch="true").status == 403
    assert ann.get(f"{space.core}/pods/x/log").status == 403
    assert ann.get("/api/v1/pods").message.endswith("at the cluster scope")
    allowed = review(ann, namespace=space.name, verb="list", resource="pods")
    assert allowed == {
        "allowed": True,
        "reason": f'RBAC: allowed by RoleBinding "part/{space.name}" of Role "part" to User "{user}"',
    }
    assert review(ann, namespace="default", verb="list", resource="pods") == {"allowed": False}


def test_subresources_groups_and_names_count(space: Space, ann: Api) -> None:
    user = f"ann@{space.name}"
    allow(space, user, "get create", "pods/log services/proxy")
    assert review(ann, namespace=space.name, verb="get", resource="pods", subresource="log")["allowed"]
    assert not review(ann, namespace=space.name, verb="get", resource="pods")["allowed"]
    assert ann.get(f"{space.core}/services/http:x:y/proxy/").status == 404
    rules = [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["get"]}]
    base = space.group(RBAC)
    space.api.post(f"{base}/roles", {"metadata": {"name": "one"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "one"}
    subjects = [{"kind": "Group", "name": "people"}]
    space.api.post(f"{base}/rolebindings", {"metadata": {"name": "one"}, "roleRef": reference, "subjects": subjects})
    assert ann.get(f"{space.core}/secrets/mine").status == 404
    assert ann.get(f"{space.core}/secrets/yours").status == 403


def test_the_roles_for_people(space: Space, ann: Api) -> None:
    base, user = space.group(RBAC), f"ann@{space.name}"
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    subjects = [{"kind": "User", "name": user}]
    space.api.post(f"{base}/rolebindings", {"metadata": {"name": "v"}, "roleRef": reference, "subjects": subjects})
    assert ann.get(f"{space.core}/configmaps").status == 200
    assert ann.get(f"{space.core}/secrets").status == 403
    assert ann.post(f"{space.core}/configmaps", config_map("x")).status == 403


def test_applying_something_new_needs_create_too(space: Space, ann: Api) -> None:
    user = f"ann@{space.name}"
    allow(space, user, "patch", "configmaps")
    path = f"{space.core}/configmaps/cm"
    refused = ann.apply(path, config_map("cm"))
    assert f'User "{user}" cannot create resource "configmaps"' in refused.message
    space.api.apply(path, config_map("cm"))
    assert ann.apply(path, config_map("cm", {"a": "1", "b": "2", "c": "3"})).status == 200


def test_what_is_not_installed_is_403_without_rights_and_404_with(space: Space, ann: Api) -> None:
    path = f"{space.group('keda.sh/v1alpha1')}/scaledobjects"
    assert ann.get(path).status == 403
    assert space.api.get(path).body == "404 page not found\n"


def test_service_account_tokens(space: Space) -> None:
    space.api.post(f"{space.core}/serviceaccounts", {"metadata": {"name": "runner"}})
    request = {"spec": {"expirationSeconds": 600}}
    issued = space.api.post(f"{space.core}/serviceaccounts/runner/token", request)
    assert issued.status == 201
    runner = space.api.as_user(issued.body["status"]["token"])
    who = runner.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {}).body["status"]["userInfo"]
    assert who["username"] == f"system:serviceaccount:{space.name}:runner"
    assert f"system:serviceaccounts:{space.name}" in who["groups"]
    missing = space.api.post(f"{space.core}/serviceaccounts/nobody/token", request)
    assert missing.failure()[:2] == (404, "NotFound")
    short = space.api.post(f"{space.core}/serviceaccounts/runner/token", {"spec": {"expirationSeconds": 5}})
    assert "may not specify a duration less than 10 minutes" in short.message


def test_rules_review_lists_what_holds(space: Space, ann: Api) -> None:
    allow(space, f"ann@{space.name}", "get", "pods")
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    status = ann.post(path, {"spec": {"namespace": space.name}}).body["status"]
    assert {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]} in status["resourceRules"]
    assert not status["incomplete"]


def test_impersonation_needs_the_right_to_it(space: Space, ann: Api) -> None:
    def listed(api: Api) -> int:
        headers = {"Authorization": f"Bearer {api.token}", "Impersonate-User": f"ann@{space.name}"}
        return api._pool.request("GET", f"{api.url}{space.core}/pods", headers=headers).status

    assert listed(space.api) == 403
    allow(space, f"ann@{space.name}", "list", "pods")
    assert listed(space.api) == 200
    assert listed(ann) == 403


def test_the_kubeconfig_is_for_its_owner_alone(api_server: KubernetesServer) -> None:
    path: Path = api_server.kubeconfig
    assert S_IMODE(path.stat().st_mode) == 0o600
    assert api_server.admin_token not in repr(api_server)


def test_requests_are_logged_as_they_were_authorized(api_server: KubernetesServer, space: Space) -> None:
    space.api.apply(f"{space.core}/configmaps/cm", config_map("cm"))
    space.api.watch(f"{space.core}/configmaps", 1)
    seen = [(one.verb, one.resource, one.name) for one in api_server.request_log if one.namespace == space.name]
    assert seen == [("patch", "configmaps", "cm"), ("watch", "configmaps", "")]


def test_faults_on_demand(api_server: KubernetesServer, space: Space) -> None:
    api_server.fail_next(503, 2, path_prefix=space.core)
    answers = [space.api.get(f"{space.core}/pods") for _ in range(3)]
    assert [answer.status for answer in answers] == [503, 503, 200]
    assert answers[0].headers["retry-after"] == "1"
    assert space.api.get("/version").status == 200
