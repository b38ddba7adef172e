"""``python -m staging`` as a user runs it, without Prefect."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from staging.cli import main
from staging.store import s3
from tests.staging.conftest import REPO, Place

ROOT = Path(__file__).parents[2]


def environment(place: Place) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": place.s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": place.s3_server.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HF_ENDPOINT": place.hub_server.url,
        "HF_HOME": "/nonexistent",
    }


def run(place: Place, *arguments: str, token: str = "") -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HF_"))}
    variables = {**inherited, **environment(place), **({"HF_TOKEN": token} if token else {})}
    command = [sys.executable, "-m", "staging", *arguments, "--endpoint-url", place.s3_server.url]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=False)


def test_copy_and_copy_again(place: Place) -> None:
    first = run(place, "copy", REPO, "s3://models/staged", "--json")
    assert first.returncode == 0, first.stderr
    facts = json.loads(first.stdout)
    assert facts["uri"] == f"s3://models/staged/{REPO}/{facts['commit']}/"
    assert facts["moved_bytes"] == facts["total_bytes"] > 8 << 20
    again = run(place, "copy", REPO, "s3://models/staged")
    assert again.returncode == 0, again.stderr
    assert "is staged already" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [
        (("copy", "org/none", "s3://models/x"), "hub.repo_missing", 3),
        (("copy", REPO, "s3://none/x"), "store.bucket_missing", 4),
        (("copy", REPO, "/tmp/x"), "input.target", 2),
        (("copy", "not-a-repo", "s3://models/x"), "input.repo_name", 2),
    ],
)
def test_failures_are_one_paragraph_with_an_exit_code(
    place: Place, arguments: tuple[str, ...], code: str, status: int
) -> None:
    ended = run(place, *arguments, "--json")
    assert ended.returncode == status
    assert json.loads(ended.stdout)["error"]["code"] == code
    assert "Traceback" not in ended.stderr
    place.assert_clean()


def test_errors_are_readable_and_hold_no_secret(place: Place) -> None:
    ended = run(place, "copy", REPO, "s3://models/x", token="hf_secretSecret")
    assert ended.returncode == 3
    assert ended.stderr.startswith("Error: ")
    assert ended.stderr.count("\n") == 1
    assert "hf_secretSecret" not in ended.stderr


def test_plan_list_verify_and_prune(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment(place).items():
        monkeypatch.setenv(name, value)

    def said(*arguments: str, status: int = 0) -> str:
        assert main([*arguments, "--endpoint-url", place.s3_server.url]) == status
        return capsys.readouterr().out

    model = (REPO, "s3://models/staged", "--hub", place.hub_server.url)
    planned = json.loads(said("copy", *model, "--plan", "--json"))
    assert planned["move_bytes"] == planned["total_bytes"]
    assert place.objects() == [], "a plan writes nothing"
    said("verify", *model, status=5)
    commit = json.loads(said("copy", *model, "--json"))["commit"]
    assert "nothing to do" in said("plan", *model)
    assert commit[:12] in said("list", "s3://models/staged")
    assert "all as the manifest says" in said("verify", *model)
    damaged = f"staged/{REPO}/{commit}/config.json"
    s3(place.store).put_object(Bucket="models", Key=damaged, Body=b"x" * 23)
    assert "sha256: config.json" in said("verify", *model, status=1)
    shown = said("prune", "s3://models/staged", "--keep-newest", "0")
    assert commit in shown
    assert "Would remove 1 commits" in shown
    assert place.objects()
    said("prune", "s3://models/staged", "--keep-newest", "0", "--yes")
    place.assert_clean()
