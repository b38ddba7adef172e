"""The Job that makes the load, and the ConfigMap with its configuration."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import Field

from serving.benchmark.inference_perf import IMAGE, TOKENIZER
from serving.forms import FormGroup
from serving.frameworks.arguments import literal
from serving.frameworks.fetch import FETCH_IMAGE
from serving.frameworks.labels import MANAGED_BY, RUN_LABEL, label_value, selector
from serving.frameworks.resources import ARCHITECTURE_LABEL, near
from serving.frameworks.weights import hub_token, store_access
from serving.frameworks.workload import Manifest
from serving.models import StagedModel
from serving.options import ObjectName, Toleration
from serving.quantities import Quantity
from serving.record import ENDPOINT_LABEL
from serving.release import Release
from serving.spec import EndpointSpec

BENCHMARK_LABEL = "inference-flows/benchmark"
CONTAINER = "inference-perf"
KEPT_SECONDS = 3600
"""A Job that nobody took away goes by itself after this time, and its ConfigMap with it."""

_WORK, _CONFIG = "/benchmark", "/benchmark-config"
_USER = 65532
_NAME_PART = 40

SCRIPT = r"""
set -u
cd "$WORK_DIR"
inference-perf --config_file "$CONFIG_DIR/config.yml" &
load=$!
trap 'kill "$load" 2>/dev/null' TERM INT
wait "$load"
code=$?
for file in reports/*.json; do
  [ -f "$file" ] || continue
  printf '\n=== report %s\n' "${file##*/}"
  cat "$file"
  printf '\n=== end of report\n'
done
exit $code
""".lstrip()
"""Fixed text: all values reach it by environment. The reports go into the log, for the flow to read: the pod needs no
right to write anywhere. When the load ends badly, so does the container."""

# What a tokenizer consists of, as transformers loads it; of a staged model nothing else is copied.
_TOKENIZER_FILES = ("tokenizer*", "*.json", "*.jinja", "*.txt", "*.tiktoken", "*.model")
_TOKENIZER_CODE = ("*.py",)


class JobOptions(FormGroup):
    """The pod that makes the load, with engine inference-perf."""

    image: str = Field(default=IMAGE, pattern=r"^\S+$", description="Image of inference-perf, 0.5 or newer")
    chat: bool = Field(default=False, description="Ask for chats instead of completions")
    tokenizer: str = Field(
        default="", description="Hub repository of the tokenizer; by default the staged model's, or the model's own"
    )
    service_account: ObjectName = Field(default="", description="By default the endpoint's own")
    cpu: Quantity = Field(default="2", description="Cores that are kept free for the pod")
    memory: Quantity = Field(default="4Gi", description="Memory of the pod")
    node_selector: dict[str, str] = Field(default={}, description="Node labels that the pod insists on")
    tolerations: tuple[Toleration, ...] = Field(default=(), description="Taints that the pod puts up with")


@dataclass(frozen=True)
class Place:
    """What a Job needs to know of its surroundings.

    Attributes:
        spec: The endpoint's.
        release: The release that serves.
        staged: The staged model, whose tokenizer is used; None where pods load from the Hub.
        run: Id of the flow run; part of the name, so that the run finds its Job again.
        seconds: Longest run of the Job.
    """

    spec: EndpointSpec
    release: Release
    staged: StagedModel | None
    run: str
    seconds: float


@dataclass(frozen=True)
class BenchmarkJob:
    """What is applied, in order.

    Attributes:
        labels: What finds the Job's pods.
    """

    config: Manifest = field(repr=False)
    job: Manifest = field(repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of both objects."""
        return str(self.job["metadata"]["name"])


def job_name(endpoint: str, run: str) -> str:
    """Returns the name of a run's Job: the same for the same run."""
    digest = hashlib.sha256(run.encode()).hexdigest()[:8]
    return f"{endpoint[:_NAME_PART].rstrip('-')}-bench-{digest}"


def tokenizer_of(place: Place, options: JobOptions) -> str:
    """Returns where inference-perf finds the tokenizer: a Hub repository, or the directory that the pod fills."""
    if options.tokenizer:
        return options.tokenizer
    return TOKENIZER if place.staged is not None else place.spec.model.repo_id


def render_job(config: Mapping[str, Any], place: Place, options: JobOptions) -> BenchmarkJob:
    """Returns ConfigMap and Job.

    The pod stands near the endpoint's own, in the same zone where that can be; a wish only, for a pod that cannot be
    placed measures nothing. It is never tried again: a second load test is another one, and is somebody's decision.

    Args:
        config: inference-perf's configuration.
        place: Endpoint, release and run.
        options: The pod.
    """
    spec = place.spec
    name = job_name(spec.name, place.run)
    chosen = {ENDPOINT_LABEL: spec.name, BENCHMARK_LABEL: name}
    labels = {
        "app.kubernetes.io/name": CONTAINER,
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/managed-by": MANAGED_BY,
        **chosen,
        **({RUN_LABEL: label_value(place.run)} if place.run else {}),
    }
    metadata = {"name": name, "namespace": spec.namespace, "labels": labels}
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": near(selector(place.release)),
        # The image is built for this processor only (.github/workflows/publish-on-release.yml).
        "nodeSelector": {ARCHITECTURE_LABEL: "amd64", **options.node_selector},
        "containers": [_container(place, options)],
        "volumes": [
            {"name": "work", "emptyDir": {"sizeLimit": "2Gi"}},
            {"name": "config", "configMap": {"name": name}},
        ],
    }
    if account := options.service_account or spec.service_account:
        pod["serviceAccountName"] = account
    if options.tolerations:
        pod["tolerations"] = [one.model_dump(exclude_defaults=True, mode="json") for one in options.tolerations]
    if spec.pod.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret} for secret in spec.pod.image_pull_secrets]
    if place.staged is not None and not options.tokenizer:
        pod["initContainers"] = [_tokenizer_container(spec, place.staged)]
    notes = {"karpenter.sh/do-not-disrupt": "true", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": round(place.seconds),
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {"metadata": {"labels": labels, "annotations": notes}, "spec": pod},
        },
    }
    data = {"config.yml": yaml.safe_dump(dict(config), sort_keys=False)}
    return BenchmarkJob({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}, job, chosen)


def owned_config(rendered: BenchmarkJob, uid: str) -> Manifest:
    """Returns the ConfigMap as one that goes with its Job, whoever deletes that."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": rendered.name, "uid": uid}
    metadata = {**rendered.config["metadata"], "ownerReferences": [owner]}
    return {**rendered.config, "metadata": metadata}


def read_log(log: str) -> dict[str, str]:
    """Returns the reports that the Job's container wrote into its log, by file name; incomplete ones are left out."""
    found: dict[str, str] = {}
    name, lines = "", list[str]()
    for line in log.splitlines():
        if line.startswith("=== report "):
            name, lines = line.removeprefix("=== report ").strip(), []
        elif line == "=== end of report" and name:
            found[name] = "\n".join(lines)
            name = ""
        elif name:
            lines.append(line)
    return found


def _container(place: Place, options: JobOptions) -> dict[str, Any]:
    values = {
        "WORK_DIR": _WORK,
        "CONFIG_DIR": _CONFIG,
        "HOME": _WORK,
        "HF_HOME": f"{_WORK}/hub",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TMPDIR": _WORK,
        # Plain lines: nobody looks at bars in a log.
        "TERM": "dumb",
        "PYTHONUNBUFFERED": "1",
    }
    env: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in values.items()]
    if options.tokenizer or place.staged is None:
        env.append(hub_token(place.spec))
        if endpoint := place.spec.env.get("HF_ENDPOINT"):
            env.append({"name": "HF_ENDPOINT", "value": literal(endpoint)})
    else:
        env.append({"name": "HF_HUB_OFFLINE", "value": "1"})
    return {
        "name": CONTAINER,
        "image": options.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", literal(SCRIPT)],
        "env": env,
        "resources": {
            "requests": {"cpu": options.cpu, "memory": options.memory},
            "limits": {"memory": options.memory},
        },
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "work", "mountPath": _WORK},
            {"name": "config", "mountPath": _CONFIG, "readOnly": True},
        ],
    }


def _tokenizer_container(spec: EndpointSpec, staged: StagedModel) -> dict[str, Any]:
    """Copies the tokenizer's files from the staged model: the commit that is served, and no word to the Hub."""
    patterns = (*_TOKENIZER_FILES, *(_TOKENIZER_CODE if spec.engine.trust_remote_code else ()))
    chosen = [part for pattern in patterns for part in ("--include", pattern)]
    command = ["aws", "s3", "cp", staged.uri, f"{_WORK}/{TOKENIZER}/", "--recursive", "--only-show-errors"]
    return {
        "name": "fetch-tokenizer",
        "image": FETCH_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": [literal(part) for part in (*command, "--exclude", "*", *chosen)],
        "env": [{"name": "HOME", "value": _WORK}, *store_access(spec, staged)],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "work", "mountPath": _WORK}],
    }
