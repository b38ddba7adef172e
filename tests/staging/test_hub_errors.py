"""What the Hub refuses ends in one paragraph that names the cause and the fix, and nothing is published."""

import time

import pytest
from pydantic import SecretStr

from sandbox.faults import Status
from serving.errors import HubError
from serving.models import ModelSource
from staging.hub import HubAccess, list_files, pin, pin_branches
from staging.plan import plan
from tests.staging.conftest import REPO, Place


def refused(place: Place, hub: HubAccess, repo: str = REPO, revision: str = "main") -> HubError:
    with pytest.raises(HubError) as raised:
        plan(pin(ModelSource(repo_id=repo, revision=revision), hub), hub, place.store)
    place.assert_clean()
    assert "\n" not in str(raised.value)
    assert raised.value.fix
    return raised.value


@pytest.fixture
def gated(place: Place) -> str:
    place.hub_server.content.commit("org/gated", {"config.json": b"{}", "model.safetensors": b"x" * 100})
    place.hub_server.content["org/gated"].gated = True
    return "org/gated"


def test_pinning_gives_the_commit_of_branch_and_commit_alike(place: Place) -> None:
    model = place.pin()
    assert model.revision == "main"
    assert len(model.commit) == 40
    assert place.pin(revision=model.commit).commit == model.commit


def test_branches_of_a_repository_cost_one_request(place: Place) -> None:
    content = place.hub_server.content
    main = place.pin().commit
    heads = {name: content.commit(REPO, {"a.json": name.encode()}, branch=name) for name in ("dev", "both")}
    content[REPO].tags |= {"v1": main, "both": main}
    before = len(place.hub_server.requests)
    found = pin_branches(REPO, {"main", "dev", "both", "v1", main, "none"}, place.hub)
    assert len(place.hub_server.requests) - before == 1
    # A tag of the same name comes before a branch: neither is answered from the list.
    assert {name: one.commit for name, one in found.items()} == {"main": main, "dev": heads["dev"]}
    assert found["dev"] == place.pin(revision="dev")
    with pytest.raises(HubError, match="org/none") as caught:
        pin_branches("org/none", {"main"}, place.hub)
    assert caught.value.code == "hub.repo_missing"


def test_missing_repository(place: Place) -> None:
    error = refused(place, place.hub, "org/none")
    assert error.code == "hub.repo_missing"
    assert "org/none" in str(error)


def test_missing_revision(place: Place) -> None:
    error = refused(place, place.hub, revision="v9")
    assert error.code == "hub.revision_missing"
    assert "v9" in str(error)


def test_gated_without_a_token_names_the_page_of_the_licence(place: Place, gated: str) -> None:
    error = refused(place, HubAccess(place.hub_server.url), gated)
    assert error.code == "hub.gated"
    assert f"{place.hub_server.url}/{gated}" in error.fix


def test_gated_with_a_token_of_another_account(place: Place, gated: str) -> None:
    token = place.hub_server.token_without_access
    error = refused(place, HubAccess(place.hub_server.url, SecretStr(token)), gated)
    assert error.code == "hub.gated"
    assert token not in str(error)


@pytest.mark.parametrize("token", ["hf_doesNotExist", None])
def test_a_wrong_token(place: Place, gated: str, token: str | None) -> None:
    secret = SecretStr(token or place.hub_server.token_expired)
    error = refused(place, HubAccess(place.hub_server.url, secret), gated)
    assert error.code == ("hub.bad_token" if token else "hub.token_expired")
    assert secret.get_secret_value() not in f"{error} {HubAccess(place.hub_server.url, secret)!r}"


def test_unreachable(place: Place) -> None:
    started = time.monotonic()
    error = refused(place, HubAccess("http://127.0.0.1:9"))
    assert error.code == "hub.unreachable"
    assert "127.0.0.1:9" in str(error)
    assert time.monotonic() - started < 15


def test_a_long_rate_limit_is_said_at_once(place: Place) -> None:
    place.hub_server.faults.add(Status(429, {"Retry-After": "300"}), times=None)
    assert refused(place, place.hub).code == "hub.rate_limited"


def test_a_short_rate_limit_and_a_passing_fault_are_waited_for(place: Place) -> None:
    place.hub_server.faults.add(Status(429, {"Retry-After": "1"}))
    place.hub_server.faults.add(Status(503))
    assert list_files(place.pin(), place.hub)


def test_files_of_a_commit_carry_what_verifies_them(place: Place) -> None:
    files = {file.path: file for file in list_files(place.pin(), place.hub)}
    assert len(files["model-00001-of-00002.safetensors"].sha256) == 64
    assert files["config.json"].sha256 == ""
    assert len(files["config.json"].blob_id) == 40
