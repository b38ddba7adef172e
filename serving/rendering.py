"""One door to all renderers."""

from collections.abc import Callable

from serving.errors import InputError
from serving.frameworks import vllm
from serving.frameworks.workload import Manifest, endpoint_service
from serving.models import StagedModel
from serving.release import Release
from serving.spec import EndpointSpec, Framework

Renderer = Callable[[EndpointSpec, StagedModel | None, Release], list[Manifest]]

RENDERERS: dict[Framework, Renderer] = {Framework.VLLM: vllm.render}


def render(spec: EndpointSpec, staged: StagedModel | None, release: Release) -> list[Manifest]:
    """Returns the manifests of an endpoint with its framework's renderer, in the order in which they are applied.

    Raises:
        InputError: The spec holds a combination that cannot work.
    """
    renderer = RENDERERS.get(spec.framework)
    if renderer is None:
        raise InputError(
            f"Framework {spec.framework} has no renderer.", fix=f"Use one of {', '.join(sorted(RENDERERS))}."
        )
    return renderer(spec, staged, release)


def render_endpoint(spec: EndpointSpec, release: Release) -> Manifest:
    """Returns the endpoint's own Service, pointing at this release: applying it promotes the release."""
    return endpoint_service(spec, release)
