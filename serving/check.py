"""The verdict over a live endpoint: pods, answer, drift. Pure."""

from dataclasses import dataclass

from serving.drift import Drift
from serving.readiness import Readiness
from serving.record import EndpointRecord, SmokeResult
from serving.smoke import SmokeReport

SHOWN_DRIFT = 5
"""Drifted fields that a sentence names."""


@dataclass(frozen=True)
class Check:
    """What a check of one endpoint found.

    Attributes:
        readiness: How its workload is doing; None if that is not there, or was not looked at.
        smoke: The answer to the question; None if it was not asked.
        drift: Where the live objects differ from what was applied.
        problems: What is wrong, one sentence each.
        skipped: Why it was not checked; empty if it was.
        note: What could not be looked at, and is no reason to worry.
    """

    record: EndpointRecord
    readiness: Readiness | None = None
    smoke: SmokeReport | None = None
    drift: tuple[Drift, ...] = ()
    problems: tuple[str, ...] = ()
    skipped: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """``namespace/endpoint``."""
        return f"{self.record.spec.namespace}/{self.record.spec.name}"

    @property
    def healthy(self) -> bool:
        """Whether it was checked and nothing is wrong."""
        return not self.skipped and not self.problems

    @property
    def verdict(self) -> str:
        """One word, or why it was not checked."""
        return "not checked" if self.skipped else "healthy" if self.healthy else "unhealthy"

    def row(self) -> dict[str, str]:
        """The check as one row of a table."""
        ready = f"{self.readiness.ready_replicas}/{self.readiness.wanted}" if self.readiness else "none"
        answered = "" if self.smoke is None else f"{self.smoke.seconds:.2f} s" if self.smoke.passed else "failed"
        return {
            "endpoint": self.name,
            "verdict": self.verdict,
            "ready": "" if self.skipped else ready,
            "smoke test": answered,
            "drift": str(len(self.drift) or ""),
            "why": self.skipped or " ".join((*self.problems, self.note)).strip(),
        }


def problems(
    record: EndpointRecord,
    readiness: Readiness | None,
    served: str,
    smoke: SmokeReport | None,
    drift: tuple[Drift, ...],
) -> tuple[str, ...]:
    """Says what is wrong with an endpoint, one sentence each.

    Args:
        record: What it should serve.
        readiness: How its workload is doing; None if that is not there.
        served: Id of the release that its Service points at; empty if there is no such Service.
        smoke: The answer; None if it was not asked.
        drift: Where its objects differ from what was applied.
    """
    found = []
    wanted = record.serving.id
    if not served:
        found.append("Its Service is missing: clients do not get to it.")
    elif served != wanted:
        found.append(f"Its Service points at release {served}, the record says {wanted}.")
    if readiness is None:
        found.append(f"The workload of release {wanted} is missing.")
    elif not readiness.ready:
        found.append(f"Not all pods are ready: {readiness.message}.")
    if smoke is not None and not smoke.passed:
        found.append(f"It does not answer as it must: {'; '.join(smoke.problems)}.")
    if drift:
        more = f" and {len(drift) - SHOWN_DRIFT} more" if len(drift) > SHOWN_DRIFT else ""
        found.append(f"Drifted: {'; '.join(map(str, drift[:SHOWN_DRIFT]))}{more}.")
    return tuple(found)


def smoke_result(report: SmokeReport, at: str = "") -> SmokeResult:
    """The test as the record keeps it.

    Args:
        report: What came.
        at: When, as records have it; empty: when the release was promoted.
    """
    return SmokeResult(
        passed=report.passed,
        prompt=report.prompt,
        answer=report.answer,
        seconds=report.seconds,
        first_token_seconds=report.first_token_seconds,
        tokens_per_second=report.tokens_per_second,
        at=at,
        problems=report.problems,
    )
