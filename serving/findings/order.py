"""The rules in the order in which they are asked.

What keeps a pod from existing, from having a node, from being created, from running, from being ready; then what keeps
requests from being answered.
"""

from serving.diagnosis import Rule
from serving.findings import (
    creation,
    images,
    jobs,
    lost_nodes,
    mounts,
    operators,
    progress,
    reach,
    runs,
    scheduling,
    waiting,
)

RULES: tuple[Rule, ...] = (
    creation.find,
    lost_nodes.find,
    scheduling.find,
    mounts.find,
    images.find,
    jobs.find,
    runs.find,
    operators.find,
    waiting.find,
    progress.find,
    reach.find,
)
