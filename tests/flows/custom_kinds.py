"""Custom kinds that the sandbox does not ship: the fields that we set, by their operators' documentation, no others."""

from typing import Any

STRING, INTEGER = {"type": "string"}, {"type": "integer"}
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
OPEN_LIST = {"type": "array", "items": OPEN}


def definition(group: str, version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A CustomResourceDefinition whose spec has these fields; unknown ones are refused by strict validation."""
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": spec}, "status": OPEN}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


DEFINITIONS = (
    definition(
        "keda.sh",
        "v1alpha1",
        "ScaledObject",
        {
            "scaleTargetRef": OPEN,
            "minReplicaCount": INTEGER,
            "maxReplicaCount": INTEGER,
            "cooldownPeriod": INTEGER,
            "initialCooldownPeriod": INTEGER,
            "advanced": OPEN,
            "triggers": OPEN_LIST,
        },
    ),
    definition(
        "autoscaling.aibrix.ai",
        "v1alpha1",
        "PodAutoscaler",
        {
            "scaleTargetRef": OPEN,
            "minReplicas": INTEGER,
            "maxReplicas": INTEGER,
            "scalingStrategy": STRING,
            "metricsSources": OPEN_LIST,
        },
    ),
    definition(
        "monitoring.coreos.com",
        "v1",
        "PodMonitor",
        {
            "selector": OPEN,
            "podTargetLabels": {"type": "array", "items": STRING},
            "podMetricsEndpoints": {
                "type": "array",
                "items": {"type": "object", "properties": {"port": STRING, "path": STRING, "interval": STRING}},
            },
        },
    ),
)
