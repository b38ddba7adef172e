"""Takes the Hub's webhooks and tells Prefect of them: `python -m deployments.hub_webhook`.

The Hub calls an address when a repository changes. This program compares the secret, keeps what concerns a model's
branches or tags, and sends Prefect the event `huggingface.repo.updated`; the bootstrap's automation answers with a
refresh of that repository. It holds no state: any number of copies may run, behind TLS that others end.

PREFECT_API_URL says which server; HUB_WEBHOOK_SECRET is the secret that was set at https://huggingface.co/settings/webhooks.
"""

import argparse
import hmac
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header, HTTPException, Request
from huggingface_hub import WebhookPayload
from prefect.events import Event, Resource
from prefect.events.clients import get_events_client
from pydantic import ValidationError

from deployments.automations import REPO_UPDATED
from serving.errors import InferenceError, InputError

SECRET_VARIABLE = "HUB_WEBHOOK_SECRET"
PATH = "/hub"
PORT = 8080
LARGEST_BODY = 1_000_000
"""Bytes; the Hub's payloads have a few thousand."""

_FOLLOWED = ("refs/heads/", "refs/tags/")
_log = logging.getLogger("deployments.hub_webhook")

Send = Callable[[Event], Awaitable[None]]


def event_of(payload: WebhookPayload) -> Event | None:
    """The event for what the Hub tells; None if no branch or tag of a model has moved.

    Args:
        payload: Version 3 of the Hub's payload (https://huggingface.co/docs/hub/webhooks).
    """
    repo = payload.repo
    moved = [one for one in payload.updatedRefs or () if one.ref.startswith(_FOLLOWED)]
    if repo.type != "model" or payload.event.scope != "repo.content" or not moved:
        return None
    # The name of the branch or tag and its commit are for people and other automations: a refresh asks the Hub itself.
    refs = [{"ref": one.ref, "old": one.oldSha, "new": one.newSha} for one in moved]
    return Event(
        event=REPO_UPDATED,
        resource=Resource.model_validate(
            {"prefect.resource.id": f"huggingface.repo.{repo.name}", "prefect.resource.name": repo.name}
        ),
        payload={"repo_id": repo.name, "refs": refs},
    )


async def send_to_prefect(event: Event) -> None:
    """Sends an event and waits until the server has it."""
    async with get_events_client(checkpoint_every=1) as events:
        await events.emit(event)


def receiver(secret: str, send: Send = send_to_prefect) -> FastAPI:
    """The application that the Hub calls.

    Args:
        secret: What the Hub sends in X-Webhook-Secret.
        send: Takes the events.

    Raises:
        InputError: No secret: anybody could start runs.
    """
    if not secret:
        raise InputError(
            "The webhook's secret is not known, and without one anybody could start runs.",
            fix=f"Set a secret at the Hub (settings → webhooks) and give it to this program in {SECRET_VARIABLE}.",
        )
    app = FastAPI(title="Hub webhook", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    def healthy() -> str:
        return "ok"

    @app.post(PATH, status_code=202)
    async def take(request: Request, x_webhook_secret: Annotated[str, Header()] = "") -> str:
        if not hmac.compare_digest(x_webhook_secret.encode(), secret.encode()):
            raise HTTPException(401, "X-Webhook-Secret is not the secret that was set.")
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST_BODY:
                raise HTTPException(413, f"More than {LARGEST_BODY} bytes.")
        try:
            payload = WebhookPayload.model_validate_json(body)
        except ValidationError as error:
            wrong = ", ".join(sorted({".".join(map(str, one["loc"])) or "the whole" for one in error.errors()}))
            raise HTTPException(400, f"This is not version 3 of the Hub's payload: {wrong}.") from None
        event = event_of(payload)
        if event is None:
            return f"Nothing to do: {payload.event.scope} of {payload.repo.type} {payload.repo.name}"
        try:
            await send(event)
        except Exception as error:
            _log.exception("The event was not sent")
            # The Hub keeps the call, and a person may send it again from its settings.
            raise HTTPException(502, f"The Prefect server did not take the event ({type(error).__name__}).") from None
        _log.info("%s has changed: %s", payload.repo.name, event.payload["refs"])
        return f"Told: {payload.repo.name}"

    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Listens until it is stopped.

    Returns:
        1 if there is no secret.
    """
    parser = argparse.ArgumentParser(
        prog="python -m deployments.hub_webhook",
        description="Take the Hub's webhooks and tell Prefect of them.",
        epilog=f"{SECRET_VARIABLE} holds the webhook's secret; the Hub is to call POST {PATH}.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=PORT, help="port (default: %(default)s)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        app = receiver(os.environ.get(SECRET_VARIABLE, ""))
    except InferenceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
