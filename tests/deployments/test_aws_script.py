"""`deployments/aws.sh` against servers that speak S3, IAM and STS: bucket and roles, and again without effect."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest

SCRIPT = Path(__file__).parents[2] / "deployments" / "aws.sh"
REGION = "us-west-2"
ROLES = {"flows": ["cluster", "staging"], "pods": ["pods"]}
pytestmark = pytest.mark.long


def test_bucket_and_roles_twice() -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": REGION}
        env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
            "CLUSTER": "prod",
            "BUCKET": "my-models",
            "REGION": REGION,
        }
        for part in ("bucket", "roles", "bucket", "roles"):
            done = subprocess.run(
                [str(SCRIPT), part], env=env, capture_output=True, text=True, timeout=120, check=False
            )
            assert done.returncode == 0, done.stderr
            assert "${" not in done.stderr

        def client(service: Any) -> Any:
            return boto3.client(service, endpoint_url=url, **keys)

        s3, iam = client("s3"), client("iam")
        rules = s3.get_bucket_lifecycle_configuration(Bucket="my-models")["Rules"]
        assert rules[0]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 7
        assert s3.get_bucket_encryption(Bucket="my-models")["ServerSideEncryptionConfiguration"]["Rules"]
        assert "TlsOnly" in json.dumps(json.loads(s3.get_bucket_policy(Bucket="my-models")["Policy"]))
        assert s3.get_public_access_block(Bucket="my-models")["PublicAccessBlockConfiguration"]["BlockPublicPolicy"]
        names = {role: iam.list_role_policies(RoleName=f"prod-inference-{role}")["PolicyNames"] for role in ROLES}
        assert {role: sorted(found) for role, found in names.items()} == ROLES
        policy = iam.get_role_policy(RoleName="prod-inference-pods", PolicyName="pods")["PolicyDocument"]
        assert policy["Statement"][1]["Resource"] == "arn:aws:s3:::my-models/models/*"
        trust = iam.get_role(RoleName="prod-inference-flows")["Role"]["AssumeRolePolicyDocument"]["Statement"][0]
        assert trust["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    finally:
        server.stop()
