r"""Keys under which lineage names what a model goes through: Hub commit → staged model → endpoint. Pure.

Prefect takes a key as an asset if it is a URI with a lower-case protocol, at most 512 letters, without white space and
`` # ? & % " ' < > [ ] { } | \ ^ ` ``. A name that cannot be one gives an empty key: lineage is never a reason to fail.
"""

import re

from serving.models import PinnedModel

LONGEST = 512
_KEY = re.compile(r"""^[a-z0-9]+://[^\s\0#?&%"'<>\[\]{}|\\^`]+$""")


def hub_key(model: PinnedModel) -> str:
    """Returns the key of one commit of a Hub repository: ``huggingface://org/name@commit``."""
    return _checked(f"huggingface://{model.repo_id}@{model.commit}")


def staged_key(uri: str) -> str:
    """Returns the key of a staged model: where it stands."""
    return _checked(uri)


def endpoint_key(cluster: str, namespace: str, endpoint: str) -> str:
    """Returns the key of an endpoint: ``kubernetes://cluster/namespace/endpoint``.

    Args:
        cluster: What people call the cluster; an address loses its protocol.
        namespace: The endpoint's namespace.
        endpoint: Its name.
    """
    return _checked(f"kubernetes://{cluster.rpartition('://')[2] or 'cluster'}/{namespace}/{endpoint}")


def _checked(key: str) -> str:
    return key if len(key) <= LONGEST and _KEY.match(key) else ""
