"""How a container comes by its weights: what each of the four sources adds to a pod."""

from dataclasses import dataclass, field
from typing import Any

from serving.errors import InputError
from serving.frameworks import fetch
from serving.frameworks.labels import annotations, object_labels
from serving.frameworks.resources import disk_for
from serving.models import StagedModel
from serving.quantities import gibibytes
from serving.release import Release
from serving.spec import EndpointSpec, WeightsSource

MODEL_DIR = "/staged-model"
"""Where ``sync`` and ``mount`` put the model inside the container."""


@dataclass(frozen=True)
class Weights:
    """What a weights source adds to a workload.

    Attributes:
        location: What the engine is told to load: ``s3://…/``, a directory or a Hub id.
        env: Environment entries of the container that loads.
        disk_bytes: Node-local disk that the pod fills.
        objects: Manifests of their own: ConfigMaps, or a volume and its claim.
    """

    location: str
    env: tuple[dict[str, Any], ...] = ()
    init_containers: tuple[dict[str, Any], ...] = ()
    volumes: tuple[dict[str, Any], ...] = ()
    mounts: tuple[dict[str, Any], ...] = ()
    disk_bytes: int = 0
    objects: tuple[dict[str, Any], ...] = field(default=())


def weights_for(spec: EndpointSpec, staged: StagedModel | None, release: Release) -> Weights:
    """Returns what the spec's weights source adds.

    Raises:
        InputError: The source needs a staged model and there is none, or it cannot serve this one.
    """
    if spec.weights is WeightsSource.HUB:
        return Weights(location=spec.model.repo_id, env=(hub_token(spec),))
    if staged is None:
        raise InputError(
            f"Endpoint {spec.name}: weights={spec.weights} needs a staged model.",
            fix="Stage the model first, or use weights=hub.",
            code="weights.not-staged",
        )
    make = {WeightsSource.STREAM: _stream, WeightsSource.SYNC: _sync, WeightsSource.MOUNT: _mount}[spec.weights]
    return make(spec, staged, release)


def hub_token(spec: EndpointSpec) -> dict[str, Any]:
    """Returns the environment entry with the Hub token; public models start without the Secret."""
    reference = {"name": spec.token_secret or "hf-token", "key": "token", "optional": True}
    return {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}}


def offline() -> dict[str, Any]:
    """Returns the environment entry that keeps an engine with staged weights from asking the Hub for anything."""
    return {"name": "HF_HUB_OFFLINE", "value": "1"}


def store_access(spec: EndpointSpec, staged: StagedModel) -> list[dict[str, Any]]:
    """Returns the environment for reading the store: region, endpoint, and keys where the pod has no identity."""
    values: dict[str, str] = {}
    if staged.region:
        values |= {"AWS_REGION": staged.region, "AWS_DEFAULT_REGION": staged.region}
    if staged.endpoint_url:
        values |= {"AWS_ENDPOINT_URL": staged.endpoint_url, "AWS_EC2_METADATA_DISABLED": "true"}
    entries: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in values.items()]
    if spec.store_secret:
        for key, optional in (
            ("AWS_ACCESS_KEY_ID", False),
            ("AWS_SECRET_ACCESS_KEY", False),
            ("AWS_SESSION_TOKEN", True),
        ):
            reference: dict[str, Any] = {"name": spec.store_secret, "key": key}
            entries.append(
                {"name": key, "valueFrom": {"secretKeyRef": reference | ({"optional": True} if optional else {})}}
            )
    return entries


def _stream(spec: EndpointSpec, staged: StagedModel, release: Release) -> Weights:  # noqa: ARG001
    if staged.files and not any(file.path.endswith(".safetensors") for file in staged.files):
        raise InputError(
            f"Endpoint {spec.name}: weights=stream reads safetensors, and {staged.uri} holds none.",
            fix="Use weights=sync.",
            code="weights.no-safetensors",
        )
    env = [offline(), *store_access(spec, staged)]
    if staged.endpoint_url:
        env += [
            {"name": "RUNAI_STREAMER_S3_ENDPOINT", "value": staged.endpoint_url},
            {"name": "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING", "value": "0"},
        ]
    return Weights(location=staged.uri, env=tuple(env))


def _sync(spec: EndpointSpec, staged: StagedModel, release: Release) -> Weights:
    objects, checksums = fetch.checksum_configmaps(release.name, staged, _metadata(spec, staged, release))
    disk = disk_for(staged.total_bytes)
    resources = {"requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": gibibytes(disk)}}
    return Weights(
        location=MODEL_DIR,
        env=(offline(),),
        init_containers=(fetch.fetch_container(staged, MODEL_DIR, store_access(spec, staged), resources),),
        volumes=({"name": "model", "emptyDir": {}}, checksums),
        mounts=({"name": "model", "mountPath": MODEL_DIR, "readOnly": True},),
        disk_bytes=disk,
        objects=tuple(objects),
    )


def _mount(spec: EndpointSpec, staged: StagedModel, release: Release) -> Weights:
    """Mountpoint for S3: a volume bound to its claim by name; the driver ignores the capacity."""
    # Without allow-other only root may read: Ray's images run as another user.
    options = [f"prefix {staged.prefix}", "read-only", "allow-other"]
    if staged.region:
        options.insert(0, f"region {staged.region}")
    if staged.endpoint_url:
        options += [f"endpoint-url {staged.endpoint_url}", "force-path-style"]
    attributes = {"bucketName": staged.bucket}
    if spec.service_account:
        attributes["authenticationSource"] = "pod"
    claim, volume = f"{release.name}-model", f"{spec.namespace}-{release.name}-model"
    capacity = gibibytes(max(staged.total_bytes, 1))
    metadata = _metadata(spec, staged, release)
    persistent_volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume, **{key: value for key, value in metadata.items() if key != "namespace"}},
        "spec": {
            "capacity": {"storage": capacity},
            "accessModes": ["ReadOnlyMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "claimRef": {"namespace": spec.namespace, "name": claim},
            "mountOptions": options,
            "csi": {"driver": "s3.csi.aws.com", "volumeHandle": volume, "volumeAttributes": attributes},
        },
    }
    persistent_claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim, **metadata},
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": "",
            "volumeName": volume,
            "resources": {"requests": {"storage": capacity}},
        },
    }
    return Weights(
        location=MODEL_DIR,
        env=(offline(),),
        volumes=({"name": "model", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}},),
        mounts=({"name": "model", "mountPath": MODEL_DIR, "readOnly": True},),
        objects=(persistent_volume, persistent_claim),
    )


def _metadata(spec: EndpointSpec, staged: StagedModel, release: Release) -> dict[str, Any]:
    return {
        "namespace": spec.namespace,
        "labels": object_labels(spec, release),
        "annotations": annotations(release, staged),
    }
