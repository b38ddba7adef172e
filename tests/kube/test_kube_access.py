import json

import pytest
from scripted_api import Answer, Asked, scripted_api, status

from kube.access import Permission, can, denied, whoami
from serving.errors import ClusterError


def reviewed(asked: Asked) -> Answer:
    """Allows everything but writing, as SelfSubjectAccessReview answers."""
    assert asked.method == "POST"
    assert asked.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    attributes = json.loads(asked.body)["spec"]["resourceAttributes"]
    allowed = attributes["verb"] in {"get", "list"} and attributes.get("subresource") != "log"
    return Answer(201, {"kind": "SelfSubjectAccessReview", "status": {"allowed": allowed}})


def test_one_question() -> None:
    with scripted_api(reviewed) as api:
        assert can(api.cluster, "list", "", "pods", "inference")
        assert not can(api.cluster, "patch", "apps", "deployments", "inference")
        assert not can(api.cluster, "get", "", "pods", "inference", "log")


def test_several_at_once_in_their_order() -> None:
    wanted = [
        Permission("patch", "apps", "deployments", "inference"),
        Permission("get", "apps", "deployments", "inference"),
        Permission("get", "", "pods", "inference", "log"),
        Permission("patch", "apps", "deployments", "inference"),
        Permission("delete", "", "nodes", ""),
    ]
    with scripted_api(reviewed) as api:
        missing = denied(api.cluster, wanted)
        assert len(api.asked) == 4
        assert denied(api.cluster, []) == []
    assert [str(one) for one in missing] == [
        "patch deployments.apps in namespace inference",
        "get pods/log in namespace inference",
        "delete nodes",
    ]


def test_a_missing_permission_says_which_rule_grants_it() -> None:
    error = Permission("get", "", "pods", "inference", "log").error("system:serviceaccount:inference:runner")
    assert error.code == "cluster.forbidden"
    assert "may not get pods/log in namespace inference" in str(error)
    assert (
        'a Role in namespace inference that is bound to system:serviceaccount:inference:runner: {apiGroups: [""], '
        in (error.fix)
    )
    assert "a ClusterRole" in Permission("list", "", "nodes", "").error().fix


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (Answer(201, {"status": {"userInfo": {"username": "jane"}}}), "jane"),
        (Answer(404, b"404 page not found\n"), ""),
    ],
)
def test_whoami_where_it_is_offered(answer: Answer, name: str) -> None:
    with scripted_api(lambda _: answer) as api:
        assert whoami(api.cluster) == name


def test_refused_credentials_are_not_taken_for_a_missing_permission() -> None:
    with scripted_api(lambda _: status(401, "Unauthorized", "Unauthorized")) as api:
        with pytest.raises(ClusterError) as caught:
            can(api.cluster, "list", "", "pods", "inference")
        assert caught.value.code == "cluster.unauthorized"
        with pytest.raises(ClusterError):
            whoami(api.cluster)
