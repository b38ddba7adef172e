"""The NIM operator, as its release 3 is seen from outside.

What it asks of an image before it caches a model is left out (it starts a pod to read the manifest of the image's
profiles, and chooses one for the cluster's GPUs), and so are the roles that only OpenShift needs.
"""

from sandbox.kubernetes.controllers.operators.nim.caches import NimCaches
from sandbox.kubernetes.controllers.operators.nim.services import NimServices

__all__ = ["NimCaches", "NimServices"]
