"""How people reach an endpoint and its logs, as shell commands with everything filled in. Pure."""

import json
import shlex

from serving.frameworks.triton import MODEL as TRITON_MODEL
from serving.options import NimOptions
from serving.smoke.model import DEFAULT_PICTURE
from serving.spec import EndpointSpec, Framework

PORT = 8000
_QUESTION = "Hello!"
_GATEWAY = "-l gateway.envoyproxy.io/owning-gateway-name=aibrix-eg"


def call_example(spec: EndpointSpec) -> str:
    """Shell commands that ask the endpoint a question from outside the cluster."""
    return f"kubectl port-forward -n {spec.namespace} svc/{spec.name} {PORT}\n{_curl(spec)}"


def gateway_example(spec: EndpointSpec) -> str:
    """Shell commands that go through the gateway that clients use; empty where there is none."""
    if spec.framework is not Framework.AIBRIX:
        return ""
    service = f"$(kubectl get svc -n envoy-gateway-system {_GATEWAY} -o name)"
    return f"kubectl port-forward -n envoy-gateway-system {service} {PORT}:80\n{_chat(spec, f'model: {spec.name}')}"


def logs_example(spec: EndpointSpec) -> str:
    """Shell commands that show the engine's logs."""
    logs = f"kubectl logs -n {spec.namespace} --tail 100 --prefix"
    mine = f"-l app.kubernetes.io/component={spec.name}"
    match spec.framework:
        case Framework.RAY_VLLM:
            return f"{logs} {mine},ray.io/node-type=head\n{logs} {mine},ray.io/node-type=worker"
        case Framework.LWS_VLLM:
            return f"{logs} {mine},inference-flows/role=leader\n{logs} {mine},inference-flows/role=worker"
        case _:
            return f"{logs} {mine} --all-containers"


def dashboard_example(spec: EndpointSpec) -> str:
    """Shell command that opens the framework's own dashboard; empty where it has none."""
    if spec.framework is not Framework.RAY_VLLM:
        return ""
    pod = f"-l app.kubernetes.io/component={spec.name},ray.io/node-type=head -o name"
    return f"kubectl port-forward -n {spec.namespace} $(kubectl get pods -n {spec.namespace} {pod}) 8265"


def _curl(spec: EndpointSpec) -> str:
    match spec.framework:
        case Framework.TRITON_VLLM:
            body = {"text_input": _QUESTION, "parameters": {"max_tokens": 100}, "exclude_input_in_output": True}
            return _post(f"/v2/models/{TRITON_MODEL}/generate", body)
        case Framework.DIFFUSERS:
            return _post("/v1/generations", {"prompt": DEFAULT_PICTURE}, "--output picture.png")
        case Framework.NIM if (spec.nim or NimOptions()).kind == "image":
            decoded = "| jq -r '.artifacts[0].base64' | base64 -d > picture.png"
            return _post("/v1/infer", {"prompt": DEFAULT_PICTURE, "mode": "base", "steps": 10}, decoded)
        case _:
            return _chat(spec)


def _chat(spec: EndpointSpec, *headers: str) -> str:
    messages = [{"role": "user", "content": _QUESTION}]
    body = {"model": spec.served_model_name, "messages": messages, "max_tokens": 100}
    return _post("/v1/chat/completions", body, headers=headers)


def _post(path: str, body: object, end: str = "", headers: tuple[str, ...] = ()) -> str:
    given = " ".join(f"-H {shlex.quote(header)}" for header in ("Content-Type: application/json", *headers))
    lines = [f"curl http://localhost:{PORT}{path} {given}", f"  -d {shlex.quote(json.dumps(body))}"]
    return " \\\n".join(lines) + (f" {end}" if end else "")
