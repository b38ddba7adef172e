"""The rules in the order in which they are asked: what keeps a pod from existing, from running, from being ready."""

from serving.diagnosis import Rule
from serving.findings import creation, images, mounts, progress, runs, scheduling

RULES: tuple[Rule, ...] = (
    creation.find,
    scheduling.find,
    mounts.find,
    images.find,
    runs.find,
    progress.find,
)
