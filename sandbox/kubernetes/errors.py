"""The one exception of the API server: what a client receives as a `Status` object."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.kubernetes.resources import Resource

Cause = dict[str, str]


class ApiError(Exception):
    """An answer that is not a success.

    Args:
        code: HTTP status.
        reason: The machine-readable reason (`NotFound`); empty where the real server sends none.
        message: The text for people.
        details: The `details` of the Status object, where there are any.

    Attributes:
        continue_token: For an expired page: where to go on, inconsistently.
    """

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details
        self.continue_token = ""

    def status(self) -> dict[str, Any]:
        """The `Status` object of this error."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": self.continue_token} if self.continue_token else {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        return {**body, "code": self.code}


def _details(resource: "Resource", name: str) -> dict[str, Any]:
    details = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    return {**details, "kind": resource.plural}


def not_found(resource: "Resource", name: str) -> ApiError:
    """404 for one named object."""
    return ApiError(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def unknown_resource() -> ApiError:
    """404 for a resource that its (known) group does not have."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: "Resource", name: str) -> ApiError:
    """409 for a create of an object that is there."""
    return ApiError(409, "AlreadyExists", f'{resource.qualified} "{name}" already exists', _details(resource, name))


def stale(resource: "Resource", name: str) -> ApiError:
    """409 for a write that names an older resourceVersion."""
    message = (
        f'Operation cannot be fulfilled on {resource.qualified} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return ApiError(409, "Conflict", message, _details(resource, name))


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def forbidden(resource: "Resource", name: str, why: str) -> ApiError:
    """403 with the reason of an authorizer or an admission rule."""
    subject = f'{resource.qualified} "{name}"' if name else resource.qualified
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {why}", _details(resource, name))


def invalid(group: str, kind: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422; `causes` are `{reason, message, field}` in the order in which they were found."""
    texts = [f"{cause['field']}: {cause['message']}" for cause in causes]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    qualified = f"{kind}.{group}" if group else kind
    named = {"name": name} if name else {}
    typed = {"kind": kind} if kind else {}
    details = {**named, **({"group": group} if group else {}), **typed, "causes": list(causes)}
    return ApiError(422, "Invalid", f'{qualified} "{name}" is invalid: {listed}', details)


def expired(message: str) -> ApiError:
    """410: the history asked for is gone."""
    return ApiError(410, "Expired", message)


def not_implemented(what: str) -> ApiError:
    """501: the sandbox has no such feature, and says so instead of guessing."""
    return ApiError(501, "NotImplemented", f"the sandbox's API server does not implement {what}")
