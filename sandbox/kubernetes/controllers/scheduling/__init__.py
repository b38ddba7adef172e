"""The scheduler: which node takes which pod, and why none does."""

from sandbox.kubernetes.controllers.scheduling.scheduler import Scheduler

__all__ = ["Scheduler"]
