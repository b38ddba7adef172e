"""The sandbox's Hub, asked by the real huggingface_hub client."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder
from huggingface_hub.utils import disable_progress_bars

from sandbox.hub import HubServer, rate_limited, serve_hub
from sandbox.hub_content import HubContent, Repository

WEIGHTS = bytes(range(256)) * 4000
MODEL = "org/model"


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    disable_progress_bars()


@pytest.fixture
def hub() -> Iterator[HubServer]:
    model = Repository(MODEL)
    model.tags["v1"] = model.commit({"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS, "docs/a/deep.txt": b"x"})
    model.commit({"config.json": b'{"a": 2}'})
    gated = Repository("org/gated", gated=True)
    gated.commit({"config.json": b"{}", "model.safetensors": WEIGHTS[:1000]})
    private = Repository("sandbox/private", private=True)
    private.commit({"config.json": b"{}"})
    disabled = Repository("org/disabled", disabled=True)
    disabled.commit({"config.json": b"{}"})
    with serve_hub(HubContent([model, gated, private, disabled]), page_size=3) as server:
        yield server


def api(hub: HubServer, token: str | bool = False) -> HfApi:
    return HfApi(endpoint=hub.url, token=token)


def test_model_info_names_every_file_with_its_identifiers(hub: HubServer) -> None:
    info = api(hub).model_info(MODEL, files_metadata=True)
    files = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    weights = files["model.safetensors"]
    assert info.sha == hub.content[MODEL].branches["main"]
    assert weights.lfs is not None
    assert weights.lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert weights.size == weights.lfs.size == len(WEIGHTS)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{weights.lfs.sha256}\nsize {len(WEIGHTS)}\n"
    assert weights.blob_id == hashlib.sha1(f"blob {len(pointer)}\0{pointer}".encode()).hexdigest()
    assert files["config.json"].lfs is None
    assert files["config.json"].blob_id == hashlib.sha1(b'blob 8\0{"a": 2}').hexdigest()


def test_tree_is_paged_and_lists_folders(hub: HubServer) -> None:
    entries = list(api(hub).list_repo_tree(MODEL, recursive=True, revision="v1"))
    assert [entry.path for entry in entries if isinstance(entry, RepoFolder)] == ["docs", "docs/a"]
    assert {entry.path for entry in entries if isinstance(entry, RepoFile)} == {
        ".gitattributes", "config.json", "docs/a/deep.txt", "model.safetensors",
    }  # fmt: skip
    assert sum("/tree/" in request.path for request in hub.requests) == 2
    assert [entry.path for entry in api(hub).list_repo_tree(MODEL, "docs")] == ["docs/a"]
    with pytest.raises(RemoteEntryNotFoundError):
        list(api(hub).list_repo_tree(MODEL, "nothing"))


def test_paths_info_and_refs(hub: HubServer) -> None:
    found = api(hub).get_paths_info(MODEL, ["config.json", "docs", "nothing"])
    assert sorted(entry.path for entry in found) == ["config.json", "docs"]
    refs = api(hub).list_repo_refs(MODEL)
    assert [(branch.name, branch.target_commit) for branch in refs.branches] == [
        ("main", api(hub).model_info(MODEL).sha)
    ]
    assert [tag.ref for tag in refs.tags] == ["refs/tags/v1"]


def test_download_gives_the_bytes_of_the_revision_asked_for(hub: HubServer, tmp_path: Path) -> None:
    old = snapshot_download(MODEL, revision="v1", endpoint=hub.url, cache_dir=tmp_path, token=hub.token)
    assert (Path(old) / "model.safetensors").read_bytes() == WEIGHTS
    assert (Path(old) / "config.json").read_text() == '{"a": 1}'
    new = hf_hub_download(MODEL, "config.json", endpoint=hub.url, cache_dir=tmp_path, token=hub.token)
    assert Path(new).read_text() == '{"a": 2}'
    assert any(request.authorized for request in hub.requests)
    assert hub.file_requests
    assert not any(request.authorized for request in hub.file_requests)


def test_metadata_of_an_lfs_file_comes_from_the_redirect(hub: HubServer) -> None:
    found = get_hf_file_metadata(hf_hub_url(MODEL, "model.safetensors", endpoint=hub.url), token=False)
    assert found.etag == hashlib.sha256(WEIGHTS).hexdigest()
    assert found.size == len(WEIGHTS)
    assert found.commit_hash == hub.content[MODEL].branches["main"]
    assert found.location.startswith(hub.file_url)


def test_a_moved_branch_and_tag_resolve_to_the_new_commit(hub: HubServer) -> None:
    first = hub.content[MODEL].tags["v1"]
    new = hub.content.commit(MODEL, {"config.json": b'{"a": 3}'})
    assert api(hub).model_info(MODEL).sha == new
    hub.content.move_revision(MODEL, "main", first)
    hub.content.move_revision(MODEL, "v1", new)
    assert api(hub).model_info(MODEL).sha == first
    assert api(hub).model_info(MODEL, revision="v1").sha == new
    assert api(hub).model_info(MODEL, revision=new).sha == new


def test_commits_are_the_same_wherever_the_content_is_the_same() -> None:
    one, other = Repository(MODEL), Repository(MODEL)
    assert one.commit({"a": b"1", "b/c": b"2"}) == other.commit({"b/c": b"2", "a": b"1"})
    assert one.commit({"a": b"2"}) != other.commit({"a": b"3"})


def test_who_has_which_token(hub: HubServer) -> None:
    assert api(hub, hub.token).whoami()["name"] == "sandbox-reader"
    for token in ("hf_wrong", hub.token_expired):
        with pytest.raises(HfHubHTTPError) as caught:
            api(hub, token).whoami()
        assert caught.value.response.status_code == 401
        with pytest.raises(HfHubHTTPError) as caught:  # a bad token is refused for public repositories too
            api(hub, token).model_info(MODEL)
        assert caught.value.response.status_code == 401
        assert not isinstance(caught.value, RepositoryNotFoundError)


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("without", 403)])
def test_a_gated_repository_shows_metadata_and_keeps_its_files(
    hub: HubServer, tmp_path: Path, token: str | bool, status: int
) -> None:
    token = hub.token_without_access if token else False
    assert api(hub, token).model_info("org/gated").gated == "manual"
    with pytest.raises(GatedRepoError) as caught:
        hf_hub_download("org/gated", "model.safetensors", endpoint=hub.url, cache_dir=tmp_path, token=token)
    assert caught.value.response.status_code == status
    with pytest.raises(GatedRepoError):
        api(hub, token).auth_check("org/gated")
    api(hub, hub.token).auth_check("org/gated")
    granted = hf_hub_download("org/gated", "model.safetensors", endpoint=hub.url, cache_dir=tmp_path, token=hub.token)
    assert Path(granted).read_bytes() == WEIGHTS[:1000]


@pytest.mark.parametrize("repo_id", ["org/missing", "sandbox/private"])
def test_missing_and_private_look_alike(hub: HubServer, repo_id: str) -> None:
    for token, status in ((False, 401), (hub.token_without_access, 404)):
        with pytest.raises(RepositoryNotFoundError) as caught:
            api(hub, token).model_info(repo_id)
        assert not isinstance(caught.value, GatedRepoError)
        assert caught.value.response.status_code == status


def test_private_is_seen_by_its_organization(hub: HubServer) -> None:
    assert api(hub, hub.token).model_info("sandbox/private").private


def test_what_does_not_exist_is_named(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(RevisionNotFoundError):
        api(hub).model_info(MODEL, revision="v9")
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(MODEL, "nothing.bin", endpoint=hub.url, cache_dir=tmp_path, token=False)
    with pytest.raises(DisabledRepoError):
        api(hub).model_info("org/disabled")
    hub.content.remove(MODEL)
    with pytest.raises(RepositoryNotFoundError):
        api(hub).model_info(MODEL)


def test_rate_limits_are_in_the_form_that_the_client_reads(hub: HubServer) -> None:
    hub.faults.add(rate_limited(seconds=7))
    with pytest.raises(HfHubHTTPError, match="Retry after 7 seconds"):
        api(hub).model_info(MODEL)
    assert api(hub).model_info(MODEL).id == MODEL


def test_the_log_holds_no_credential(hub: HubServer, tmp_path: Path) -> None:
    hf_hub_download(MODEL, "model.safetensors", endpoint=hub.url, cache_dir=tmp_path, token=hub.token)
    logged = repr(hub.requests) + repr(hub.file_requests)
    assert hub.token not in logged
    assert "Signature" not in logged
    assert hub.token not in repr(hub.api.users[hub.token])
