"""What the bucket refuses ends in one paragraph that names the cause and the fix."""

import boto3
import pytest
from botocore.exceptions import UnknownServiceError

from serving.errors import StoreError
from staging.store import StoreAccess, check_store, s3
from tests.staging.conftest import Place


def refused(store: StoreAccess) -> StoreError:
    with pytest.raises(StoreError) as raised:
        check_store(store)
    assert "\n" not in str(raised.value)
    assert raised.value.fix
    return raised.value


def test_a_good_bucket_is_left_as_it_was(place: Place) -> None:
    check_store(place.store)
    place.assert_clean()


def test_missing_bucket(place: Place) -> None:
    error = refused(place.store_as(place.s3_server.owner, bucket="none"))
    assert error.code == "store.bucket_missing"
    assert "none" in str(error)


@pytest.mark.parametrize("name", ["reader", "denied"])
def test_access_denied(place: Place, name: str) -> None:
    error = refused(place.store_as(getattr(place.s3_server, name)))
    assert error.code == "store.access_denied"
    assert ("s3:PutObject" if name == "reader" else "s3:ListBucket") in str(error)
    place.assert_clean()


@pytest.mark.parametrize("configured", ["us-east-1", "ap-northeast-2"])
def test_wrong_region_names_both(place: Place, configured: str) -> None:
    place.s3_server.create_bucket("far", region="eu-central-1")
    error = refused(place.store_as(place.s3_server.owner, bucket="far", region=configured))
    assert error.code == "store.wrong_region"
    assert "eu-central-1" in str(error)
    assert configured in str(error)


def test_unreachable(place: Place) -> None:
    error = refused(place.store_as(place.s3_server.owner, endpoint_url="http://127.0.0.1:9"))
    assert error.code == "store.unreachable"
    assert "127.0.0.1:9" in str(error)


def test_unknown_key(place: Place) -> None:
    credential = place.s3_server.add_credential("gone", allow=("*",))
    place.s3_server.remove_credential(credential.access_key)
    error = refused(place.store_as(credential))
    assert error.code == "store.bad_credentials"
    assert credential.secret_key not in str(error)


def test_expired_session(place: Place) -> None:
    sts = boto3.client(
        "sts",
        endpoint_url=place.s3_server.url,
        region_name="us-east-1",
        aws_access_key_id=place.s3_server.access_key,
        aws_secret_access_key=place.s3_server.secret_key,
    )
    got = sts.get_session_token()["Credentials"]
    session = boto3.Session(
        aws_access_key_id=got["AccessKeyId"],
        aws_secret_access_key=got["SecretAccessKey"],
        aws_session_token=got["SessionToken"],
        region_name="us-east-1",
    )
    store = place.store_as(place.s3_server.owner, session=session)
    check_store(store)
    place.s3_server.expire_sessions()
    assert refused(store).code == "store.expired_credentials"


def test_no_credentials(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/none")
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/none")
    store = place.store_as(place.s3_server.owner, session=boto3.Session(region_name="us-east-1"))
    assert refused(store).code == "store.no_credentials"


def test_a_service_that_botocore_does_not_know_is_told(place: Place) -> None:
    s3(place.store)
    with pytest.raises(UnknownServiceError):
        place.store.session.client("s4")
