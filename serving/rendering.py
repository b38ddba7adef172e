"""One door to all renderers."""

from collections.abc import Callable

from serving.frameworks import diffusers, llama_cpp, lws, nim, ray, triton, vllm
from serving.frameworks.monitor import monitor
from serving.frameworks.workload import PLAIN_DOOR, Door, Manifest, endpoint_services
from serving.models import StagedFile, StagedModel
from serving.release import Release
from serving.spec import EndpointSpec, Framework, WeightsSource

Renderer = Callable[[EndpointSpec, StagedModel | None, Release], list[Manifest]]

RENDERERS: dict[Framework, Renderer] = {
    Framework.VLLM: vllm.render,
    Framework.AIBRIX: vllm.render,
    Framework.RAY_VLLM: ray.render,
    Framework.TRITON_VLLM: triton.render,
    Framework.DIFFUSERS: diffusers.render,
    Framework.LWS_VLLM: lws.render,
    Framework.NIM: nim.render,
    Framework.LLAMA_CPP: llama_cpp.render,
}


def render(spec: EndpointSpec, staged: StagedModel | None, release: Release) -> list[Manifest]:
    """Returns the manifests of a release with its framework's renderer, in the order in which they are applied.

    Raises:
        InputError: The spec holds a combination that cannot work.
    """
    return [*RENDERERS[spec.framework](spec, staged, release), *monitor(spec, release, _door(spec))]


def render_outline(spec: EndpointSpec, release: Release) -> list[Manifest]:
    """Returns the manifests of a release without looking at its staged model: the same kinds and names, other weights.

    Raises:
        InputError: The spec holds a combination that cannot work.
    """
    files = ["config.json", "model.safetensors"]  # weights=stream looks for the latter
    if spec.framework is Framework.LLAMA_CPP:
        files.append((spec.llama_cpp and spec.llama_cpp.model_file) or "model.gguf")
    staged = StagedModel(
        model=release.model,
        uri=f"s3://not-looked-at/{release.model.repo_id}/",
        files=tuple(StagedFile(path=path, size=1, sha256="0" * 64) for path in files),
    )
    return render(spec, None if spec.weights is WeightsSource.HUB else staged, release)


def render_endpoint(spec: EndpointSpec, release: Release) -> Manifest:
    """Returns the endpoint's own Service, pointing at this release: applying it promotes the release."""
    return endpoint_services(spec, release, _door(spec))[0]


def render_aliases(spec: EndpointSpec, release: Release) -> list[Manifest]:
    """Returns the Services under which users of the chart know the endpoint besides (``…-leader``, ``…-serve-svc``).

    They are applied together with `render_endpoint`.
    """
    return endpoint_services(spec, release, _door(spec))[1:]


def _door(spec: EndpointSpec) -> Door:
    if spec.framework is Framework.AIBRIX:
        return vllm.door(spec)
    if spec.framework is Framework.NIM:
        return nim.door(spec)
    doors = {Framework.RAY_VLLM: ray.DOOR, Framework.TRITON_VLLM: triton.DOOR, Framework.LWS_VLLM: lws.DOOR}
    return doors.get(spec.framework, PLAIN_DOOR)
