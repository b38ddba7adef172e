"""What a container's last words mean: patterns of engines, Hub and S3, each with its cause and its fix."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from serving.diagnosis import Category

I = re.IGNORECASE  # noqa: E741


@dataclass(frozen=True)
class Signature:
    """A pattern in a log.

    Attributes:
        cause: Sentence; ``{0}``, ``{1}`` … are the pattern's groups.
        fixes: The same for each fix.
        lasting: Whether another start cannot end otherwise.
    """

    category: Category
    reason: str
    pattern: re.Pattern[str]
    cause: str
    fixes: tuple[str, ...]
    lasting: bool = True


@dataclass(frozen=True)
class Reading:
    """A signature found in a log, with its line."""

    signature: Signature
    line: str
    cause: str
    fixes: tuple[str, ...]


def _signature(
    category: Category, reason: str, pattern: str, cause: str, *fixes: str, lasting: bool = True, flags: int = 0
) -> Signature:
    return Signature(category, reason, re.compile(pattern, flags), cause, fixes, lasting)


SIGNATURES: tuple[Signature, ...] = (
    _signature(
        Category.MODEL_ACCESS,
        "gated",
        r"(?:Cannot access gated repo|GatedRepoError|Access to model (\S+) is restricted)",
        "The model's repository is gated and this token's account has no access to it.",
        "Accept the licence on the model's page with the account that owns the token.",
        "Put a token of an account with access into Secret hf-token, key token.",
    ),
    _signature(
        Category.MODEL_ACCESS,
        "token",
        r"(?:401 Client Error|Invalid (?:credentials|username or password)|Invalid user token|LocalTokenNotFoundError)",
        "The Hub refuses the token: it is missing, wrong or expired.",
        "Put a valid token into Secret hf-token, key token (huggingface.co/settings/tokens).",
    ),
    _signature(
        Category.MODEL_ACCESS,
        "revision",
        r"(?:RevisionNotFoundError|Revision Not Found|Invalid rev id)",
        "The repository has no such revision.",
        "Set revision to a branch, tag or commit that exists.",
    ),
    _signature(
        Category.MODEL_ACCESS,
        "repository",
        r"(?:RepositoryNotFoundError|Repository Not Found|is not a local folder and is not a valid model identifier)",
        "The Hub has no such repository, or the token may not see it.",
        "Correct the model's name, or use a token that may see the private repository (Secret hf-token).",
    ),
    _signature(
        Category.MODEL_ACCESS,
        "rate-limit",
        r"(?:429 Client Error|Too Many Requests)",
        "The Hub answers that there were too many requests.",
        "Serve from the staged model (weights=sync or stream) instead of the Hub.",
        "Give the pod a token: requests with one have a higher limit.",
        lasting=False,
    ),
    _signature(
        Category.STORE_ACCESS,
        "checksum",
        r"checksum mismatch: (\S.*?): FAILED",
        "The staged file {0} does not hold the bytes that were verified when it was staged.",
        "Stage the model again: the prefix was changed after staging.",
    ),
    _signature(
        Category.STORE_ACCESS,
        "denied",
        r"(?:AccessDenied|is not authorized to perform: (s3:\w+)|\(403\).*(?:HeadObject|GetObject|ListObjects))",
        "S3 denies the pod access to the model.",
        "Grant s3:GetObject and s3:ListBucket on the bucket to the role of the pod's service account "
        "(Pod Identity association or IRSA).",
        "Check that service_account is the account with that role.",
        lasting=False,
    ),
    _signature(
        Category.STORE_ACCESS,
        "credentials",
        r"(?:NoCredentialsError|Unable to locate credentials|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken)",
        "The pod has no valid AWS credentials.",
        "Give the pod's service account a role (Pod Identity association or IRSA) and name it in service_account.",
        lasting=False,
    ),
    _signature(
        Category.STORE_ACCESS,
        "region",
        r"(?:PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint|the region '[^']*' is wrong)",
        "The bucket is in another region than the pod was told.",
        "Correct the region of the model store.",
    ),
    _signature(
        Category.STORE_ACCESS,
        "missing",
        r"(?:NoSuchBucket|NoSuchKey|The specified (?:bucket|key) does not exist)",
        "The bucket or the model's objects do not exist.",
        "Stage the model again, and check the bucket's name.",
    ),
    _signature(
        Category.GPU_MEMORY,
        "kv-cache",
        r"(?:KV cache is needed, which is larger than the available KV cache|max seq len \((\d+)\) is larger than the "
        r"maximum number of tokens|No available memory for the cache blocks)",
        "The accelerator's memory that is left after loading cannot hold the cache for one request of full length.",
        "Lower max_model_len, or raise gpu_memory_utilization.",
        "Use more accelerators (tensor_parallel_size) or larger ones.",
    ),
    _signature(
        Category.GPU_MEMORY,
        "out-of-memory",
        r"(?:OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|NRT_RESOURCE|"
        r"Failed to allocate .* device memory)",
        "The model does not fit the accelerator's memory.",
        "Spread it over more accelerators: resources.accelerators and tensor_parallel_size.",
        "Use a quantized model or larger accelerators; lower max_model_len or max_num_seqs.",
        "If another process shares the device, lower gpu_memory_utilization.",
    ),
    _signature(
        Category.GPU_MEMORY,
        "utilization",
        r"Free memory on device .* is less than desired GPU memory utilization",
        "Less of the accelerator's memory is free than gpu_memory_utilization asks for.",
        "Lower gpu_memory_utilization, or see what else runs on the device.",
    ),
    _signature(
        Category.ENGINE,
        "tensor-parallel",
        r"(?:must be divisible by tensor parallel size|number of attention heads .* divisible|"
        r"[Tt]ensor parallel size \((\d+)\) (?:cannot be|is) (?:larger|greater)|World size \((\d+)\) is larger than)",
        "The tensor parallel size suits neither the model's attention heads nor the devices that are there.",
        "Set tensor_parallel_size to a divisor of the model's attention heads, not above resources.accelerators.",
    ),
    _signature(
        Category.ENGINE,
        "architecture",
        r"(?:Model architectures? (\[.*?\]) (?:are|is) not supported|does not recognize this architecture)",
        "This engine version does not know the model's architecture {0}.",
        "Use a newer image (image), or another model.",
    ),
    _signature(
        Category.ENGINE,
        "argument",
        r"(?:unrecognized arguments?: (.*)|error: argument (.*)|invalid choice: (.*))",
        "The engine does not accept an argument: {0}.",
        "Correct the engine's parameters (engine.…, extra_args): this image's vLLM does not know or accept it.",
    ),
    _signature(
        Category.ENGINE,
        "context-length",
        r"User-specified max_model_len \((\d+)\) is greater than the derived max_model_len",
        "max_model_len {0} is longer than the model allows.",
        "Lower max_model_len to what the model's config.json allows.",
    ),
    _signature(
        Category.ENGINE,
        "no-device",
        r"(?:No CUDA GPUs are available|Found no NVIDIA driver|CUDA driver version is insufficient|"
        r"Failed to infer device type|No neuron device|nrt_init)",
        "The engine finds no accelerator in its container.",
        "Use an image for this accelerator, and check the driver and the device plugin on the node.",
    ),
    _signature(
        Category.ENGINE,
        "missing-module",
        r"(?:ModuleNotFoundError|ImportError): (.*)",
        "The image lacks a Python module: {0}.",
        "Use an image that has it; for S3 streaming an image with vllm[runai], or weights=sync.",
    ),
    _signature(
        Category.MODEL_ACCESS,
        "network",
        r"(?:Name or service not known|Temporary failure in name resolution|Network is unreachable|"
        r"Failed to establish a new connection|Max retries exceeded)",
        "The container cannot reach a host it needs.",
        "Check the pod's route, DNS and network policies to the host in the log line.",
        lasting=False,
        flags=I,
    ),
)


def read(log: str, signatures: Sequence[Signature] = SIGNATURES) -> Reading | None:
    """Returns the first signature that the log shows, with the line it stands in."""
    for signature in signatures:
        match = signature.pattern.search(log)
        if match is None:
            continue
        begin = log.rfind("\n", 0, match.start()) + 1
        end = log.find("\n", match.end())
        groups = [group for group in match.groups() if group] or [""]
        return Reading(
            signature,
            line=log[begin : end if end >= 0 else len(log)].strip(),
            cause=signature.cause.format(*groups),
            fixes=tuple(fix.format(*groups) for fix in signature.fixes),
        )
    return None
