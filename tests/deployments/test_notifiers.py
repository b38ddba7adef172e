"""Where failures are told: what the environment describes becomes blocks that reach the service, and show no secret."""

from typing import Any

import pytest

from deployments.notifiers import MAKERS, email, slack, webhook
from serving.errors import InputError

SLACK = {"SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T00000000/B00000000/markedSlackSecret0000000"}
EMAIL = {
    "SENDGRID_API_KEY": "SG.markedKey",
    "NOTIFY_EMAIL_FROM": "ops@example.com",
    "NOTIFY_EMAIL_TO": "a@x.org, b@x.org",
}


def services(block: Any) -> list[Any]:
    """What Apprise, which sends for Prefect, makes of the block's address: nothing where that is no address of its."""
    return list(block._apprise_client.servers)


def test_nothing_is_made_where_nothing_is_said() -> None:
    assert [make({}) for make in MAKERS.values()] == [None, None, None]


def test_slack_is_reached_at_its_address() -> None:
    block = slack(SLACK)
    assert block is not None
    (service,) = services(block)
    assert service.service_name == "Slack"
    assert "markedSlackSecret" not in repr(block) + str(block.model_dump(mode="json"))


def test_an_email_goes_to_everybody_named() -> None:
    block = email(EMAIL)
    assert block is not None
    (service,) = services(block)
    assert service.service_name == "SendGrid"
    assert {"a@x.org", "b@x.org"} <= set(service.targets)
    assert "markedKey" not in repr(block) + str(block.model_dump(mode="json"))


@pytest.mark.parametrize("missing", EMAIL)
def test_half_a_description_of_emails_is_told(missing: str) -> None:
    with pytest.raises(InputError, match=f"{missing} is not set"):
        email({name: value for name, value in EMAIL.items() if name != missing})


def test_an_address_is_kept_as_a_secret() -> None:
    block = webhook({"NOTIFY_WEBHOOK_URL": "https://example.com/hook?token=markedToken"})
    assert block is not None
    assert "markedToken" not in repr(block) + str(block.model_dump(mode="json"))
