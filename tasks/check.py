"""One live endpoint under test: its pods, its answer, its objects; the result goes into its record."""

import asyncio
from dataclasses import dataclass

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks.store import ModelStore
from kube.connect import Cluster
from serving import events
from serving.check import Check, problems, smoke_result
from serving.drift import Drift
from serving.errors import ClusterError, InferenceError
from serving.lifecycle import changed_since, now
from serving.record import EndpointRecord
from serving.smoke import SmokeReport, expectation_for
from tasks.drift import NotComparable, find_drift
from tasks.events import emit
from tasks.live import Live, find_live
from tasks.record import held_record, read_record
from tasks.smoke import Address, ask


@dataclass(frozen=True)
class Wanted:
    """What is looked at besides the pods.

    Attributes:
        smoke: Whether a question is asked.
        drift: Whether the live objects are compared with what was applied.
    """

    smoke: bool = True
    drift: bool = True


@task(name="check-endpoint", task_run_name="check-{record.spec.namespace}-{record.spec.name}", cache_policy=NO_CACHE)
async def check_endpoint(
    record: EndpointRecord, live: Live, wanted: Wanted, store: ModelStore, cluster: Cluster
) -> Check:
    """Checks one endpoint through its own Service, tells an event, and notes the test in the record.

    One that a run is changing now is left alone.
    """
    found = await asyncio.to_thread(examine, record, live, wanted, store, cluster)
    log = get_run_logger()
    if found.skipped:
        log.info("%s: not checked: %s", found.name, found.skipped)
        return found
    for problem in found.problems:
        log.warning("%s: %s", found.name, problem)
    fields = events.serving(found.record)
    if found.healthy:
        emit(events.EndpointHealthy(**fields, seconds=found.smoke.seconds if found.smoke else 0.0))
    else:
        emit(events.EndpointUnhealthy(**fields, problems=list(found.problems)))
    if found.smoke is not None:
        await note_smoke(found.record, found.smoke, cluster)
    return found


def examine(record: EndpointRecord, live: Live, wanted: Wanted, store: ModelStore, cluster: Cluster) -> Check:
    """Looks at an endpoint; what is wrong with one that a run has changed since it was read is looked at anew.

    Changes nothing.

    Raises:
        ClusterError: The API cannot be reached or refuses.
    """
    found = look(record, live, wanted, store, cluster)
    if not found.problems:
        return found
    there = read_record(record.spec.namespace, record.spec.name, cluster)
    if there is None:
        return Check(record, skipped="it was removed meanwhile")
    present = find_live(cluster, [there])
    if not present.holder(there) and not changed_since(record, there):
        return found
    return look(there, present, wanted, store, cluster)


def look(record: EndpointRecord, live: Live, wanted: Wanted, store: ModelStore, cluster: Cluster) -> Check:
    """Looks at an endpoint; changes nothing."""
    if holder := live.holder(record):
        return Check(record, skipped=f"run {holder} is changing it")
    if record.current is None:
        return Check(record, skipped="its first release is not up yet")
    if not record.settled:
        return Check(record, skipped=f"a run died while it was {record.state}: the next deploy or refresh settles it")
    readiness, served = live.readiness(record), live.release(record)
    report: SmokeReport | None = None
    asleep = readiness is not None and readiness.wanted == 0 and record.spec.autoscaling is not None
    if wanted.smoke and served and not asleep:
        report = ask(Address(record.spec.namespace, record.spec.name), expectation_for(record.spec), cluster)
    drift, broken, note = _drift(record, store, cluster) if wanted.drift else ((), (), "")
    found = problems(record, readiness, served, report, drift)
    return Check(record, readiness, report, drift, (*found, *broken), note=note)


def _drift(
    record: EndpointRecord, store: ModelStore, cluster: Cluster
) -> tuple[tuple[Drift, ...], tuple[str, ...], str]:
    """Drift; what kept from looking for it and is a problem itself; and what is none."""
    try:
        return find_drift(record, store, cluster), (), ""
    except NotComparable as reason:
        return (), (), f"Drift was not looked for: {reason}."
    except InferenceError as error:
        return (), (str(error),), ""


async def note_smoke(record: EndpointRecord, report: SmokeReport, cluster: Cluster) -> None:
    """Keeps the test in the record, unless a run has changed the endpoint meanwhile, or does now."""
    spec = record.spec
    try:
        async with held_record(spec.namespace, spec.name, cluster, wait_seconds=0) as held:
            there = held.record
            if there is None or there.change is not None or there.current is None or there.current != record.current:
                return
            current = there.current.model_copy(update={"smoke": smoke_result(report, now())})
            await held.write(there.model_copy(update={"current": current}))
    except ClusterError as error:
        if error.code not in ("lease.held", "lease.lost"):
            raise
        get_run_logger().info("%s/%s: a run is changing it, the test is not noted", spec.namespace, spec.name)
