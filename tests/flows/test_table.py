"""Every framework on every accelerator with every source of weights: brought up in the sandbox, and asked.

One cell of each framework belongs to the default suite, the whole table to the long proofs.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kube.apply import apply
from kube.connect import from_kubeconfig
from kube.delete import delete
from serving.spec import Accelerator, Framework, WeightsSource
from serving.table import cells
from tasks.kinds import KINDS, VOLUME_KINDS, kinds_of, workload_kind
from tests.flows.cells import POSSIBLE, Cell, cell_name, spec_for
from tests.flows.conftest import NAMESPACE, World
from tests.flows.releases import staged_model, trial

EXAMPLES = {
    (Framework.VLLM, Accelerator.NEURON, WeightsSource.SYNC),
    (Framework.RAY_VLLM, Accelerator.GPU, WeightsSource.STREAM),
    (Framework.TRITON_VLLM, Accelerator.GPU, WeightsSource.MOUNT),
    (Framework.AIBRIX, Accelerator.CPU, WeightsSource.HUB),
    (Framework.LWS_VLLM, Accelerator.GPU, WeightsSource.STREAM),
    (Framework.DIFFUSERS, Accelerator.NEURON, WeightsSource.MOUNT),
    (Framework.NIM, Accelerator.GPU, WeightsSource.HUB),
    (Framework.LLAMA_CPP, Accelerator.CPU, WeightsSource.MOUNT),
}
"""One of each framework; all weights sources and accelerators are among them."""


AT_A_TIME = 3
"""Cells that run together: a group of pods takes two accelerators of a node's four."""


@pytest.fixture(scope="module", autouse=True)
def key(machines: World) -> Iterator[None]:
    """NGC's key and pull secret, which a user creates."""
    data = {"NGC_API_KEY": "nvapi-sandbox"}
    secrets: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "stringData": data}
        for name in ("ngc-api", "ngc-secret")
    ]
    with from_kubeconfig(machines.kubernetes.kubeconfig) as cluster:
        for secret in secrets:
            apply(cluster, secret)
        yield
        for secret in secrets:
            delete(cluster, "v1", "Secret", secret["metadata"]["name"], namespace=NAMESPACE)


def comes_up_and_answers(cell: Cell, machines: World) -> None:
    spec = spec_for(cell)
    with trial(machines, spec) as running:
        kinds = {(one["apiVersion"], one["kind"]) for one in running.manifests}
        assert workload_kind(spec) in kinds
        assert kinds <= set(kinds_of(spec)) <= {*KINDS, *VOLUME_KINDS}
        assert not [warning for one in running.apply() for warning in one.warnings]
        readiness = running.wait(timeout_seconds=120)
        assert readiness.ready
        assert readiness.wanted == 1
        assert any(not seen.ready for seen in running.seen)
        report = running.ask()
        assert report.passed, report.problems
        assert report.answer


def come_up_and_answer(wanted: Iterable[Cell], machines: World) -> None:
    """Cells together: most of what takes time is waiting for probes and operators."""
    mine = sorted(wanted)
    for spec in {spec_for(cell).model: spec_for(cell) for cell in mine if cell[2] is not WeightsSource.HUB}.values():
        staged_model(machines, spec.model)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        running = {cell_name(cell): pool.submit(comes_up_and_answers, cell, machines) for cell in mine}
    failed = {name: repr(done.exception()) for name, done in running.items() if done.exception()}
    assert not failed


def test_a_cell_of_each_framework_comes_up_and_answers(machines: World) -> None:
    come_up_and_answer(EXAMPLES, machines)


@pytest.mark.long
@pytest.mark.parametrize("framework", Framework)
def test_every_cell_of_the_table_comes_up_and_answers(framework: Framework, machines: World) -> None:
    come_up_and_answer({cell for cell in POSSIBLE if cell[0] is framework}, machines)


def test_the_rules_know_the_same_cells() -> None:
    known = {(cell.framework, cell.accelerator, cell.weights) for cell in cells() if not cell.why}
    assert set(POSSIBLE) == known


def test_the_examples_leave_out_no_framework_accelerator_or_source() -> None:
    assert set(POSSIBLE) >= EXAMPLES
    for kind, place in ((Framework, 0), (Accelerator, 1), (WeightsSource, 2)):
        assert {cell[place] for cell in EXAMPLES} == set(kind)
