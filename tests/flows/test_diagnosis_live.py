"""Failures that the sandbox's nodes really produce end the wait with their cause; a bad connection ends nothing."""

import json
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kube.__main__ import main as diagnose_in_cluster
from kube.apply import apply
from kube.connect import from_kubeconfig
from kube.delete import delete
from kube.read import list_
from kube.service import ServiceWay
from sandbox.kubernetes.controllers.operators import NIM, simulate
from serving.__main__ import main as diagnose_file
from serving.diagnosis import Category
from serving.errors import ClusterError, RolloutError
from serving.models import ModelSource
from serving.release import release_of
from serving.rendering import render
from serving.smoke import expectation_for
from serving.spec import Framework
from tasks.smoke import converse
from tests.flows.conftest import NAMESPACE, World
from tests.flows.releases import Trial, spec_of, staged_model, trial

ADMIN = "sandbox-admin"
STREAMING = "vllm/vllm-openai:v0.11.0"


@dataclass(frozen=True)
class Failure:
    """How a deploy goes wrong, and what must be said.

    Attributes:
        fields: What differs from an endpoint that works.
        category: Of the diagnosis.
        reason: Of the diagnosis.
        names: What its cause or fixes must name.
    """

    fields: dict[str, Any]
    category: Category
    reason: str
    names: tuple[str, ...]


FAILURES = {
    "the image does not exist": Failure(
        {"image": "example.com/vllm-typo:v0.11.0", "weights": "hub"},
        Category.IMAGE_PULL,
        "not-found",
        ("example.com/vllm-typo:v0.11.0",),
    ),
    "the store's secret does not exist": Failure(
        {"store_secret": "no-such-keys", "weights": "stream", "image": STREAMING},
        Category.CONFIG,
        "missing",
        ("no-such-keys",),
    ),
    "the accelerator's memory is too small": Failure(
        {"env": {"SANDBOX_ENGINE_FAIL": "cuda-oom"}, "weights": "stream", "image": STREAMING},
        Category.GPU_MEMORY,
        "out-of-memory",
        ("tensor_parallel_size",),
    ),
    "the engine does not know an argument": Failure(
        {"engine": {"extra_args": ("--no-such-argument", "1")}, "weights": "stream", "image": STREAMING},
        Category.ENGINE,
        "argument",
        ("--no-such-argument",),
    ),
    "no node has so many accelerators": Failure(
        {"resources": {"accelerators": 8}},
        Category.UNSCHEDULABLE,
        "too-many-accelerators",
        ("nvidia.com/gpu",),
    ),
    "no node is of the instance type": Failure(
        {"instance_type": "g6e.2xlarge"},
        Category.UNSCHEDULABLE,
        "instance-type",
        ("g6e.2xlarge",),
    ),
    "the staged weights are gone": Failure(
        {"weights": "sync", "model": ModelSource(repo_id="NousResearch/Llama-3.2-1B")},
        Category.INIT,
        "checksum",
        ("Stage the model again",),
    ),
    "loading takes longer than allowed": Failure(
        {
            "env": {"SANDBOX_ENGINE_FAIL": "never-ready"},
            "weights": "stream",
            "image": STREAMING,
            "startup_seconds": 4,
        },
        Category.PROBE,
        "startup-kill",
        ("startup_seconds",),
    ),
    "the context is too long for the model": Failure(
        {"engine": {"max_model_len": 1_000_000}, "weights": "stream", "image": STREAMING},
        Category.ENGINE,
        "context-length",
        ("max_model_len",),
    ),
}


def fail(running: Trial) -> RolloutError:
    running.apply()
    with pytest.raises(RolloutError) as raised:
        running.wait()
    return raised.value


def lose_weights(running: Trial) -> None:
    """Renders the release as if its weights stood under another prefix, where there are none."""
    staged = staged_model(running.world, running.spec.model).model_copy(update={"uri": "s3://models/gone/"})
    running.release = release_of(running.spec, staged.model, staged)
    running.manifests = render(running.spec, staged, running.release)


TELLING = {
    "the image does not exist",
    "the store's secret does not exist",
    "the accelerator's memory is too small",
    "no node is of the instance type",
}
"""A pull, a missing object, an engine's own words, a scheduler's: the others take the same ways."""


@pytest.mark.parametrize(
    "name", [name if name in TELLING else pytest.param(name, marks=pytest.mark.long) for name in FAILURES]
)
def test_a_failure_ends_the_wait_with_its_cause(name: str, machines: World) -> None:
    failure = FAILURES[name]
    spec = spec_of(Framework.VLLM, name=name.replace(" ", "-").replace("'", "")[:30].rstrip("-"), **failure.fields)
    with trial(machines, spec) as running:
        if "gone" in name:
            lose_weights(running)
        error = fail(running)
    found = error.diagnosis
    assert found is not None, error
    assert (found.category, found.reason) == (failure.category, failure.reason), found
    assert found.final
    assert found.evidence
    for one in failure.names:
        assert one in " ".join((found.cause, *found.fixes)), found


def test_a_model_served_under_another_name_fails_the_smoke_test_and_says_what_it_got(machines: World) -> None:
    spec = spec_of(
        Framework.VLLM,
        name="wrong-name",
        image=STREAMING,
        weights="stream",
        env={"SANDBOX_ENGINE_FAIL": "wrong-model-name"},
    )
    with trial(machines, spec) as running:
        running.apply()
        assert running.wait().ready
        report = running.ask()
        place = running.address
        closed = ServiceWay(running.cluster, place.namespace, place.service, place.port, direct="http://127.0.0.1:1")
        around = converse(closed, expectation_for(spec))
    assert "proxy" in around.way
    assert around.problems == report.problems
    assert not report.passed
    assert "another-model" in " ".join(report.problems)
    assert spec.served_model_name in " ".join(report.problems)


def test_a_workload_that_nobody_looks_after_is_given_up_at_the_deadline(machines: World) -> None:
    """The NIM operator's kinds are installed, the operator is not."""
    spec = spec_of(Framework.NIM, name="no-operator", image="nvcr.io/nim/meta/any:1", nim={"operator": True})
    machines.kubernetes.call(partial(simulate, names=NIM, running=False))
    try:
        with trial(machines, spec) as running:
            running.apply()
            with pytest.raises(RolloutError) as raised:
                running.wait(2.0)
    finally:
        machines.kubernetes.call(partial(simulate, names=NIM))
    error = raised.value
    assert "NIMService inference/no-operator" in str(error)
    assert "did not become ready within 2 s" in str(error)


def use_up_faults(running: Trial) -> None:
    """Takes the errors that were ordered and not given: the next test has done nothing for them."""
    quiet = 0
    while quiet < 2:
        try:
            list_(running.cluster, "v1", "Pod", NAMESPACE)
            quiet += 1
        except ClusterError:
            quiet = 0


@pytest.mark.long
def test_a_wait_survives_whatever_the_connection_does_and_applies_nothing(machines: World) -> None:
    """50 cuts, expired versions and server errors while a release comes up: ready in the end, by one apply."""
    kubernetes = machines.kubernetes
    spec = spec_of(
        Framework.VLLM, name="cuts", image=STREAMING, weights="stream", env={"SANDBOX_ENGINE_LOAD_SECONDS": "30"}
    )
    over = threading.Event()
    cuts = [0]

    def disturb() -> None:
        while not over.wait(0.05) and cuts[0] < 50:
            if not kubernetes.cut_watches():
                continue
            cuts[0] += 1
            if cuts[0] % 5 == 0:
                kubernetes.compact()
                for status in (429, 500, 503):
                    kubernetes.fail_next(status, path_prefix="/api/v1/namespaces/inference/pods")

    with trial(machines, spec) as running:
        running.apply()
        requests = len(kubernetes.request_log)
        disturbing = threading.Thread(target=disturb)
        disturbing.start()
        try:
            assert running.wait(100.0).ready
        finally:
            over.set()
            disturbing.join()
            use_up_faults(running)
        assert cuts[0] >= 50
        changing = {one.verb for one in kubernetes.request_log[requests:] if one.user == ADMIN} - {
            "get",
            "list",
            "watch",
        }
        assert not changing, "waiting only reads"
        assert running.ask().passed


def test_any_endpoint_can_be_diagnosed_without_a_run(
    machines: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """By our label, and by the one that the inference chart sets; offline from the file that was saved."""
    config = ["--kubeconfig", str(machines.kubernetes.kubeconfig)]
    spec = spec_of(Framework.VLLM, name="asked-about", instance_type="g6e.2xlarge")
    with trial(machines, spec) as running:
        running.apply()
        with pytest.raises(RolloutError):
            running.wait()
        saved = tmp_path / "case.json"
        asked = ["diagnose", f"{spec.namespace}/{spec.name}", "--json", "--save", str(saved), *config]
        code = diagnose_in_cluster(asked)
        online = json.loads(capsys.readouterr().out)
        assert code == 1
        assert (online["category"], online["reason"]) == ("unschedulable", "instance-type")
        assert diagnose_file(["diagnose", str(saved), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == online
        assert diagnose_in_cluster(["diagnose", f"{spec.namespace}/no-such-endpoint", *config]) == 2
        assert "no-such-endpoint" in capsys.readouterr().err


def test_an_endpoint_of_the_chart_is_found_by_its_label(machines: World, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {"app.kubernetes.io/component": "from-chart"}
    container = {"name": "inference", "image": "example.com/gone:1"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    chart = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "from-chart", "namespace": NAMESPACE, "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
    arguments = ["diagnose", f"{NAMESPACE}/from-chart", "--json", "--kubeconfig", str(machines.kubernetes.kubeconfig)]
    with from_kubeconfig(machines.kubernetes.kubeconfig) as cluster:
        apply(cluster, chart)
        try:
            found: dict[str, Any] = {}
            patience = time.monotonic() + 30
            while found.get("category") != "image-pull" and time.monotonic() < patience:
                diagnose_in_cluster(arguments)
                found = json.loads(capsys.readouterr().out)
        finally:
            delete(cluster, "apps/v1", "Deployment", "from-chart", namespace=NAMESPACE)
    assert found["category"] == "image-pull"
    assert "example.com/gone:1" in found["cause"]
