"""The entries of `details.causes`: one wrong field each, in the server's words."""

from collections.abc import Iterable

from sandbox.kubernetes.trees import compact_json

Cause = dict[str, str]


def _cause(reason: str, field: str, message: str) -> Cause:
    return {"reason": reason, "message": message, "field": field}


def required(field: str, detail: str = "") -> Cause:
    """The field is missing."""
    return _cause("FieldValueRequired", field, f"Required value: {detail}" if detail else "Required value")


def invalid(field: str, value: object, detail: str) -> Cause:
    """The value is not possible."""
    return _cause("FieldValueInvalid", field, f"Invalid value: {compact_json(value)}: {detail}")


def type_invalid(field: str, value: object, detail: str) -> Cause:
    """The value has the wrong type; the message shows the type's name."""
    return _cause("FieldValueTypeInvalid", field, f"Invalid value: {compact_json(value)}: {detail}")


def not_supported(field: str, value: object, supported: Iterable[str]) -> Cause:
    """The value is not one of those allowed."""
    allowed = ", ".join(compact_json(one) for one in supported)
    return _cause(
        "FieldValueNotSupported", field, f"Unsupported value: {compact_json(value)}: supported values: {allowed}"
    )


def not_found(field: str, value: object) -> Cause:
    """The value names something that is not there."""
    return _cause("FieldValueNotFound", field, f"Not found: {compact_json(value)}")


def duplicate(field: str, value: object) -> Cause:
    """The value must be unique."""
    return _cause("FieldValueDuplicate", field, f"Duplicate value: {compact_json(value)}")


def forbidden(field: str, detail: str) -> Cause:
    """The field may not be set, or not changed."""
    return _cause("FieldValueForbidden", field, f"Forbidden: {detail}")


def too_long(field: str, limit: int) -> Cause:
    """The value has too many characters."""
    return _cause("FieldValueTooLong", field, f"Too long: may not be more than {limit} bytes")
