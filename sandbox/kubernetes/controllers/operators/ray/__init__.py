"""The RayService operator, as KubeRay 1.7 is seen from outside, without RayCluster objects between."""

from sandbox.kubernetes.controllers.operators.ray.controller import RayServices

__all__ = ["RayServices"]
