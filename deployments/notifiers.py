"""Where failures are told: Prefect's notification blocks, from the environment or made by a person."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SendgridEmail, SlackWebhook
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from deployments.outcomes import Done, Outcome
from serving.errors import InputError

NOTIFIER_NAME = "inference"
"""Name of the notification blocks that the automations use."""

Environ = Mapping[str, str]


def slack(environ: Environ) -> Block | None:
    """Slack, where SLACK_WEBHOOK_URL is set."""
    url = environ.get("SLACK_WEBHOOK_URL")
    return SlackWebhook(url=SecretStr(url)) if url else None


def email(environ: Environ) -> Block | None:
    """E-mail by SendGrid, where SENDGRID_API_KEY, NOTIFY_EMAIL_FROM and NOTIFY_EMAIL_TO are set.

    Raises:
        InputError: Only some of them are.
    """
    given = {name: environ.get(name, "") for name in ("SENDGRID_API_KEY", "NOTIFY_EMAIL_FROM", "NOTIFY_EMAIL_TO")}
    if not any(given.values()):
        return None
    if missing := [name for name, value in given.items() if not value]:
        raise InputError(f"E-mails need {', '.join(given)}: {' and '.join(missing)} is not set.", fix="Set it.")
    return SendgridEmail(
        api_key=SecretStr(given["SENDGRID_API_KEY"]),
        sender_email=given["NOTIFY_EMAIL_FROM"],
        to_emails=[one.strip() for one in given["NOTIFY_EMAIL_TO"].split(",")],
    )


def webhook(environ: Environ) -> Block | None:
    """Any address that takes a POST of ``{"subject": …, "body": …}``, where NOTIFY_WEBHOOK_URL is set."""
    url = environ.get("NOTIFY_WEBHOOK_URL")
    if not url:
        return None
    # The address may hold a token: it goes where the block keeps secrets.
    return CustomWebhookNotificationBlock(
        name="inference",
        url="{{url}}",
        secrets={"url": url},
        json_data={"subject": "{{subject}}", "body": "{{body}}"},
    )


MAKERS: dict[type[Block], Callable[[Environ], Block | None]] = {
    SlackWebhook: slack,
    SendgridEmail: email,
    CustomWebhookNotificationBlock: webhook,
}

OTHERS = ("ms-teams-webhook", "discord-webhook", "mattermost-webhook", "opsgenie-webhook", "pager-duty-webhook")
"""Block types that a person may make, under the same name, for the automations to use."""


@dataclass(frozen=True)
class Notifier:
    """A notification block on the server.

    Attributes:
        slug: ``slack-webhook/inference``.
        id: Of the block document.
    """

    slug: str
    id: UUID


async def ensure_notifiers(client: PrefectClient, environ: Environ) -> list[Done]:
    """Saves the notification blocks that the environment describes; those that are there stay as they are."""
    done = []
    for kind, make in MAKERS.items():
        block, slug = make(environ), kind.get_block_type_slug()
        name = f"{slug}/{NOTIFIER_NAME}"
        if await _document(client, slug) is not None:
            done.append(Done("block", name, Outcome.UNCHANGED))
        elif block is not None:
            await block.asave(NOTIFIER_NAME)
            done.append(Done("block", name, Outcome.CREATED))
    return done


async def find_notifiers(client: PrefectClient) -> list[Notifier]:
    """All notification blocks of our name."""
    slugs = [*(kind.get_block_type_slug() for kind in MAKERS), *OTHERS]
    found = await asyncio.gather(*(_document(client, slug) for slug in slugs))
    return [Notifier(f"{slug}/{NOTIFIER_NAME}", one) for slug, one in zip(slugs, found, strict=True) if one]


async def _document(client: PrefectClient, slug: str) -> UUID | None:
    try:
        found = await client.read_block_document_by_name(NOTIFIER_NAME, slug, include_secrets=False)
    except ObjectNotFound:
        return None
    return found.id
