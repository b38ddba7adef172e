"""What the Hub's refusals mean, and what to do about each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.errors import HubError

if TYPE_CHECKING:
    from staging.hub import HubAccess
    from staging.wire import Answer


def unreachable(hub: HubAccess, error: BaseException | str) -> HubError:
    """The error for a Hub that does not answer."""
    reason = error if isinstance(error, str) else (str(error) or type(error).__name__)
    return HubError(
        f"The Hub at {hub.endpoint} cannot be reached: {reason.rstrip('.')}.",
        cause="The network, a proxy or the endpoint's name is wrong, or the Hub is down.",
        fix="Check the endpoint in the Hugging Face Hub block (or HF_ENDPOINT) and that this machine may reach it.",
        code="hub.unreachable",
    )


def bad_answer(hub: HubAccess, what: str, *, cause: str = "") -> HubError:
    """The error for an answer that no Hub gives."""
    return HubError(
        f"The Hub at {hub.endpoint} cannot be understood: {what}.",
        cause=cause or "The endpoint is not a Hugging Face Hub, or a proxy in between answers for it.",
        fix="Set the endpoint to the Hub itself.",
        code="hub.bad_answer",
    )


def explain(answer: Answer, hub: HubAccess, repo_id: str, revision: str) -> HubError:
    """Turn an error answer of the Hub into one that says what to do."""
    code, message = answer.headers.get("X-Error-Code", ""), answer.headers.get("X-Error-Message", "")
    if answer.status == 401 and hub.token and "expired" in message.lower():
        return token_expired(hub)
    if answer.status == 401 and hub.token and "invalid" in message.lower():
        return bad_token(hub)
    if code == "GatedRepo":
        return gated(hub, repo_id)
    if code == "RevisionNotFound":
        return HubError(
            f"{repo_id} on {hub.endpoint} has no revision {revision!r}.",
            cause="The branch or tag was renamed or removed, or the commit belongs to another repository.",
            fix=f"Choose one listed at {hub.endpoint}/{repo_id}/refs, or leave the revision at main.",
            code="hub.revision_missing",
        )
    if code == "RepoNotFound" or answer.status == 401:
        # The Hub does not tell a repository that is missing from one that may not be seen.
        return _missing(hub, repo_id)
    if code == "EntryNotFound":
        return HubError(
            f"A file of {repo_id}@{revision} is listed but cannot be found on {hub.endpoint}.",
            cause="The repository is being changed, or the Hub's storage lost it.",
            fix="Try again in a few minutes; if it stays so, tell the repository's owner.",
            code="hub.file_missing",
        )
    if message == "Access to this resource is disabled.":
        return HubError(
            f"{repo_id} was disabled on {hub.endpoint}.",
            cause="The Hub took it down or its owner did.",
            fix="Choose another repository.",
            code="hub.repo_disabled",
        )
    return by_status(answer.status, hub, repo_id)


def by_status(status: int, hub: HubAccess, repo_id: str) -> HubError:
    """The error for an answer that carries nothing but its status."""
    if status == 401:
        return bad_token(hub) if hub.token else _missing(hub, repo_id)
    if status == 403:
        return HubError(
            f"The Hub at {hub.endpoint} forbids reading {repo_id}.",
            cause="The token lacks the permission, for example a fine-grained token without access to this repository.",
            fix=f"Give the token read access to {repo_id} at {hub.endpoint}/settings/tokens.",
            code="hub.forbidden",
        )
    if status == 429:
        return HubError(
            f"The Hub at {hub.endpoint} limits the rate of this client's requests.",
            cause="Too many requests came from this address" + ("." if hub.token else " without a token."),
            fix="Try again in a few minutes" + ("." if hub.token else ", or set a token: its limits are higher."),
            code="hub.rate_limited",
        )
    return HubError(
        f"The Hub at {hub.endpoint} answered {status} for {repo_id}.",
        cause="The Hub or a proxy before it has a fault.",
        fix="Try again in a few minutes.",
        code="hub.unreachable",
    )


def bad_token(hub: HubAccess) -> HubError:
    """The error for a token that the Hub does not know."""
    return HubError(
        f"The Hub at {hub.endpoint} does not accept the token.",
        cause="It was revoked or copied incompletely.",
        fix=f"Make a new one at {hub.endpoint}/settings/tokens and save it in the Hugging Face Hub block "
        "(or HF_TOKEN).",
        code="hub.bad_token",
    )


def token_expired(hub: HubAccess) -> HubError:
    """The error for a token that was valid once."""
    return HubError(
        f"The token for the Hub at {hub.endpoint} has expired.",
        cause="It was made with an end date, which is over. Until it is renewed no repository can be read with it, "
        "public ones included.",
        fix=f"Make a new one at {hub.endpoint}/settings/tokens and save it in the Hugging Face Hub block "
        "(or HF_TOKEN); the next run brings it into the cluster.",
        code="hub.token_expired",
    )


def gated(hub: HubAccess, repo_id: str) -> HubError:
    """The error for a repository whose licence this account has not accepted."""
    page = f"{hub.endpoint}/{repo_id}"
    if hub.token is None:
        return HubError(
            f"{repo_id} is gated and no Hub token is set.",
            cause="Its files are given only to accounts that accepted its licence.",
            fix=f"Accept the licence at {page}, then save a token of that account in the Hugging Face Hub block "
            "(or HF_TOKEN).",
            code="hub.gated",
        )
    return HubError(
        f"{repo_id} is gated and the token's account may not read it.",
        cause="The account has not accepted the licence, its request was not granted yet, or the token is fine-grained "
        "without access to gated repositories.",
        fix=f"Accept the licence at {page} with the account that owns the token, or save another token.",
        code="hub.gated",
    )


def _missing(hub: HubAccess, repo_id: str) -> HubError:
    hidden = "the token's account cannot see it" if hub.token else "it is private and no token is set"
    return HubError(
        f"The Hub at {hub.endpoint} has no repository {repo_id}.",
        cause=f"The name is misspelled, or {hidden}.",
        fix=f"Open {hub.endpoint}/{repo_id} in a browser to check the name"
        + (", or save a token that can read it." if not hub.token else "."),
        code="hub.repo_missing",
    )
