"""The patterns of engines, of the stacks around them, and of the memory that they lack."""

from serving.diagnosis import Category
from serving.findings.signatures import Signature, signature

_MODEL, _GPU, _ENGINE = Category.MODEL_ACCESS, Category.GPU_MEMORY, Category.ENGINE

MEMORY: tuple[Signature, ...] = (
    signature(
        Category.HOST_MEMORY,
        "killed",
        r"ray\.exceptions\.OutOfMemoryError|killed due to the node running low on memory|"
        r"exceeds the memory usage threshold",
        "Ray ended a worker of the engine because its pod's memory was nearly used up.",
        "Raise resources.memory and resources.memory_limit (of workers, for Ray).",
    ),
    signature(
        _GPU,
        "kv-cache",
        r"KV cache is needed, which is larger than the available KV cache|"
        r"max seq len \((\d+)\) is larger than the maximum number of tokens|No available memory for the cache blocks|"
        r"increase --mem-fraction-static",
        "The accelerator's memory that is left after loading cannot hold the cache for one request of full length.",
        "Lower max_model_len {length}, or raise gpu_memory_utilization.",
        "Use more accelerators (tensor_parallel_size) or larger ones.",
    ),
    signature(
        _GPU,
        "utilization",
        r"Free memory on device .* is less than desired GPU memory utilization",
        "Less of the accelerator's memory is free than gpu_memory_utilization asks for.",
        "Lower gpu_memory_utilization (0.9 to 0.8, or less), or see what else runs on the device.",
    ),
    signature(
        _GPU,
        "out-of-memory",
        r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|cudaErrorMemoryAllocation|NRT_RESOURCE|"
        r"Failed to allocate .*\bon (?:.*device|ND\d)|nrt_\w+ status=4\b|failed to allocate CUDA|"
        r"(?:cuda|HIP|NCCL)\w*\b[^\n]{0,60}out of memory|CU(?:BLAS|DNN)_STATUS_(?:ALLOC_FAILED|NOT_INITIALIZED)|"
        r"CUDACachingAllocator|NVML_SUCCESS == r INTERNAL ASSERT|Failed to alloc\w* DEVICE|"
        r"\bHBM\b[^\n]*exceed|exceeds?\b[^\n]{0,20}\bHBM\b",
        "The model does not fit the accelerator's memory.",
        "Spread it over more accelerators: resources.accelerators and tensor_parallel_size.",
        "Use a quantized model or larger accelerators; lower max_model_len, max_num_seqs or gpu_memory_utilization "
        "(0.9 to 0.8, or less).",
        "Where no single node has enough, spread it over several: framework lws-vllm or ray-vllm.",
    ),
    signature(
        Category.HOST_MEMORY,
        "shared-memory",
        r"(?:/dev/shm|shared memory).*(?:No space left|insufficient|not enough)|"
        r"(?:unable|failed) to (?:open|allocate|mmap|initialize|increase)(?: the)? shared memory|"
        r"\bBus error\b|\bSIGBUS\b|insufficient shared memory",
        "The pod's shared memory (/dev/shm) is too small.",
        "Raise shared_memory.",
    ),
    signature(
        Category.VOLUME,
        "disk-full",
        r"No space left on device|Insufficient disk space|database or disk is full|"
        r"OSError: \[Errno 28\]|Disk quota exceeded",
        "The container's disk is full.",
        "Use nodes with a larger disk, or let weights stream (weights=stream).",
    ),
    signature(
        Category.HOST_MEMORY,
        "allocation",
        r"MemoryError\b|std::bad_alloc|Cannot allocate memory|DefaultCPUAllocator: can't allocate|"
        r"neuronx-cc.*(?:forcibly )?killed|\[F137\]",
        "The process could not get the memory that it asked for.",
        "Raise resources.memory and resources.memory_limit.",
    ),
)

ENGINE: tuple[Signature, ...] = (
    signature(
        _ENGINE,
        "tensor-parallel",
        r"must be divisible by tensor parallel size|attention heads .*(?:divisible|divide)|"
        r"tensor parallel size \(?(\d+)\)? (?:cannot be|is|must).*(?:larger|greater|less|exceed)|"
        r"World size \((\d+)\) is larger than the number of available|num_heads.*not divisible|"
        r"number of required GPUs exceeds|local rank is larger than the number of available|"
        r"(?:AssertionError|ValueError): \d+ is not divisible by \d+|too large tensor parallel size|"
        r"(?:set|reducing) tensor_parallel_size|"
        r"\b\w+ = \d+ is not divisible by [\w ]+ = \d+|"
        r"Neuron ?Core\(s\) not available|NRT_LOAD_NOT_ENOUGH_NC|invalid device ordinal",
        "The tensor parallel size suits neither the model's attention heads nor the devices that are there.",
        "Set tensor_parallel_size to a divisor of the model's attention heads, not above resources.accelerators.",
    ),
    signature(
        _ENGINE,
        "architecture",
        r"Model architectures? (\[.*?\]) (?:are|is) not supported|model type `([^`]+)` but Transformers does not "
        r"recognize this architecture|unknown model architecture: '([^']+)'|(\w+) has no vLLM implementation|"
        r"Tokenizer class (\w+) does not exist|no module or parameter named '[^']+' in (\w+)|"
        r"Model architecture (\S+) is not supported|Model architectures? (\[.*?\]) failed to be inspected|"
        r"model with architecture (\S+) is not supported|"
        r"module '?(?:diffusers|transformers)[\w.]*'? has no attribute '?(\w+)|"
        r"error loading model: (missing tensor \S+)|'(\w+Config)' object has no attribute|"
        r"(did not match any variant of untagged enum \w+)",
        "This engine version does not know the model's architecture {0}.",
        "Use a newer image (image), or another model.",
    ),
    signature(
        _ENGINE,
        "trust-remote-code",
        r"trust_remote_code=True|requires you to execute the (?:configuration|model) file|contains custom code which|"
        r"consider setting `?trust_remote_code",
        "The model brings code of its own, and the engine may not run it: {repo}.",
        "Set engine.trust_remote_code to true if you trust the repository at this commit.",
    ),
    signature(
        _ENGINE,
        "context-length",
        r"max_model_len \((\d+)\) is greater than the derived max_model_len",
        "max_model_len {0} is longer than the model allows.",
        "Lower max_model_len to what the model's config.json allows.",
    ),
    signature(
        _ENGINE,
        "argument",
        r"unrecognized arguments?: (.*)|error: argument (.*)|invalid choice: (.*)|error: invalid argument: (.*)|"
        r"unexpected keyword argument '([^']+)'|supplied (chat template \S+)|unexpected (argument '[^']+') found|"
        r"error: the following arguments are required: (.*)|error: invalid value ('[^']*' for '[^']+)|"
        r"invalid ((?:tool call|reasoning) parser: .*)|(--[\w-]+ requires --[\w-]+)|"
        r"error while handling argument \"?(-[\w-]+)",
        "The engine does not accept an argument: {0}.",
        "Correct the engine's parameters (engine, extra_args): this image's engine does not know or accept it.",
    ),
    signature(
        _ENGINE,
        "quantization",
        r"Unknown quantization method:? (\S+)|quantization method (\S+) is not supported|"
        r"((?:MXFP4|NVFP4|FP8|W4A16|AWQ|GPTQ\w*)\b[^\n]*is not supported (?:on|for|by) [^\n]*)|"
        r"(Marlin does not support [^\n(]*)|(fp8\w+ not supported in this architecture)|"
        r"(Quantization scheme is not supported for [^\n]*)|(No \w+ (?:MoE )?backend supports the deployment[^\n]*)|"
        r"(Quantization) method specified .*does not match|is not supported for (quantization method \S+)\.?",
        "The engine cannot use this quantization: {0}.",
        "Leave engine.quantization out (the checkpoint names its own), or use an image or a GPU that supports it.",
    ),
    signature(
        _ENGINE,
        "settings",
        r"validation errors? for \w+[^\n]*\n(?:[^\n]*\n)?[^\n]*(?:Value|Assertion) error, ([^\n]*?)(?: \[type=|\n|$)|"
        r"validation errors? for (\w+\n[^\n]+\n[^\n\[]+)|(Unknown attention backend: \S+)|"
        r"(max_num_batched_tokens \(\d+\) is smaller than [^\n]*)|(max_tokens_per_mm_item [^\n]*)|"
        r"(LoRA rank \d+ is greater than max_lora_rank \d+)|"
        r"(max_num_seqs \(\d+\) [^\n]*)|NotImplementedError: ([^\n]*not supported (?:for|by|with) [^\n.]*)|"
        r"ValueError: ([^\n]*not supported with [^\n.]*)",
        "The engine refuses its settings: {0}.",
        "Correct the engine's parameters (engine, extra_args) that the message names.",
    ),
    signature(
        _ENGINE,
        "service-links",
        r"(\w+) '?tcp://\S+ appears to be a URI|invalid literal for int\(\) with base 10: 'tcp://",
        "Kubernetes' variables about a Service overwrite the engine's own settings: {0}.",
        "Set enableServiceLinks to false in the pod's spec, or give the Service another name than the engine's.",
    ),
    signature(
        Category.NETWORK,
        "port-in-use",
        r"(?:address|socket|port)\b[^\n]{0,40}already in use|EADDRINUSE|could(?:n't| not) bind\b[^\n]*(?:socket|port)",
        "The port that the engine should listen on is taken.",
        "Give the engine's port to no other container of the pod.",
    ),
)

STACKS: tuple[Signature, ...] = (
    signature(
        Category.RAY_CLUSTER,
        "redis",
        r"\bRedisError\b|redis\.exceptions\.\w+|\bNOAUTH\b|\bWRONGPASS\b|does not match persisted value",
        "The Redis that is to keep Ray's state refuses the head, cannot be reached, or keeps another cluster's state.",
        "Check ray.redis_address and the password in Secret ray.redis_secret; give each Ray cluster a Redis, or a "
        "namespace in it, of its own.",
        lasting=False,
    ),
    signature(
        Category.RAY_CLUSTER,
        "version",
        r"Version mismatch: The cluster was started with|ray\.__version__.*does not match",
        "Head, workers and rayVersion are of different versions of Ray or Python.",
        "Use the same image for head and workers, and set ray.version to its version.",
    ),
    signature(
        Category.RAY_CLUSTER,
        "head-unreachable",
        r"(?:Failed|Unable) to connect to GCS|waiting for GCS to become available|"
        r"ray_head.*refused|Failed to get the system config from raylet",
        "A worker cannot reach the Ray head.",
        "See whether the head runs: kubectl logs -l ray.io/node-type=head; check network policies to port 6379.",
        lasting=False,
    ),
    signature(
        Category.RAY_CLUSTER,
        "no-resources",
        r"Cannot provide a placement group of .*? within \d+ seconds|No available node types can fulfill|"
        r"does not allocate any GPUs on the driver node",
        "The Ray cluster has no room for the workers that the engine asks for.",
        "See whether all workers run (ray.max_workers), and give them the accelerators that tensor_parallel_size and "
        "pipeline_parallel_size need together.",
    ),
    signature(
        Category.NIM,
        "profile",
        r"Could not (?:find|match) a profile|no compatible profile|No runnable profile|0 compatible profile",
        "The NIM has no profile for this GPU.",
        "Use a GPU that the model's NIM page lists (instance_type), or set NIM_MODEL_PROFILE.",
    ),
    signature(
        _ENGINE,
        "missing-module",
        r"(?:ModuleNotFoundError|ImportError): (.*)|python\S*: (No module named \S+)|"
        r"Failed to import (\S+: No module named \S+)",
        "The image lacks a Python module: {0}.",
        "Use an image that has it; for S3 streaming an image with vllm[runai], or weights=sync.",
    ),
    signature(
        _ENGINE,
        "missing-module",
        r"Failed to find (C compiler)|'?(\w+)'? package is not available|fatal error: (\w[\w/.]*\.h): No such file|"
        r"(?:Could not|cannot) find (nvcc|ninja|gcc)\b|"
        r"(?:lib)?streamer due to: b?'?([^'\n]*(?:failed to load|not supported))|"
        r"error while loading shared libraries: (\S+):",
        "The image lacks what the engine builds or loads as it starts: {0}.",
        "Use an image that has it, such as the engine's own; for S3 streaming one with vllm[runai], or weights=sync.",
    ),
    signature(
        Category.TRITON,
        "model-load",
        r"failed to load '([^']+)' version|failed to load all models|error creating server|"
        r"Poll failed for model directory '([^']+)'",
        "Triton could not load model {0}.",
        "Read what stands before this line in the log, and check model.json (the engine's options).",
    ),
    signature(
        _MODEL,
        "files",
        r"no file named (\S+)|does not appear to have a file named (\S+)|"
        r"No such file or directory: '(/staged-model\S*)'|No supported config format found in (\S+)|"
        r"Cannot find any model weights|weights were not initialized from checkpoint: (.*)|"
        r"Can't load (?:the )?(?:tokenizer|configuration|model|image processor|feature extractor) (?:for|of) '([^']+)'|"
        r"Cannot find (the config file for \w+)|Should have a (`?model_type`? key in its config\.json)|"
        r"gguf.*(?:No such file|failed to open)|EntryNotFoundError|Entry Not Found for url: (\S+)",
        "The model's directory lacks a file that the engine needs: {0}.",
        "Stage the model again without leaving that file out.",
    ),
    signature(
        _MODEL,
        "network",
        r"Name or service not known|Temporary failure in name resolution|Network is unreachable|"
        r"Failed to establish a new connection|Max retries exceeded",
        "The container cannot reach a host it needs: {host}.",
        "Check the pod's route, DNS and network policies to {host}.",
        lasting=False,
    ),
    signature(
        Category.START,
        "permission",
        r"PermissionError: \[Errno 13\] Permission denied: '([^']+)'|"
        r"\[Errno 30\] Read-only file system(?:: '([^']+)')?|cannot create directory \W?(/[^'\u2019:]+)\W*: \w+|"
        r"PermissionError at (/\S+)|Permission denied \(os error 13\)|"
        r"(attempting to bind on address .*): permission denied",
        "The container's user may not use {0}.",
        "Let the program write elsewhere (env HOME, HF_HOME), or run it as the user that its image is made for.",
    ),
    signature(
        Category.START,
        "command",
        r"\bsh: (?:line )?\d+: (\S+): (?:command )?not found|(\S+): command not found|"
        r"can't open file '([^']+)'|\bsh: (?:line )?\d+: (\S+): Permission denied|exec: (\S+): not found",
        "The command cannot be run in this image: {0} is not there or may not be run.",
        "Use an image that has {0} ({image} has not), or correct command and args of {container}.",
    ),
    signature(
        Category.START,
        "processor",
        r"exec format error|cannot execute binary file",
        "{image} is built for another processor than the node's.",
        "Use an image for this architecture in {container}, or nodes of the other one (pod.architecture).",
    ),
    signature(
        Category.HOST_MEMORY,
        "killed",
        r"Failed core proc\(s\): \{[^}]*: -9\b|worker (?:process )?(?:was|died)[^\n]*SIGKILL|signal 9 \(SIGKILL\)|"
        r"line \d+: +\d+ Killed\b",
        "The kernel ended the engine's own process (SIGKILL): as a rule the pod's memory limit was reached.",
        "Raise resources.memory and resources.memory_limit (shared memory counts too: shared_memory).",
    ),
)
