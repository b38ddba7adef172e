"""The patterns of engines, of the stacks around them, and of the memory that they lack."""

from serving.diagnosis import Category
from serving.findings.signatures import Signature, signature

_MODEL, _GPU, _ENGINE = Category.MODEL_ACCESS, Category.GPU_MEMORY, Category.ENGINE

MEMORY: tuple[Signature, ...] = (
    signature(
        _GPU,
        "kv-cache",
        r"KV cache is needed, which is larger than the available KV cache|"
        r"max seq len \((\d+)\) is larger than the maximum number of tokens|No available memory for the cache blocks",
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
        r"Failed to allocate \S+ on .*(?:device|ND|HBM)|ggml_cuda.*out of memory|failed to allocate CUDA|"
        r"Cuda failure.*out of memory|CUDACachingAllocator|NVML_SUCCESS == r INTERNAL ASSERT",
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
        r"unable to (?:open|allocate|mmap) shared|Bus error.*shared memory|insufficient shared memory",
        "The pod's shared memory (/dev/shm) is too small.",
        "Raise shared_memory.",
    ),
    signature(
        Category.VOLUME,
        "disk-full",
        r"No space left on device|OSError: \[Errno 28\]|Disk quota exceeded",
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
        r"(?:AssertionError|ValueError): \d+ is not divisible by \d+",
        "The tensor parallel size suits neither the model's attention heads nor the devices that are there.",
        "Set tensor_parallel_size to a divisor of the model's attention heads, not above resources.accelerators.",
    ),
    signature(
        _ENGINE,
        "architecture",
        r"Model architectures? (\[.*?\]) (?:are|is) not supported|model type `([^`]+)` but Transformers does not "
        r"recognize this architecture|unknown model architecture: '([^']+)'|(\w+) has no vLLM implementation",
        "This engine version does not know the model's architecture {0}.",
        "Use a newer image (image), or another model.",
    ),
    signature(
        _ENGINE,
        "trust-remote-code",
        r"trust_remote_code=True|requires you to execute the (?:configuration|model) file|contains custom code which",
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
        r"unexpected keyword argument '([^']+)'|supplied (chat template \S+)",
        "The engine does not accept an argument: {0}.",
        "Correct the engine's parameters (engine, extra_args): this image's engine does not know or accept it.",
    ),
    signature(
        _ENGINE,
        "quantization",
        r"Unknown quantization method:? (\S+)|quantization method (\S+) is not supported|"
        r"(Quantization) method specified .*does not match|is not supported for (quantization method \S+)\.?",
        "The engine cannot use this quantization: {0}.",
        "Leave engine.quantization out (the checkpoint names its own), or use an image or a GPU that supports it.",
    ),
    signature(
        _ENGINE,
        "settings",
        r"validation errors? for \w+[^\n]*\n(?:[^\n]*\n)?[^\n]*(?:Value|Assertion) error, ([^\n]*?)(?: \[type=|\n|$)|"
        r"(max_num_batched_tokens \(\d+\) is smaller than [^\n]*)|(max_tokens_per_mm_item [^\n]*)|"
        r"(LoRA rank \d+ is greater than max_lora_rank \d+)|"
        r"(max_num_seqs \(\d+\) [^\n]*)",
        "The engine refuses its settings: {0}.",
        "Correct the engine's parameters (engine, extra_args) that the message names.",
    ),
    signature(
        _ENGINE,
        "driver",
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient|"
        r"unsatisfied condition: (cuda\S+)|forward compatibility was attempted",
        "The node's NVIDIA driver is older than the image's CUDA needs.",
        "Use nodes with a newer driver (a newer node image), or an older image.",
    ),
    signature(
        _ENGINE,
        "compute-capability",
        r"no kernel image is available|compute capability|Bfloat16 is only supported on GPUs",
        "The GPU is too old for what the engine or the model asks (compute capability).",
        "Use a newer GPU (instance_type), or dtype=float16, or another quantization.",
    ),
    signature(
        _ENGINE,
        "no-device",
        r"No CUDA GPUs are available|Found no NVIDIA driver|no CUDA-capable device|CUDA unknown error|"
        r"Failed to infer device type|No neuron device|nrt_init|NRT_FAILURE|libcuda\.so\.1: cannot open|"
        r"nvml error|driver not loaded|no CDI devices match|unresolvable CDI devices|could not select device driver",
        "The engine finds no accelerator in its container.",
        "Use an image for this accelerator, and check the driver and the device plugin on the node.",
    ),
    signature(
        _ENGINE,
        "nccl",
        r"ncclUnhandledCudaError|ncclSystemError|ncclInternalError|NCCL error|NCCL WARN.*fail",
        "The accelerators cannot talk to each other (NCCL).",
        "Raise shared_memory; over several nodes check EFA (lws.efa) and security groups.",
    ),
    signature(
        _ENGINE,
        "peers",
        r"DistNetworkError|DistStoreError|client socket has timed out|Timed out after \d+ seconds waiting for clients",
        "The processes of the group did not find each other in time.",
        "See whether every pod of the group runs; over several nodes check network policies and security groups.",
        lasting=False,
    ),
    signature(
        _ENGINE,
        "compile",
        r"neuronx-cc.*(?:fail|error)|Compilation (?:failed|error)|INTERNAL_ERROR.*NEFF|RunNeuronCCImpl: error",
        "The Neuron compiler could not compile the model with these settings.",
        "Lower max_model_len and max_num_seqs, or use settings that AWS' Neuron model pages name for it.",
    ),
    signature(
        Category.NETWORK,
        "port-in-use",
        r"address already in use|EADDRINUSE",
        "The port that the engine should listen on is taken.",
        "Give the engine's port to no other container of the pod.",
    ),
)

STACKS: tuple[Signature, ...] = (
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
        r"(?:Failed|Unable) to connect to GCS|ray_head.*refused|Failed to get the system config from raylet",
        "A worker cannot reach the Ray head.",
        "See whether the head runs: kubectl logs -l ray.io/node-type=head; check network policies to port 6379.",
        lasting=False,
    ),
    signature(
        Category.NIM,
        "profile",
        r"Could not find a profile|no compatible profile|No runnable profile|0 compatible profile",
        "The NIM has no profile for this GPU.",
        "Use a GPU that the model's NIM page lists (instance_type), or set NIM_MODEL_PROFILE.",
    ),
    signature(
        Category.NIM,
        "key",
        r"NGC_API_KEY.*(?:not set|invalid|missing)|ngc.*(?:401|403|Authentication)|Authentication Error.*ngc",
        "NGC refuses the key.",
        "Put a valid key into Secret ngc-api, key NGC_API_KEY.",
    ),
    signature(
        _ENGINE,
        "missing-module",
        r"(?:ModuleNotFoundError|ImportError): (.*)|python\S*: (No module named \S+)",
        "The image lacks a Python module: {0}.",
        "Use an image that has it; for S3 streaming an image with vllm[runai], or weights=sync.",
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
        r"Cannot find any model weights|"
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
        r"\[Errno 30\] Read-only file system(?:: '([^']+)')?",
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
)
