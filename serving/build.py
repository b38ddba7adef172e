"""An endpoint from plain parameters: defaults filled in, everything checked, all problems told at once."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from serving.combinations import impossibilities
from serving.explain import input_error, problems
from serving.frameworks.images import default_weights
from serving.spec import Accelerator, EndpointSpec, Framework

DEFAULT_IMAGES = {
    Accelerator.GPU: "public.ecr.aws/deep-learning-containers/vllm:0.10.2-gpu-py312-ec2",
    Accelerator.NEURON: "public.ecr.aws/q9t5s3a7/vllm-neuron-release-repo:v0.9.1",
    Accelerator.CPU: "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.17.1",
}
"""The vLLM images that the catalogue's presets use."""


def build_spec(framework: Framework, accelerator: Accelerator, parameters: Mapping[str, Any]) -> EndpointSpec:
    """Returns the complete endpoint.

    Args:
        framework: Serving stack.
        accelerator: What the engine computes on.
        parameters: Fields of `EndpointSpec`; what is missing, empty or None gets its default. A CPU pod asks for no
            accelerators unless told to.

    Raises:
        InputError: A value is out of range or a combination cannot work.
    """
    document = {name: value for name, value in parameters.items() if value is not None and value != ""}
    document |= {"framework": framework, "accelerator": accelerator}
    image = document.setdefault("image", DEFAULT_IMAGES[accelerator])
    document.setdefault("weights", default_weights(framework, accelerator, str(image)))
    source = document.get("model")
    document.setdefault("served_model_name", getattr(source, "repo_id", "") or _repo_of(source))
    return validated(document, f"Endpoint {document.get('name', '')}".strip())


def validated(document: Mapping[str, Any], where: str) -> EndpointSpec:
    """Returns the endpoint that a document describes.

    Args:
        document: All fields of `EndpointSpec` that have no default.
        where: What the document is, for messages.

    Raises:
        InputError: Names every field that does not fit, or every combination that cannot work.
    """
    try:
        spec = EndpointSpec.model_validate(dict(document))
    except ValidationError as error:
        raise input_error(where, problems(error, EndpointSpec), code="input.parameters") from error
    found = list(impossibilities(spec))
    if found:
        raise input_error(where, found, code="input.combination")
    return spec


def _repo_of(source: Any) -> str:
    return str(source.get("repo_id", "")) if isinstance(source, Mapping) else ""
