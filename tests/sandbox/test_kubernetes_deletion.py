"""Deletion: policies, finalizers, owners, namespaces, and what answers tell."""

from typing import Any

from kubernetes_http import Space, config_map, deployment, until

from sandbox.kubernetes.server import KubernetesServer


def owned(name: str, owner: dict[str, Any], **reference: Any) -> dict[str, Any]:
    meta = owner["metadata"]
    one = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    return config_map(name, ownerReferences=[{**one, **reference}])


def gone(space: Space, path: str) -> bool:
    return space.api.get(path).status == 404


def test_most_deletions_answer_with_a_status(space: Space) -> None:
    path = f"{space.core}/configmaps/cm"
    uid = space.api.apply(path, config_map("cm")).meta["uid"]
    wrong = space.api.delete(path, {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}})
    assert wrong.failure()[:2] == (409, "Conflict")
    assert f"does not match the UID in record ({uid})" in wrong.message
    dry = space.api.delete(path, dryRun="All")
    assert (dry.body["status"], space.api.get(path).status) == ("Success", 200)
    done = space.api.delete(path)
    assert done.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": "cm", "kind": "configmaps", "uid": uid},
    }
    assert space.api.delete(path).failure() == (404, "NotFound", 'configmaps "cm" not found')
    wrong = space.api.delete(path, propagationPolicy="Sideways")
    assert wrong.message == (
        'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Sideways": '
        'supported values: "Foreground", "Background", "Orphan", "nil"'
    )


def test_background_takes_the_owner_first_and_dependents_after(space: Space) -> None:
    path = f"{space.apps}/deployments/web"
    web = space.api.apply(path, deployment("web")).body
    space.api.post(f"{space.core}/configmaps", owned("child", web))
    answer = space.api.delete(path, propagationPolicy="Background")
    assert answer.body["details"]["kind"] == "deployments"
    assert gone(space, path)
    until(lambda: gone(space, f"{space.core}/configmaps/child"))


def test_foreground_waits_for_blocking_dependents(space: Space) -> None:
    path, child = f"{space.apps}/deployments/web", f"{space.core}/configmaps/child"
    web = space.api.apply(path, deployment("web")).body
    held = owned("child", web, blockOwnerDeletion=True)
    held["metadata"]["finalizers"] = ["example.com/hold"]
    space.api.post(f"{space.core}/configmaps", held)
    answer = space.api.delete(path, {"propagationPolicy": "Foreground"})
    assert answer.body["kind"] == "Deployment"
    assert answer.meta["finalizers"] == ["foregroundDeletion"]
    assert (answer.meta["deletionGracePeriodSeconds"], answer.meta["generation"]) == (0, 2)
    until(lambda: "deletionTimestamp" in space.api.get(child).meta)
    again = space.api.delete(path, {"propagationPolicy": "Foreground"})
    assert again.meta["resourceVersion"] == answer.meta["resourceVersion"]
    assert space.api.apply(path, deployment("web")).status == 200
    space.api.patch(child, {"metadata": {"finalizers": None}})
    until(lambda: gone(space, path))
    assert gone(space, child)


def test_orphans_stay_without_their_owner(space: Space) -> None:
    path, child = f"{space.apps}/deployments/web", f"{space.core}/configmaps/child"
    web = space.api.apply(path, deployment("web")).body
    space.api.post(f"{space.core}/configmaps", owned("child", web))
    space.api.delete(path, propagationPolicy="Orphan")
    until(lambda: gone(space, path))
    assert "ownerReferences" not in space.api.get(child).meta


def test_an_object_whose_owner_never_was_goes(space: Space) -> None:
    nobody = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nobody", "uid": "none"}}
    space.api.post(f"{space.core}/configmaps", owned("child", nobody))
    until(lambda: gone(space, f"{space.core}/configmaps/child"))
    stranger = {"apiVersion": "strange.example.com/v1", "kind": "Stranger", "metadata": {"name": "x", "uid": "none"}}
    space.api.post(f"{space.core}/configmaps", owned("kept", stranger))
    space.api.post(f"{space.core}/configmaps", owned("marker", nobody))
    until(lambda: gone(space, f"{space.core}/configmaps/marker"))
    assert not gone(space, f"{space.core}/configmaps/kept")


def test_a_job_without_a_policy_orphans_and_warns(space: Space) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "registry.example.com/none:1"}]}
    job = {"metadata": {"name": "j"}, "spec": {"template": {"spec": pod}}}
    space.api.post(f"{space.batch}/jobs", job)
    answer = space.api.delete(f"{space.batch}/jobs/j")
    assert answer.meta["finalizers"] == ["orphan"]
    assert "child pods are preserved by default when jobs are deleted" in answer.headers["warning"]
    until(lambda: gone(space, f"{space.batch}/jobs/j"))


def test_a_collection_by_label(space: Space) -> None:
    path = f"{space.core}/configmaps"
    for index, app in enumerate(("x", "x", "y")):
        space.api.post(path, config_map(f"m{index}", labels={"app": app}))
    answer = space.api.delete(path, labelSelector="app=x")
    assert answer.body["kind"] == "ConfigMapList"
    assert [one["metadata"]["name"] for one in answer.body["items"]] == ["m0", "m1"]
    left = space.api.get(path, labelSelector="app").body["items"]
    assert [one["metadata"]["name"] for one in left] == ["m2"]


def test_a_claim_in_use_waits_for_its_pod(space: Space) -> None:
    claim = {
        "metadata": {"name": "weights"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    made = space.api.post(f"{space.core}/persistentvolumeclaims", claim)
    assert (made.body["status"], made.body["spec"]["volumeMode"]) == ({"phase": "Pending"}, "Filesystem")
    volume = {"name": "w", "persistentVolumeClaim": {"claimName": "weights"}}
    spec = {"volumes": [volume], "containers": [{"name": "c", "image": "registry.example.com/none:1"}]}
    until(lambda: space.api.get(f"{space.core}/serviceaccounts/default").status == 200)
    assert space.api.post(f"{space.core}/pods", {"metadata": {"name": "p"}, "spec": spec}).status == 201
    path = f"{space.core}/persistentvolumeclaims/weights"
    assert space.api.delete(path).meta["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert space.api.get(path).meta["deletionTimestamp"]
    # A pod without a node has nothing to end: it goes at once.
    assert space.api.delete(f"{space.core}/pods/p").body["kind"] == "Pod"
    until(lambda: gone(space, path))


def test_a_scheduled_pod_gets_its_grace_period(space: Space, api_server: KubernetesServer) -> None:
    spec = {
        "terminationGracePeriodSeconds": 4,
        "nodeName": "nowhere",
        "containers": [{"name": "c", "image": "registry.example.com/none:1"}],
    }
    until(lambda: space.api.get(f"{space.core}/serviceaccounts/default").status == 200)
    space.api.post(f"{space.core}/pods", {"metadata": {"name": "p"}, "spec": spec})
    path = f"{space.core}/pods/p"
    answer = space.api.delete(path)
    assert (answer.meta["deletionGracePeriodSeconds"], answer.meta["generation"]) == (4, 2)
    assert space.api.get(path).meta["deletionTimestamp"] == answer.meta["deletionTimestamp"]
    shorter = space.api.delete(path, gracePeriodSeconds=1)
    assert shorter.meta["deletionGracePeriodSeconds"] == 1
    forced = space.api.delete(path, gracePeriodSeconds=0)
    assert (forced.body["kind"], forced.meta["deletionGracePeriodSeconds"]) == ("Pod", 0)
    assert gone(space, path)


def test_a_namespace_goes_with_everything_in_it(space: Space) -> None:
    path = f"/api/v1/namespaces/{space.name}"
    held = config_map("held", finalizers=["example.com/hold"])
    space.api.post(f"{space.core}/configmaps", held)
    space.api.apply(f"{space.apps}/deployments/web", deployment("web"))
    answer = space.api.delete(path)
    assert (answer.body["kind"], answer.body["status"]["phase"]) == ("Namespace", "Terminating")
    until(lambda: gone(space, f"{space.apps}/deployments/web"))
    refused = space.api.post(f"{space.core}/configmaps", config_map("late"))
    assert refused.failure()[:2] == (403, "Forbidden")
    assert refused.message == (
        f'configmaps "late" is forbidden: unable to create new content in namespace {space.name} because it is being '
        "terminated"
    )
    assert refused.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    assert space.api.get(path).body["status"]["phase"] == "Terminating"
    space.api.patch(f"{space.core}/configmaps/held", {"metadata": {"finalizers": []}})
    until(lambda: gone(space, path))
    assert space.api.get(f"{space.core}/configmaps").body["items"] == []
