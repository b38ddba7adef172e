"""Events of the project, sent to Prefect: automations react to them, and the event feed shows them."""

from prefect import get_run_logger
from prefect.events import emit_event
from prefect.exceptions import EventTooLarge

from serving.events import Event


def emit(event: Event) -> None:
    """Sends an event, inside a run; whatever becomes of it, the run goes on."""
    try:
        emit_event(event.name, resource=event.resource(), related=event.related(), payload=event.payload())
    except EventTooLarge as error:
        get_run_logger().warning("Event %s was not sent: %s", event.name, error)
