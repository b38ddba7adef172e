"""Errors that a person can act on.

    InferenceError            anything that the project explains itself
    ├── InputError            what the user asked for cannot be: found before anything is touched
    ├── HubError              the Hub refused or could not be reached
    ├── StoreError            the S3 bucket refused or could not be reached
    ├── StagingError          the transfer or its verification failed
    ├── ClusterError          the Kubernetes API refused or could not be reached
    │   ├── ApplyError        the API server rejected a manifest
    │   └── BusyError         another run is changing the endpoint; carries its name
    ├── PreflightError        the cluster cannot take this workload; carries every problem found
    ├── RolloutError          the workload did not become ready; carries its diagnosis
    ├── SmokeTestError        the endpoint did not answer as it must; carries the report
    └── BenchmarkError        a load test gave no result, or one beyond its limits

Each says what happened to which object, the likely cause and what to do next, and `code` is a stable name
that programs can match. Text and data never hold a secret.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.diagnosis import Diagnosis
    from serving.smoke import SmokeReport


class InferenceError(Exception):
    """A failure that the project can explain.

    Args:
        what: What happened, to which object: one sentence.
        cause: The likely cause, a sentence, if it is not plain from `what`.
        fix: What to do next: one sentence in the imperative.
        code: Stable name of the failure for programs, for example ``hub.gated``.
    """

    def __init__(self, what: str, *, cause: str = "", fix: str = "", code: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.fix = fix
        self.code = code or type(self).__name__

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.cause, self.fix) if part)

    # Errors are kept and sent pickled. Where Dask is imported, exceptions carry along what they came from (tblib): a
    # refused request, its headers and what the server said of its signature. The words above are all that may travel.
    __cause__ = __context__ = property(lambda _self: None, lambda _self, _value: None)


class InputError(InferenceError):
    """A parameter, preset or combination that cannot work."""


class HubError(InferenceError):
    """The Hugging Face Hub refused or could not be reached."""


class StoreError(InferenceError):
    """The S3 bucket refused or could not be reached."""


class BenchmarkError(InferenceError):
    """A load test gave no result, or one beyond the limits that it was given."""


class StagingError(InferenceError):
    """A model could not be staged; nothing became visible."""


class ClusterError(InferenceError):
    """The Kubernetes API refused or could not be reached."""


class ApplyError(ClusterError):
    """The API server rejected a manifest."""


class BusyError(ClusterError):
    """Another run holds what this one needs alone.

    Args:
        what: What is held, by whom: one sentence.
        holder: Who holds it: a flow run's id, or host and process outside Prefect.
        cause: Why.
        fix: What to do next.
    """

    def __init__(self, what: str, *, holder: str = "", cause: str = "", fix: str = "") -> None:
        super().__init__(what, cause=cause, fix=fix, code="lease.held")
        self.holder = holder


class PreflightError(InferenceError):
    """The target is not ready for this workload; nothing was changed.

    Args:
        problems: Everything that was found, most important first.
    """

    def __init__(self, problems: Sequence[InferenceError]) -> None:
        if not problems:
            raise ValueError("a PreflightError needs at least one problem")
        super().__init__(str(problems[0]) if len(problems) == 1 else _numbered(problems), code=problems[0].code)
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type["PreflightError"], tuple[tuple[InferenceError, ...]]]:
        return type(self), (self.problems,)


def _numbered(problems: Sequence[InferenceError]) -> str:
    listed = " ".join(f"({number}) {problem}" for number, problem in enumerate(problems, 1))
    return f"{len(problems)} problems: {listed}"


class RolloutError(InferenceError):
    """The workload did not become ready.

    Args:
        what: What did not become ready: one sentence.
        diagnosis: Why, as far as it could be found out; None when only time ran out.
        fix: What to do next where there is no diagnosis.
    """

    def __init__(self, what: str, diagnosis: "Diagnosis | None" = None, *, fix: str = "") -> None:
        super().__init__(
            what,
            cause=diagnosis.cause if diagnosis else "",
            fix=" ".join(diagnosis.fixes[:2]) if diagnosis else fix,
            code=f"rollout.{diagnosis.category}.{diagnosis.reason}" if diagnosis else "rollout.timeout",
        )
        self.diagnosis = diagnosis

    def __reduce__(self) -> tuple[object, ...]:
        return _rollout_error, (self.what, self.diagnosis, self.fix)


def _rollout_error(what: str, diagnosis: "Diagnosis | None", fix: str) -> RolloutError:
    return RolloutError(what, diagnosis, fix=fix)


class SmokeTestError(InferenceError):
    """The endpoint is ready and does not answer as it must.

    Args:
        endpoint: The endpoint, ``namespace/name``.
        report: What was asked and what came.
    """

    def __init__(self, endpoint: str, report: "SmokeReport") -> None:
        super().__init__(
            f"Endpoint {endpoint} failed its smoke test: {'; '.join(report.problems)}.",
            fix="Read the engine's log and the smoke test's report.",
            code="smoke.failed",
        )
        self.endpoint = endpoint
        self.report = report

    def __reduce__(self) -> tuple[type["SmokeTestError"], tuple[str, "SmokeReport"]]:
        return type(self), (self.endpoint, self.report)
