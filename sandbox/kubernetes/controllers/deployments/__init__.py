"""The Deployment controller, in the steps and the order of a real one."""

from sandbox.kubernetes.controllers.deployments.controller import Deployments

__all__ = ["Deployments"]
