"""llama.cpp's server: one GGUF file, on CPU (also arm64) or GPU."""

from serving.combinations import require_possible
from serving.errors import InputError
from serving.explain import unknown
from serving.frameworks.arguments import as_written, option_flags
from serving.frameworks.pod import engine_container, environment, pod_template
from serving.frameworks.probes import http_probes, load_seconds
from serving.frameworks.scaling import scaler
from serving.frameworks.weights import weights_for
from serving.frameworks.workload import Manifest, deployment, disruption_budget, service
from serving.models import StagedModel
from serving.options import LlamaCppOptions
from serving.release import Release
from serving.spec import Accelerator, EndpointSpec

SERVER = "/app/llama-server"
_ALL_LAYERS = 999


def render(spec: EndpointSpec, staged: StagedModel | None, release: Release) -> list[Manifest]:
    """Returns the endpoint's manifests, in the order in which they are applied.

    Raises:
        InputError: The spec holds a combination that cannot work, or the model has no such GGUF file.
    """
    require_possible(spec)
    options = spec.llama_cpp or LlamaCppOptions()
    weights = weights_for(spec, staged, release)
    total = staged.total_bytes if staged else None
    model = f"{weights.location}/{model_file(options, staged)}"
    command = [SERVER, "--model", model, "--host", "0.0.0.0", "--port", "8000", "--metrics"]
    command += ["--alias", spec.served_model_name]
    if spec.accelerator is Accelerator.GPU and options.n_gpu_layers is None:
        command += ["--n-gpu-layers", str(_ALL_LAYERS)]
    command += option_flags(options, leave_out=frozenset({"model_file", "extra_args"}))
    container = engine_container(
        spec,
        weights,
        name="llama-cpp",
        command=as_written([*command, *options.extra_args]),
        env=environment(weights.env, spec.env),
        probes=http_probes(load_seconds(spec, total), ready="/health"),
        total_bytes=total,
    )
    template = pod_template(spec, staged, release, weights, [container])
    return [
        *weights.objects,
        service(spec, release),
        deployment(spec, staged, release, template, total),
        *disruption_budget(spec, release),
        *scaler(spec, release, total),
    ]


def model_file(options: LlamaCppOptions, staged: StagedModel | None) -> str:
    """Returns the GGUF file to load: the one that was named, or the only one; of a split one its first part.

    Raises:
        InputError: There is no such file, or several and none was named.
    """
    there = [file.path for file in staged.files if file.path.endswith(".gguf")] if staged else []
    if options.model_file:
        if options.model_file not in there:
            where = f"llama_cpp.model_file: {unknown('File', options.model_file, there)}"
            raise InputError(where, code="llama-cpp.model-file")
        return options.model_file
    first = [path for path in there if "-of-" not in path or "-00001-of-" in path]
    if len(first) == 1:
        return first[0]
    if not first:
        raise InputError(
            "The model holds no GGUF file, and llama.cpp reads nothing else.",
            fix="Use a repository with GGUF files, or framework=vllm.",
            code="llama-cpp.no-gguf",
        )
    raise InputError(
        f"The model holds {len(first)} GGUF files: {', '.join(first)}.",
        fix="Name one in llama_cpp.model_file.",
        code="llama-cpp.model-file",
    )
