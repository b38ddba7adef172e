"""The doctor's look at the Hub and at the model store, with what the blocks hold."""

import asyncio

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from deployments.findings import Check, failed, guarded, ok, warning
from staging.store import check_store


async def hub_side(hub: HuggingFaceHub) -> list[Check]:
    """Asks the Hub whose token it is."""
    return await asyncio.to_thread(_hub, hub)


def _hub(hub: HuggingFaceHub) -> list[Check]:
    if hub.token is None:
        return [
            warning("hub", f"No token: only public models of {hub.endpoint} can be staged.", "Put one into the block.")
        ]
    try:
        answer = HfApi(endpoint=hub.endpoint.rstrip("/"), token=hub.token.get_secret_value()).whoami()
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            fix = f"Make a new one at {hub.endpoint}/settings/tokens and put it into the block."
            return [failed("hub", f"The Hub at {hub.endpoint} does not accept the token (HTTP {status}).", fix)]
        return [failed("hub", f"The Hub at {hub.endpoint} answers HTTP {status}.", "Try again later.")]
    except OSError as error:
        fix = "Check the block's endpoint, and that this machine may reach it (NAT, proxy)."
        return [failed("hub", f"The Hub at {hub.endpoint} was not reached ({type(error).__name__}).", fix)]
    except Exception as error:
        # The client's transport has exceptions of its own for what it cannot reach.
        fix = "Check the block's endpoint, and that this machine may reach it (NAT, proxy)."
        return [failed("hub", f"The Hub at {hub.endpoint} was not asked ({type(error).__name__}).", fix)]
    return [ok("hub", f"The token is valid ({answer.get('name', 'unknown')}) at {hub.endpoint}.")]


async def store_side(store: ModelStore) -> list[Check]:
    """Proves that the bucket can be read and written."""

    async def look() -> list[Check]:
        await asyncio.to_thread(lambda: check_store(store.access()))
        return [ok("store", f"s3://{store.bucket}/{store.prefix} can be listed and written.")]

    return await guarded("store", look)
