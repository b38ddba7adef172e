"""An endpoint from plain parameters: defaults filled in, everything checked, all problems told at once."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from serving.combinations import impossibilities, not_on
from serving.explain import input_error, problems
from serving.frameworks.defaults import default_image, default_weights
from serving.spec import Accelerator, EndpointSpec, Framework


def build_spec(
    framework: Framework, accelerator: Accelerator, parameters: Mapping[str, Any], *, where: str = ""
) -> EndpointSpec:
    """Returns the complete endpoint.

    Args:
        framework: Serving stack.
        accelerator: What the engine computes on.
        parameters: Fields of `EndpointSpec`; what is missing, empty or None gets its default. A CPU pod asks for no
            accelerators unless told to.
        where: What the parameters are, for messages; by default the endpoint's name.

    Raises:
        InputError: A value is out of range or a combination cannot work.
    """
    document = {name: value for name, value in parameters.items() if value is not None and value != ""}
    document |= {"framework": framework, "accelerator": accelerator}
    where = where or f"Endpoint {document.get('name', '')}".strip()
    image = document.setdefault("image", default_image(framework, accelerator))
    document.setdefault("weights", default_weights(framework, accelerator, str(image)))
    document.setdefault("served_model_name", _served_name(framework, document))
    if accelerator is Accelerator.CPU and "resources" not in document:
        document["resources"] = {"accelerators": 0}
    return validated(document, where)


def validated(document: Mapping[str, Any], where: str) -> EndpointSpec:
    """Returns the endpoint that a document describes.

    Args:
        document: All fields of `EndpointSpec` that have no default.
        where: What the document is, for messages.

    Raises:
        InputError: Names every field that does not fit, or every combination that cannot work.
    """
    if not document.get("image"):
        framework, accelerator = Framework(document["framework"]), Accelerator(document["accelerator"])
        missing = f"image is missing, and none is published for {framework} on {accelerator}."
        raise input_error(where, [not_on(framework, accelerator) or missing])
    try:
        spec = EndpointSpec.model_validate(dict(document))
    except ValidationError as error:
        raise input_error(where, problems(error, EndpointSpec), code="input.parameters") from error
    found = list(impossibilities(spec))
    if found:
        raise input_error(where, found, code="input.combination")
    return spec


def _served_name(framework: Framework, document: Mapping[str, Any]) -> str:
    """AIBrix routes by the model's name and takes the endpoint's for it; elsewhere the repository's is the custom."""
    if framework is Framework.AIBRIX:
        return str(document.get("name", ""))
    source = document.get("model")
    repo = source.get("repo_id", "") if isinstance(source, Mapping) else getattr(source, "repo_id", "")
    return str(repo)
