"""Diffs show what people set, and never a secret."""

import base64
import copy
import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from kube.diff import content, unified_diff, without_secrets

APPLIED = {
    entry["name"]: entry["object"]
    for entry in json.loads((Path(__file__).parents[1] / "data" / "kube" / "applied.json").read_text())
}


def test_an_identical_reapply_has_no_diff() -> None:
    before, after = APPLIED["create Deployment"], APPLIED["identical re-apply Deployment"]
    assert unified_diff(before, after, "Deployment inference/chat") == ""


def test_bookkeeping_does_not_count() -> None:
    before = APPLIED["create Deployment"]
    after = copy.deepcopy(before)
    after["metadata"] |= {"resourceVersion": "9", "generation": 7, "managedFields": []}
    after["status"] = {"replicas": 1}
    assert unified_diff(before, after, "x") == ""


def test_a_change_is_shown_with_its_context() -> None:
    before, after = APPLIED["create Deployment"], APPLIED["spec change (replicas 2): generation +1"]
    diff = unified_diff(before, after, "Deployment inference/chat")
    assert "--- Deployment inference/chat (live)" in diff
    assert "+++ Deployment inference/chat (applied)" in diff
    changed = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == ["-  replicas: 1", "+  replicas: 2"]


def test_a_new_object_is_shown_whole() -> None:
    diff = unified_diff(None, APPLIED["create ConfigMap"], "ConfigMap inference/chat-config")
    assert diff.startswith("--- /dev/null")
    assert "+kind: ConfigMap" in diff
    assert "managedFields" not in diff


def test_multi_line_text_is_compared_line_by_line() -> None:
    before = {"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a.yaml": "one: 1\ntwo: 2\n"}}
    after = {"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a.yaml": "one: 1\ntwo: 3\n"}}
    assert "-    two: 2\n+    two: 3\n" in unified_diff(before, after, "c")


def secret(**values: str) -> dict:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hf-token"}, "data": data}


def test_a_changed_secret_value_shows_as_changed_only() -> None:
    diff = unified_diff(secret(token="hf_first", same="kept"), secret(token="hf_second", same="kept"), "s")
    assert "-  token: '*** (before)'" in diff
    assert "+  token: '*** (after)'" in diff
    assert "same: '***'" in diff


def test_a_secret_that_kubectl_applied_keeps_no_copy_in_its_annotation() -> None:
    obj = secret(token="hf_first")
    obj["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": '{"data":"hf_first"}'}
    assert "hf_first" not in json.dumps(without_secrets(obj))
    assert "hf_first" not in unified_diff(None, obj, "s")


VALUES = st.dictionaries(st.sampled_from(["token", "other", "third"]), st.text("ZQJ789", min_size=6), max_size=3)


@settings(max_examples=50)
@given(before=st.none() | VALUES, after=VALUES)
def test_no_secret_value_is_ever_in_a_diff(before: dict | None, after: dict) -> None:
    old = secret(**before) if before is not None else None
    diff = unified_diff(old, secret(**after), "s")
    for value in (*(before or {}).values(), *after.values()):
        assert value not in diff
        assert base64.b64encode(value.encode()).decode() not in diff
    assert bool(diff) == (old is None or old["data"] != secret(**after)["data"])


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=50)
@given(spec=TREES, other=TREES)
def test_a_diff_is_empty_exactly_if_the_contents_are_equal(spec: object, other: object) -> None:
    one = {"kind": "ConfigMap", "metadata": {"name": "c", "uid": "1"}, "spec": spec}
    two = {"kind": "ConfigMap", "metadata": {"name": "c", "uid": "2"}, "spec": other}
    assert (unified_diff(one, two, "c") == "") == (content(one) == content(two))
