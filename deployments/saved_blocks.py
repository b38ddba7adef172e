"""The three blocks that the deployments refer to, from the environment, a kubeconfig or a person's answers.

A block that is there is never changed unless that was asked for. No secret is printed, and none is taken from a
command line, where other users of the machine could see it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect.blocks.core import Block
from prefect_aws import AwsCredentials
from prefect_kubernetes.credentials import KubernetesClusterConfig, KubernetesCredentials
from pydantic import SecretStr, ValidationError

from blocks.cluster import InferenceCluster
from blocks.hub import DEFAULT_ENDPOINT, HuggingFaceHub
from blocks.store import ModelStore
from deployments.context import chosen_context, eks_of
from deployments.declared import BLOCK_NAME
from deployments.outcomes import Done, Outcome
from serving.errors import InputError

Ask = Callable[[str, bool], str]
"""Asks a person: the question, and whether the answer is a secret that must not be seen. Empty for no answer."""


@dataclass(frozen=True)
class Sources:
    """Where the blocks' fields come from.

    Attributes:
        environ: The process's environment: HF_TOKEN, HF_ENDPOINT, MODEL_STORE, AWS_REGION, AWS keys, KUBECONFIG.
        store: ``s3://bucket/prefix``; by default MODEL_STORE.
        store_endpoint: Address of an S3-compatible store; by default AWS_ENDPOINT_URL_S3.
        save_aws_keys: Whether AWS_ACCESS_KEY_ID and its secret go into the store block. Not on EKS: runs have their
            service account's identity.
        eks: Name of an EKS cluster.
        kubeconfig: Path of a kubeconfig; by default KUBECONFIG.
        context: Its context; by default the current one.
        in_cluster: Whether runs reach the cluster from inside.
        namespace: Namespace of the endpoints.
        ask: Asks a person for what is missing; None if nobody is there.
    """

    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    store: str = ""
    store_endpoint: str = ""
    save_aws_keys: bool = False
    eks: str = ""
    kubeconfig: Path | None = None
    context: str = ""
    in_cluster: bool = False
    namespace: str = "default"
    ask: Ask | None = None

    @property
    def region(self) -> str:
        """AWS region of store and cluster."""
        return self.environ.get("AWS_REGION") or self.environ.get("AWS_DEFAULT_REGION", "")

    def answer(self, question: str, *, secret: bool = False) -> str:
        """What a person answers; empty if nobody is there."""
        return self.ask(question, secret).strip() if self.ask else ""


def hub_block(sources: Sources) -> HuggingFaceHub:
    """The Hub's block; without a token only public models can be staged."""
    token = sources.environ.get("HF_TOKEN") or sources.answer(
        "Hugging Face token, for gated and private models (empty for none)", secret=True
    )
    endpoint = sources.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT
    return HuggingFaceHub(token=SecretStr(token) if token else None, endpoint=endpoint)


def store_block(sources: Sources) -> ModelStore:
    """The model store's block.

    Raises:
        InputError: No bucket was named.
    """
    store = sources.store or sources.environ.get("MODEL_STORE", "") or sources.answer("Model store, s3://bucket/prefix")
    bucket, _, prefix = store.removeprefix("s3://").partition("/")
    if not store.startswith("s3://") or not bucket:
        what = f"{store} is no S3 address." if store else "Nobody said which bucket holds the staged models."
        raise InputError(what, fix="Give --store s3://bucket/prefix, or set MODEL_STORE.", code="bootstrap.store")
    keys = AwsCredentials(region_name=sources.region or None)
    if sources.save_aws_keys:
        keys = _aws_keys(sources)
    endpoint = sources.store_endpoint or sources.environ.get("AWS_ENDPOINT_URL_S3", "")
    return ModelStore(bucket=bucket, prefix=prefix, region=sources.region, endpoint_url=endpoint, credentials=keys)


def _aws_keys(sources: Sources) -> AwsCredentials:
    key, secret = (sources.environ.get(f"AWS_{name}", "") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    if sources.environ.get("AWS_SESSION_TOKEN"):
        raise InputError(
            "The AWS keys in the environment are temporary: a block would hold them long after they expired.",
            fix="Leave --save-aws-keys out and give the worker an identity (deployments/iam), or use long-lived keys.",
            code="bootstrap.keys",
        )
    if not (key and secret):
        raise InputError(
            "--save-aws-keys saves AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and one of them is not set.",
            fix="Set both, or leave the option out where the worker has an identity of its own.",
            code="bootstrap.keys",
        )
    region = sources.region or None
    return AwsCredentials(aws_access_key_id=key, aws_secret_access_key=SecretStr(secret), region_name=region)


def cluster_block(sources: Sources) -> InferenceCluster:
    """The cluster's block: by EKS name, from inside, or from one context of a kubeconfig.

    A context whose token comes from the ``aws`` command is saved as the EKS cluster that it names: workers need no
    command then, and tokens renew themselves.

    Raises:
        InputError: No way to a cluster was named, or more than one.
        ClusterError: The kubeconfig cannot be used.
    """
    ways = [bool(sources.eks), sources.kubeconfig is not None, sources.in_cluster]
    if sum(ways) > 1:
        raise InputError("--eks, --kubeconfig and --in-cluster are three ways to a cluster.", fix="Choose one.")
    if sources.in_cluster:
        return InferenceCluster(in_cluster=True, namespace=sources.namespace)
    path = sources.kubeconfig or _kubeconfig_of(sources.environ)
    name = sources.eks
    if not name and path is None:
        name = sources.answer("Name of the EKS cluster")
    if name:
        return InferenceCluster(eks_cluster=name, region=sources.region, namespace=sources.namespace)
    if path is None:
        raise InputError(
            "Nobody said which cluster the endpoints go to.",
            fix="Give --eks NAME, --in-cluster, or --kubeconfig PATH.",
            code="bootstrap.cluster",
        )
    config, context = chosen_context(path, sources.context)
    if found := eks_of(config):
        region = found.region or sources.region
        return InferenceCluster(eks_cluster=found.name, region=region, namespace=sources.namespace)
    credentials = KubernetesCredentials(cluster_config=KubernetesClusterConfig(config=config, context_name=context))
    return InferenceCluster(kubeconfig=credentials, namespace=sources.namespace)


def _kubeconfig_of(environ: Mapping[str, str]) -> Path | None:
    named = environ.get("KUBECONFIG", "")
    if os.pathsep in named:
        raise InputError(
            "KUBECONFIG names several files.", fix="Give one with --kubeconfig PATH.", code="bootstrap.cluster"
        )
    path = Path(named or "~/.kube/config").expanduser()
    return path if named or path.is_file() else None


MAKERS: dict[type[Block], Callable[[Sources], Block]] = {
    HuggingFaceHub: hub_block,
    ModelStore: store_block,
    InferenceCluster: cluster_block,
}
"""Who makes the block of each type."""


async def ensure_blocks(sources: Sources, *, update: bool = False) -> list[Done]:
    """Saves the blocks that are missing; those that are there stay as they are, unless `update`.

    Raises:
        InputError: A block is missing and so is what it takes to make it; nothing was saved then.
        ClusterError: The kubeconfig cannot be used.
    """
    present = {kind: await _present(kind) for kind in MAKERS}
    wanted = {kind: _made(kind, sources) for kind in MAKERS if update or present[kind] is None}
    return [await _ensure(kind, present[kind], wanted.get(kind)) for kind in MAKERS]


def _made(kind: type[Block], sources: Sources) -> Block:
    try:
        return MAKERS[kind](sources)
    except ValidationError as error:
        # Names and rules only: a value may be a secret.
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or kind.__name__}: {one['msg']}" for one in error.errors())
        raise InputError(
            f"Block {kind.get_block_type_slug()}/{BLOCK_NAME} cannot be made: {wrong}.", code="bootstrap.block"
        ) from None


async def _present(kind: type[Block]) -> Block | None:
    try:
        found: Block = await kind.aload(BLOCK_NAME, validate=False)
    except ValidationError as error:
        raise InputError(
            f"Block {kind.get_block_type_slug()}/{BLOCK_NAME} cannot be read: {error.error_count()} of its fields "
            "are not as this version wants them.",
            fix=f"Correct it in the UI, or delete it (prefect block delete {kind.get_block_type_slug()}/{BLOCK_NAME}).",
            code="bootstrap.block",
        ) from None
    except ValueError:  # there is none
        return None
    return found


async def _ensure(kind: type[Block], present: Block | None, wanted: Block | None) -> Done:
    name = f"{kind.get_block_type_slug()}/{BLOCK_NAME}"
    await kind.aregister_type_and_schema()
    if wanted is None:
        return Done("block", name, Outcome.UNCHANGED)
    differs = sorted(key for key, value in _fields(wanted).items() if present and _fields(present).get(key) != value)
    if present is not None and not differs:
        return Done("block", name, Outcome.UNCHANGED)
    await wanted.asave(BLOCK_NAME, overwrite=True)
    return Done("block", name, Outcome.UPDATED if present else Outcome.CREATED, ", ".join(differs))


def _fields(block: Block) -> dict[str, Any]:
    fields = set(type(block).model_fields)
    return block.model_dump(mode="json", include=fields, context={"include_secrets": True})
