"""EKS by name, against servers that speak AWS's protocols, with boto3 itself."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from scripted_api import Answer, Asked, Script, scripted_api, status

import kube.eks
from kube.connect import eks
from kube.discovery import server_version
from sandbox.kubernetes.server import KubernetesServer
from serving.errors import ClusterError

REGION = "us-west-2"
VERSION = Answer(200, {"major": "1", "minor": "33+", "gitVersion": "v1.33.1-eks"})
SECRET_KEY = "a-secret-access-key-that-nobody-may-see"


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> boto3.Session:
    """An identity whose services are found where the test says, as AWS's own configuration allows."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return boto3.Session("AKIDEXAMPLE", SECRET_KEY, region_name=REGION)


def describing(endpoint: str, **changes: object) -> Script:
    """EKS itself: DescribeCluster of the cluster `prod`."""
    cluster = {
        "name": "prod",
        "status": "ACTIVE",
        "endpoint": endpoint,
        "certificateAuthority": {"data": base64.b64encode(b"-----BEGIN CERTIFICATE-----").decode()},
    }

    def answer(asked: Asked) -> Answer:
        assert asked.path == "/clusters/prod"
        return Answer(200, {"cluster": {**cluster, **changes}})

    return answer


def presigned(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    assert scheme == "Bearer"
    prefix, _, encoded = token.partition(".")
    assert prefix == "k8s-aws-v1"
    assert "=" not in encoded
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()


def signature(url: str, headers: dict[str, str], secret_key: str) -> str:
    """What AWS computes to check a presigned URL (Signature Version 4, query parameters, empty payload)."""
    parts = urlsplit(url)
    pairs = sorted(pair for pair in parts.query.split("&") if not pair.startswith("X-Amz-Signature="))
    query = parse_qs(parts.query)
    sent = {"host": parts.netloc, **headers}
    signed = query["X-Amz-SignedHeaders"][0]
    canonical = "\n".join(
        (
            "GET",
            "/",
            "&".join(pairs),
            *(f"{name}:{sent[name]}" for name in signed.split(";")),
            "",
            signed,
            hashlib.sha256(b"").hexdigest(),
        )
    )
    scope = query["X-Amz-Credential"][0].split("/", 1)[1]
    to_sign = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date'][0]}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def test_the_token_is_an_identity_for_this_cluster_that_sts_accepts(
    session: boto3.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_api(lambda _: VERSION) as api, scripted_api(describing(api.url)) as aws_eks:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EKS", aws_eks.url)
        with eks("prod", REGION, session, namespace="serving") as cluster:
            assert server_version(cluster).minor == 33
            assert (cluster.server, cluster.namespace, cluster.name) == (api.url, "serving", "prod")
            shown = repr(cluster)
        authorization = api.asked[0].headers["authorization"]
    url = presigned(authorization)
    query = parse_qs(urlsplit(url).query)
    assert query["Action"] == ["GetCallerIdentity"]
    assert query["X-Amz-SignedHeaders"] == ["host;x-k8s-aws-id"]
    assert int(query["X-Amz-Expires"][0]) <= 900
    assert f"/{REGION}/sts/" in query["X-Amz-Credential"][0]
    assert query["X-Amz-Signature"] == [signature(url, {"x-k8s-aws-id": "prod"}, SECRET_KEY)]
    assert query["X-Amz-Signature"] != [signature(url, {"x-k8s-aws-id": "another"}, SECRET_KEY)]
    assert SECRET_KEY not in shown
    assert authorization not in shown


def test_a_token_is_used_again_until_it_is_old(session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_api(lambda _: VERSION) as api, scripted_api(describing(api.url)) as aws_eks:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EKS", aws_eks.url)
        with eks("prod", "", session) as cluster:
            server_version(cluster)
            server_version(cluster)
            time.sleep(1.1)  # a signature's time is in seconds
            monkeypatch.setattr(kube.eks, "TOKEN_SECONDS", 1)
            server_version(cluster)
        first, second, third = (asked.headers["authorization"] for asked in api.asked)
    assert first == second != third


def test_a_refused_token_is_renewed_once(session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = status(401, "Unauthorized", "Unauthorized")
    answers = iter([refused, VERSION, refused, refused])
    with scripted_api(lambda _: next(answers)) as api, scripted_api(describing(api.url)) as aws_eks:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EKS", aws_eks.url)
        with eks("prod", REGION, session) as cluster:
            assert server_version(cluster).minor == 33
            with pytest.raises(ClusterError) as caught:
                server_version(cluster)
    assert caught.value.code == "cluster.unauthorized"
    assert len(api.asked) == 4


def test_the_authority_that_eks_names_is_trusted(
    session: boto3.Session, sandbox_server: KubernetesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sandbox_server.ca_file is not None
    authority = {"data": base64.b64encode(sandbox_server.ca_file.read_bytes()).decode()}
    with scripted_api(describing(sandbox_server.url, certificateAuthority=authority)) as aws_eks:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EKS", aws_eks.url)
        with eks("prod", REGION, session) as cluster:
            with pytest.raises(ClusterError) as caught:
                server_version(cluster)
            # Past TLS: it answered, and does not know AWS's identities.
            assert caught.value.code == "cluster.unauthorized"


def test_a_cluster_that_is_being_made(session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_api(describing("", status="CREATING", certificateAuthority={})) as aws_eks:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EKS", aws_eks.url)
        with pytest.raises(ClusterError, match="CREATING") as caught:
            eks("prod", REGION, session)
    assert caught.value.code == "eks.not_ready"


@pytest.mark.parametrize(
    ("status_code", "error", "code"),
    [
        (403, "AccessDeniedException", "eks.denied"),
        (403, "UnrecognizedClientException", "eks.credentials"),
        (403, "ExpiredTokenException", "eks.credentials"),
        (404, "ResourceNotFoundException", "eks.not_found"),
    ],
)
def test_what_aws_refuses(
    session: boto3.Session, monkeypatch: pytest.MonkeyPatch, status_code: int, error: str, code: str
) -> None:
    body = json.dumps({"message": f"refused for {SECRET_KEY}"}).encode()
    refusal = Answer(status_code, body, {"x-amzn-ErrorType": error})
    with scripted_api(lambda _: refusal) as aws_eks:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EKS", aws_eks.url)
        with pytest.raises(ClusterError) as caught:
            eks("prod", REGION, session)
    assert caught.value.code == code
    assert "prod" in str(caught.value)
    assert REGION in str(caught.value)
    assert caught.value.fix
    assert SECRET_KEY not in str(caught.value)


def test_no_credentials_and_no_region(session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ClusterError, match="no AWS region") as caught:
        eks("prod")
    assert caught.value.code == "eks.region_missing"
    with pytest.raises(ClusterError, match="there are none") as caught:
        eks("prod", REGION)
    assert caught.value.code == "eks.credentials"


def test_a_region_that_cannot_be_reached(session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_EKS", "http://127.0.0.1:9")
    with pytest.raises(ClusterError, match="AWS cannot be reached") as caught:
        eks("prod", REGION, session)
    assert caught.value.code == "eks.unreachable"
