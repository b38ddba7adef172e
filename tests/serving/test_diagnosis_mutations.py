"""A recorded failure keeps its diagnosis under other names, in another order, with more around it and less in it."""

import copy
import datetime
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.diagnosis import Diagnosis
from tests.serving import scene_variants as scenes
from tests.serving.conftest import DATA, load_scene
from tests.serving.scene_variants import Entry

SCENES = sorted(path.name.split("-")[0] for path in (DATA / "scenes").glob("*.json"))
NAMES = {"inference": "team-ml", "node-a": "ip-10-0-12-7.us-west-2.compute.internal", "chat": "assistant"}
QUIET = (
    "INFO 11-22 12:00:00 [x.py:1] using settings {'trust_remote_code': True}, error handling: 403, AccessDenied",
    "(APIServer pid=1) WARNING 11-22 12:00:00 [x.py:1] 429 Client Error: Too Many Requests for url, retrying in 1 s",
    'INFO:     10.0.0.1:34242 - "GET /health HTTP/1.1" 503 Service Unavailable',
    "DEBUG 11-22 12:00:00 CUDA out of memory is what would be said if it were",
    "/usr/lib/python3.12/x.py:3: UserWarning: No space left on device is near",
)

Mutation = Callable[[Entry, random.Random], Entry]


def renamed(entry: Entry, _: random.Random) -> Entry:
    text = json.dumps(entry)
    for old, new in NAMES.items():
        text = re.sub(rf"(?<![\w]){re.escape(old)}(?![\w]|\.completion)", new, text)
    result: Entry = json.loads(text)
    return result


def _lists(value: Any) -> Iterator[list[Any]]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _lists(inner)
    elif isinstance(value, list):
        yield value
        for inner in value:
            yield from _lists(inner)


def shuffled(entry: Entry, chance: random.Random) -> Entry:
    """Order means nothing in these lists; in commands and arguments it does."""
    for key in ("pods", "events", "deployments", "replicasets", "nodes", "endpointslices", "statefulsets"):
        chance.shuffle(entry.get(key, []))
    for pod in entry["pods"]:
        chance.shuffle(pod.get("status", {}).get("conditions", []))
        chance.shuffle(pod["spec"].get("volumes", []))
    for listed in _lists({k: v for k, v in entry.items() if k in ("deployments", "replicasets", "nodes")}):
        if listed and all(isinstance(one, dict) and {"type", "status"} <= one.keys() for one in listed):
            chance.shuffle(listed)
    return entry


def barer(entry: Entry, chance: random.Random) -> Entry:
    """Without what other versions and other tools leave out."""
    optional = ("managedFields", "resourceVersion", "generateName", "annotations", "selfLink")
    status = (
        "hostIP",
        "hostIPs",
        "podIP",
        "podIPs",
        "qosClass",
        "startTime",
        "observedGeneration",
        "allocatedResources",
    )
    for pod in entry["pods"]:
        for name in chance.sample(optional, 3):
            pod["metadata"].pop(name, None)
        for name in chance.sample(status, 4):
            pod["status"].pop(name, None)
        for container in pod["status"].get("containerStatuses", []):
            for name in ("containerID", "imageID", "allocatedResources", "resources", "user", "volumeMounts"):
                container.pop(name, None)
    for event in entry["events"]:
        for name in ("count", "firstTimestamp", "reportingInstance", "action"):
            event.pop(name, None)
    return entry


def with_others(entry: Entry, _: random.Random) -> Entry:
    """A healthy workload beside it."""
    other = json.loads(re.sub(r"\bchat\b", "neighbour", json.dumps(scenes.last("01"))))
    for kind in ("pods", "deployments", "replicasets", "events"):
        entry[kind] = [*other[kind], *entry.get(kind, [])]
    entry["logs"] = other["logs"] | entry.get("logs", {})
    return entry


def twice(entry: Entry, _: random.Random) -> Entry:
    """A second replica with the same trouble."""
    copies = copy.deepcopy(entry["pods"])
    for pod in copies:
        name = pod["metadata"]["name"]
        pod["metadata"] |= {"name": f"{name}-2", "uid": f"{pod['metadata'].get('uid')}-2"}
        entry["logs"][f"{name}-2"] = copy.deepcopy(entry["logs"].get(name, {}))
        about = [e for e in entry["events"] if e["involvedObject"].get("name") == name]
        for event in copy.deepcopy(about):
            event["involvedObject"] |= {"name": f"{name}-2", "uid": pod["metadata"]["uid"]}
            entry["events"].append(event)
    for kind in ("deployments", "replicasets"):
        for owner in entry.get(kind, []):
            owner["spec"]["replicas"] = 2 * owner["spec"].get("replicas", 1)
    entry["pods"] += copies
    return entry


def noisier(entry: Entry, chance: random.Random) -> Entry:
    for containers in entry.get("logs", {}).values():
        for runs in containers.values():
            for run in runs.values():
                if run["status"] == 200 and isinstance(run["body"], str):
                    lines = run["body"].splitlines()
                    for line in QUIET:
                        lines.insert(chance.randint(0, len(lines)), line)
                    run["body"] = "\n".join(lines)
    return entry


def later(entry: Entry, chance: random.Random) -> Entry:
    days = datetime.timedelta(days=chance.randint(1, 400))

    def shifted(match: re.Match[str]) -> str:
        moment = datetime.datetime.fromisoformat(match[0]) + days
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    result: Entry = json.loads(re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shifted, json.dumps(entry)))
    return result


def restarted(entry: Entry, chance: random.Random) -> Entry:
    for pod in entry["pods"]:
        for section in ("containerStatuses", "initContainerStatuses"):
            for status in pod.get("status", {}).get(section, []):
                if status.get("restartCount"):
                    status["restartCount"] += chance.randint(0, 30)
    return entry


MUTATIONS: tuple[Mutation, ...] = (renamed, shuffled, barer, with_others, noisier, later, restarted, twice)
ALONE = {"22": {twice}, "26": {twice}}
"""Where a mutation changes what is true: two more pods do not wait for the same node as one."""


def summary(diagnosis: Diagnosis | None) -> tuple[str, str, bool]:
    return ("healthy", "", False) if diagnosis is None else (diagnosis.category, diagnosis.reason, diagnosis.final)


@settings(max_examples=80, deadline=None)
@given(
    scene=st.sampled_from(SCENES),
    chosen=st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=4, unique=True),
    seed=st.integers(0, 9),
)
def test_a_scene_keeps_its_diagnosis(scene: str, chosen: list[Mutation], seed: int) -> None:
    entry, expected = scenes.last(scene), summary(scenes.judged(scenes.last(scene)))
    for mutation in chosen:
        if mutation not in ALONE.get(scene, set()):
            entry = mutation(entry, random.Random(seed))
    assert summary(scenes.judged(entry)) == expected


@pytest.mark.parametrize("scene", SCENES)
def test_a_fix_names_the_objects_by_their_own_names(scene: str) -> None:
    judged = scenes.judged(renamed(scenes.last(scene), random.Random(0)))
    if judged is None:
        return
    text = " ".join((judged.cause, *judged.fixes, *(entry.where for entry in judged.evidence)))
    for old in ("inference/", "node-a", "-n inference"):
        assert old not in text, text


@settings(max_examples=40, deadline=None)
@given(scene=st.sampled_from(SCENES), seed=st.integers(0, 10**6), moment=st.integers(0, 2))
def test_whatever_is_missing_judging_ends_and_is_surer_of_nothing_wrong(scene: str, seed: int, moment: int) -> None:
    """Fields of any object may be absent, as controllers fill them one after the other."""
    document, chance = load_scene(scene), random.Random(seed)
    entry = document["timeline"][min(moment, len(document["timeline"]) - 1)] | {"nodes": document["nodes"]}

    def thin(value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            kept = {k: v for k, v in value.items() if depth < 2 or k in ("name", "metadata") or chance.random() > 0.15}
            return {key: thin(inner, depth + 1) for key, inner in kept.items()}
        return [thin(inner, depth) for inner in value] if isinstance(value, list) else value

    judged = scenes.judged(thin(entry, 0))
    if document["truth"]["category"] == "healthy":
        assert judged is None or not judged.final, judged
