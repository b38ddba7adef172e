"""The sandbox's nodes: kubelets that run pods as processes of this machine.

What is real: commands, arguments, environment, secrets, init containers, probes, restarts, exit codes, signals, logs
and events. What is not, and cannot be with plain processes:

- No mount namespace. A pod sees this machine's files; its volumes are folders, and mount paths are rewritten where
  the pod's spec names them (`mounts`). Volumes of other kinds than emptyDir, configMap, secret, downwardAPI and
  projected are refused. Read-only mounts and size limits are not enforced.
- No network namespace. Each pod has an address of its own on the loopback network; Python servers that listen on all
  interfaces listen there (`podsite`). Other programs must be told their address, or share the machine's ports.
- No cluster DNS and no Service addresses but for Python programs, whose look-ups and connections `podsite` answers.
- No limits on memory or CPU, hence no OOMKilled. Extended resources (GPUs) are counted and nothing more.
- No users, capabilities or security contexts: containers run as whoever runs the sandbox.
- No service account tokens.
- Linux only.
"""

from sandbox.kubernetes.node.config import ImageConfig, NodeConfig, NodeTimings
from sandbox.kubernetes.node.fleet import KUBELET, Fleet

__all__ = ["KUBELET", "Fleet", "ImageConfig", "NodeConfig", "NodeTimings"]
