"""Errors that a person can act on.

    InferenceError            anything that the project explains itself
    ├── InputError            what the user asked for cannot be: found before anything is touched
    ├── HubError              the Hub refused or could not be reached
    ├── StoreError            the S3 bucket refused or could not be reached
    ├── StagingError          the transfer or its verification failed
    ├── ClusterError          the Kubernetes API refused or could not be reached
    │   └── ApplyError        the API server rejected a manifest
    ├── PreflightError        the cluster cannot take this workload; carries every problem found
    ├── RolloutError          the workload did not become ready; carries its diagnosis
    └── SmokeTestError        the endpoint did not answer as it must; carries the report

Each says what happened to which object, the likely cause and what to do next, and `code` is a stable name
that programs can match. Text and data never hold a secret.
"""

from collections.abc import Sequence


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


class InputError(InferenceError):
    """A parameter, preset or combination that cannot work."""


class HubError(InferenceError):
    """The Hugging Face Hub refused or could not be reached."""


class StoreError(InferenceError):
    """The S3 bucket refused or could not be reached."""


class StagingError(InferenceError):
    """A model could not be staged; nothing became visible."""


class ClusterError(InferenceError):
    """The Kubernetes API refused or could not be reached."""


class ApplyError(ClusterError):
    """The API server rejected a manifest."""


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
