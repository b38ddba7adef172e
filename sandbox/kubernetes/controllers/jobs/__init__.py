"""The Job controller."""

from sandbox.kubernetes.controllers.jobs.controller import Jobs, JobTimings

__all__ = ["JobTimings", "Jobs"]
