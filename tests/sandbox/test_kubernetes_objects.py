"""The rules of objects by themselves: quantities, field sets, merging, ownership, patches, names of durations."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.kubernetes.api import protobuf
from sandbox.kubernetes.api.patches import merge_patch, strategic_merge_patch
from sandbox.kubernetes.api.printing import human_duration
from sandbox.kubernetes.errors import ApiError
from sandbox.kubernetes.objects.fieldsets import from_fields_v1, readable, to_fields_v1
from sandbox.kubernetes.objects.ownership import Entry, Manager, Ownership
from sandbox.kubernetes.objects.schemas import Schema, builtin
from sandbox.kubernetes.objects.typecheck import problems
from sandbox.kubernetes.objects.typed import compare, field_set, merge
from sandbox.kubernetes.quantities import canonical, parse

ITEM = Schema("struct", name="Item", fields={"name": Schema("string"), "value": Schema("string")})
SCHEMA = Schema(
    "struct",
    fields={
        "text": Schema("string"),
        "labels": Schema("map", values=Schema("string")),
        "items": Schema("list", items=ITEM, list_type="map", keys=("name",)),
        "set": Schema("list", items=Schema("string"), list_type="set"),
        "whole": Schema("list", items=Schema("string")),
        "inner": Schema("struct", fields={"x": Schema("string"), "y": Schema("string")}),
    },
)
word = st.sampled_from("abcd")
item = st.fixed_dictionaries({"name": word}, optional={"value": word})
objects = st.fixed_dictionaries(
    {},
    optional={
        "text": word,
        "labels": st.dictionaries(word, word, min_size=1),
        "items": st.lists(item, min_size=1, unique_by=lambda one: one["name"]),
        "set": st.lists(word, min_size=1, unique=True),
        "whole": st.lists(word, min_size=1),
        "inner": st.fixed_dictionaries({"x": word}, optional={"y": word}),
    },
)


def rules(manager: str, operation: str = "Apply") -> Ownership:
    return Ownership(SCHEMA, Manager(manager, operation, "v1"), (), "now")


def applied(steps: list[tuple[str, dict[str, Any]]]) -> tuple[dict[str, Any], list[Entry]]:
    obj: dict[str, Any] = {}
    entries: list[Entry] = []
    for manager, config in steps:
        obj, entries = rules(manager).apply(entries, obj, config, force=True)
        obj = obj or {}
    return obj, entries


@pytest.mark.parametrize(
    ("given_text", "kept"),
    [
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1000", "1k"),
        ("100Mi", "100Mi"),
        ("1e3", "1e3"),
        ("0", "0"),
        (2, "2"),
        ("128974848", "128974848"),
        ("0.1n", "1n"),
        ("500Ki", "500Ki"),
        ("0.5Ki", "512"),
    ],
)
def test_quantities_are_kept_in_one_form(given_text: str, kept: str) -> None:
    assert canonical(given_text) == kept


@given(st.integers(0, 10**15), st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi"]))
def test_the_canonical_quantity_is_the_same_amount(number: int, suffix: str) -> None:
    text = canonical(f"{number}{suffix}")
    assert parse(text) == parse(f"{number}{suffix}")
    assert canonical(text) == text


@pytest.mark.parametrize("text", ["", "abc", "1 Gi", "1.2.3", "Gi"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        parse(text)


@settings(max_examples=50)
@given(objects)
def test_field_sets_survive_managed_fields(obj: dict[str, Any]) -> None:
    paths = frozenset(field_set(SCHEMA, obj))
    assert from_fields_v1(to_fields_v1(paths)) == paths


def test_paths_as_people_read_them() -> None:
    assert readable(("f:spec", 'k:{"name":"c"}', "f:image")) == '.spec[name="c"].image'
    assert readable(("f:finalizers", 'v:"x"', "i:0")) == '.finalizers[="x"][0]'


@settings(max_examples=50)
@given(objects, objects)
def test_a_merge_has_everything_that_the_configuration_states(live: dict[str, Any], config: dict[str, Any]) -> None:
    merged = merge(SCHEMA, live, config)
    assert field_set(SCHEMA, config) <= field_set(SCHEMA, merged)
    assert merge(SCHEMA, merged, config) == merged
    assert not problems(SCHEMA, merged)


@settings(max_examples=50)
@given(objects, objects)
def test_a_comparison_finds_what_is_different(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert not compare(SCHEMA, old, old)
    there, back = compare(SCHEMA, old, new), compare(SCHEMA, new, old)
    assert (there.added, there.removed, there.modified) == (back.removed, back.added, back.modified)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), objects), min_size=1, max_size=5))
def test_applying_again_changes_nothing(steps: list[tuple[str, dict[str, Any]]]) -> None:
    obj, entries = applied(steps)
    again, after = rules(steps[-1][0]).apply(entries, obj, steps[-1][1], force=False)
    assert (again or {}) == obj
    assert after == entries


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), objects), min_size=1, max_size=5))
def test_nothing_is_left_when_every_applier_gave_up_everything(steps: list[tuple[str, dict[str, Any]]]) -> None:
    obj, _ = applied([*steps, ("a", {}), ("b", {})])
    assert obj == {}


@settings(max_examples=50)
@given(objects, objects, objects)
def test_without_force_nobody_loses_a_field(one: dict[str, Any], other: dict[str, Any], edit: dict[str, Any]) -> None:
    obj, entries = applied([("a", one), ("b", other)])
    difference = compare(SCHEMA, obj, merge(SCHEMA, obj, edit))
    owned = frozenset().union(*(entry.fields for entry in entries))
    if owned & (difference.added | difference.modified):
        with pytest.raises(ApiError, match="Apply failed with"):
            rules("c").apply(entries, obj, edit, force=False)
        return
    _, after = rules("c").apply(entries, obj, edit, force=False)
    kept = {entry.manager.name: entry.fields for entry in after}
    assert all(entry.fields <= kept[entry.manager.name] for entry in entries)


@settings(max_examples=50)
@given(objects, objects)
def test_an_update_owns_what_it_changed(old: dict[str, Any], new: dict[str, Any]) -> None:
    obj, entries = applied([("a", old)])
    difference = compare(SCHEMA, obj, new)
    after = {one.manager.name: one.fields for one in rules("b", "Update").update(entries, obj, new)}
    assert after.get("b", frozenset()) == difference.added | difference.modified
    assert not after["a"] & (difference.added | difference.modified | difference.removed)


def test_shared_list_items_keep_the_order_of_the_configuration() -> None:
    live = {"items": [{"name": "a"}, {"name": "x"}, {"name": "b"}]}
    merged = merge(SCHEMA, live, {"items": [{"name": "b"}, {"name": "a"}, {"name": "n"}]})
    names = [one["name"] for one in merged["items"]]
    assert sorted(names) == ["a", "b", "n", "x"]
    assert names.index("b") < names.index("a") < names.index("n")


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ],
)
def test_merge_patch_is_rfc_7386(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


def test_strategic_merge_replaces_deletes_and_orders() -> None:
    pod = builtin("io.k8s.api.core.v1.PodSpec")
    target = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}], "nodeSelector": {"x": "y"}}
    patch = {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
        "containers": [{"name": "c", "image": "2"}, {"name": "b", "$patch": "delete"}],
        "nodeSelector": {"$patch": "replace", "z": "1"},
    }
    merged = strategic_merge_patch(pod, target, patch)
    assert [one["name"] for one in merged["containers"]] == ["c", "a"]
    assert merged["nodeSelector"] == {"z": "1"}
    with pytest.raises(ApiError, match="does not contain declared merge key: name"):
        strategic_merge_patch(pod, target, {"containers": [{"image": "x"}]})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (3600, "60m"),
        (4 * 3600, "4h"),
        (90000, "25h"),
        (9e5, "10d"),
    ],
)
def test_durations_as_kubectl_prints_them(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def test_protobuf_bodies_of_known_kinds() -> None:
    kind = field(1, b"rbac.authorization.k8s.io/v1") + field(2, b"Role")
    rule = field(1, b"get") + field(2, b"") + field(3, b"pods")
    role = field(1, field(1, b"part") + field(2, b"") + field(7, 0) + field(8, b"")) + field(2, rule)
    body = b"k8s\x00" + field(1, kind) + field(2, role)
    assert protobuf.parse(body) == {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "part"},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
    }


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", "does not appear to be a protobuf message"),
        (b"k8s\x00" + field(1, field(1, b"v1") + field(2, b"Pod")), "does not implement protobuf bodies of Pod"),
        (b"k8s\x00" + field(1, field(2, b"Secret")) + field(2, field(9, b"x")), "field 9 of a Secret"),
        (b"k8s\x00\x0a\x7f", "unexpected EOF"),
    ],
)
def test_protobuf_bodies_that_cannot_be_read(body: bytes, text: str) -> None:
    with pytest.raises(ApiError, match=text):
        protobuf.parse(body)


def test_merging_handles_the_first_duplicate_of_a_live_list() -> None:
    live = {"items": [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]}
    merged = merge(SCHEMA, live, {"items": [{"name": "b"}]})
    assert merged["items"][0] == {"name": "a", "value": "1"}
