"""The objects that a log and a pod name: a fix that says which bucket, which role and which Secret can be followed."""

import re

from serving.snapshot import Container, namespace_of

_IN_LOGS: dict[str, tuple[str, str]] = {
    "repo": (
        r"Access to model ([\w.-]+/[\w.-]*\w)|/api/models/([\w.-]+/[\w.-]*\w)|"
        r"huggingface\.co/(?!api/|docs/|settings/|models\b)([\w.-]+/[\w.-]*\w)|"
        r"(?:^|\s)([\w.-]+/[\w.-]+) is not a local folder|[Tt]he repository ([\w.-]+/[\w.-]+) contains custom code",
        "the model's repository",
    ),
    "bucket": (
        r"s3://([\w.-]+)|arn:aws[\w-]*:s3:::([\w.-]+)|for bucket ([\w.-]+)|https?://([\w.-]+?)\.s3[.-][\w.-]*amazonaws|"
        r"Could not mount \"([^\"]+)\"",
        "",
    ),
    "action": (r"not authorized to perform: ([\w:]+)", "s3:GetObject and s3:ListBucket"),
    "role": (r"arn:aws[\w-]*:sts::\d+:assumed-role/([^/\s]+)", "of the pod's service account"),
    "resource": (r"on resource: \"?([^\s\"]+)", ""),
    "length": (r"estimated maximum model length is (\d+)", ""),
    "host": (r"(?:host=|resolve |lookup |https?://)'?([\w-]+(?:\.[\w-]+)+)", ""),
}

_PHRASES = {
    "bucket": ("bucket {}", "the bucket"),
    "role": ("role {}", "the role of the pod's service account"),
    "resource": ("{}", "the bucket"),
    "length": ("to at most {}", "to what the log names"),
    "host": ("host {}", "the host in the log line"),
}

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")


def of_log(*logs: str) -> dict[str, str]:
    """Returns what a log names, as phrases that fit into a sentence; a name in general where it names none.

    Args:
        logs: Parts of the log, the most telling first.
    """
    found = {}
    for name, (pattern, fallback) in _IN_LOGS.items():
        match = next((match for log in logs if (match := re.search(pattern, log, re.MULTILINE))), None)
        value = next((group for group in match.groups() if group), "") if match else ""
        phrase, otherwise = _PHRASES.get(name, ("{}", fallback))
        found[name] = phrase.format(value) if value else otherwise
    return found


def of_container(container: Container | None) -> dict[str, str]:
    """Returns what a container's pod names: the Secret of the Hub's token, its service account."""
    if container is None:
        return {
            "secret": "Secret hf-token, key token",
            "account": "the pod's service account",
            "container": "the container",
            "image": "the image",
            "node": "the node",
        }
    namespace = namespace_of(container.pod) or "default"
    spec = container.pod.get("spec") or {}
    account, node = spec.get("serviceAccountName") or "default", spec.get("nodeName")
    return {
        "secret": _secret(container),
        "account": f"service account {namespace}/{account}",
        "container": f"container {container.name}",
        "image": f"image {container.spec.get('image')}",
        "node": f"node {node}" if node else "the node",
    }


def _secret(container: Container) -> str:
    for entry in container.spec.get("env") or ():
        reference = (entry.get("valueFrom") or {}).get("secretKeyRef") or {}
        if entry.get("name") in TOKEN_VARIABLES and reference.get("name"):
            return f"Secret {reference['name']}, key {reference.get('key', 'token')}"
    names = {entry.get("name") for entry in container.spec.get("env") or ()}
    if container.spec.get("envFrom") or not names.isdisjoint(TOKEN_VARIABLES):
        return "Secret hf-token, key token"
    return f"Secret hf-token, key token, and let container {container.name} have it (it has no env HF_TOKEN)"
