"""Is there a Prefect server, and which one?"""

import httpx
import prefect
from prefect.client.base import ServerType
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from serving.errors import InferenceError, InputError


async def check_server() -> str:
    """Asks the Prefect server for its version.

    Returns:
        The version.

    Raises:
        InputError: No server is named: Prefect would start one for this process alone.
        InferenceError: It cannot be reached, does not accept us, or is of another major version.
    """
    url = get_current_settings().api.url
    if not url:
        raise InputError(
            "No Prefect server is named.",
            fix="Start one (prefect server start) and set PREFECT_API_URL to its address with /api at the end.",
            code="prefect.none",
        )
    try:
        async with get_client() as client:
            if client.server_type is ServerType.CLOUD:
                await client.read_work_pools(limit=1)
                return prefect.__version__
            version = str(await client.api_version())
    except httpx.HTTPStatusError as error:
        raise _refused(url, error.response.status_code) from None
    except httpx.TransportError as error:
        raise InferenceError(
            f"The Prefect server at {url} was not reached ({type(error).__name__}).",
            fix="Check that it runs, and PREFECT_API_URL with /api at its end.",
            code="prefect.unreachable",
        ) from None
    if version.partition(".")[0] != prefect.__version__.partition(".")[0]:
        raise InferenceError(
            f"The Prefect server at {url} is version {version}, this project uses {prefect.__version__}.",
            fix="Upgrade the server to the same major version.",
            code="prefect.version",
        )
    return version


def _refused(url: str, status: int) -> InferenceError:
    if status in (401, 403):
        return InferenceError(
            f"The Prefect server at {url} does not accept us (HTTP {status}).",
            fix="Set PREFECT_API_KEY (Prefect Cloud) or PREFECT_API_AUTH_STRING (a server with a password).",
            code="prefect.unauthorized",
        )
    return InferenceError(
        f"{url} answers HTTP {status}, which is not what a Prefect server says.",
        fix="Check PREFECT_API_URL: the address ends with /api.",
        code="prefect.unreachable",
    )
