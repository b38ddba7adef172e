"""Pods that together run one engine."""

from serving.spec import EndpointSpec


def group_size(spec: EndpointSpec) -> int:
    """Returns how many pods one group has: as asked, else one for each pipeline stage."""
    if spec.lws is not None and spec.lws.size is not None:
        return spec.lws.size
    return spec.engine.pipeline_parallel_size or 1
