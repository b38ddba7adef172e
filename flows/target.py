"""Where a flow works."""

from dataclasses import dataclass

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore


@dataclass(frozen=True)
class Target:
    """The three blocks that a deploy works with."""

    cluster: InferenceCluster
    hub: HuggingFaceHub
    store: ModelStore
