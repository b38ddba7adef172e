"""A Kubernetes API on this machine, and the cluster behind it.

Rooms:
    server      run it (`serve_kubernetes`) and steer it from tests
    api/        HTTP: requests, reads, writes, watches, proxies, tables, discovery
    objects/    what objects are: schemas, defaults, validation, ownership
    controllers/, node/   what makes Deployments and Jobs run, and pods processes
    store, writes, deletion, garbage, housekeeping   the objects of the cluster and what keeps them in order
    cluster     the cluster as controllers see it

True rather than complete: a resource or a feature of a real server (1.36) that is not here answers 501 with its name.
Not here are, above all: exec, attach, port-forward and eviction; StatefulSets, DaemonSets, CronJobs and Ingresses;
admission webhooks and policies, Pod Security, LimitRanges; the metrics that autoscalers need; CEL rules other than
`self == oldSelf` and `self in [...]`; conversion webhooks; the protobuf form of most kinds.
"""
