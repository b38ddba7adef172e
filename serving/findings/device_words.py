"""The patterns of accelerators: drivers, devices, what they can compute, and how they talk to each other."""

from serving.diagnosis import Category
from serving.findings.signatures import Signature, signature

_ENGINE = Category.ENGINE

DEVICES: tuple[Signature, ...] = (
    signature(
        _ENGINE,
        "driver",
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient|"
        r"unsatisfied condition: (cuda\S+)|forward compatibility was attempted|unsupported toolchain|"
        r"unsupported display driver|NVML: Driver/library version mismatch",
        "The node's NVIDIA driver is older than the image's CUDA needs.",
        "Use nodes with a newer driver (a newer node image), or an older image.",
    ),
    signature(
        _ENGINE,
        "compute-capability",
        r"no kernel image is available|compute capability|Bfloat16 is only supported on GPUs|"
        r"only supports? \w+ GPUs or newer|is not defined for option 'gpu-name'|"
        r"sm_\d+\w* is not (?:compatible|supported)|out of resource: shared memory",
        "The GPU is too old for what the engine or the model asks (compute capability).",
        "Use a newer GPU (instance_type), or dtype=float16, or another quantization.",
    ),
    signature(
        _ENGINE,
        "attention",
        r"(No valid attention backend found[^\n]*)|Selected backend \S+ is not valid for this configuration\.?([^\n]*)|"
        r"((?:FlashAttention|FlashInfer)[^\n]* only supports? [^\n]*)|"
        r"(head[_ ](?:size|dim\w*)[^\n]* not supported[^\n]*)",
        "No attention kernel of this engine suits the model's heads, its data type or the GPU: {0}.",
        "Leave the attention backend and kv_cache_dtype to the engine (env VLLM_ATTENTION_BACKEND, extra_args), or use "
        "dtype=bfloat16.",
        "Use a newer image, or another GPU (instance_type).",
    ),
    signature(
        _ENGINE,
        "device-fault",
        r"uncorrectable ECC error|fallen off the bus|GPU is lost|NVRM: Xid|NRT_EXEC_HW_ERR|DRAM (?:ECC|uncorrectable)",
        "A device of {node} is broken.",
        "Take {node} out of service and let its instance be replaced: kubectl cordon, then end the instance.",
        lasting=False,
    ),
    signature(
        _ENGINE,
        "no-device",
        r"system not yet initialized|cudaErrorSystemNotReady|Fabric ?Manager[^\n]*(?:not running|failed)",
        "The GPUs of {node} are not joined yet: NVIDIA's fabric manager does not run there.",
        "Start nvidia-fabricmanager on {node}, of the driver's very version (EKS' accelerated images have it), "
        "or replace the node.",
        lasting=False,
    ),
    signature(
        _ENGINE,
        "driver",
        r"Neuron driver (?:is )?(?:too old|version.*(?:not supported|required))|requires (?:Neuron )?driver version",
        "The node's Neuron driver is older than the image's SDK needs.",
        "Use nodes with a newer driver (aws-neuronx-dkms, a newer node image), or an older image.",
    ),
    signature(
        _ENGINE,
        "no-device",
        r"No neuron device|No such file or directory: '/dev/neuron|"
        r"/dev/neuron\d+(?: open failed)?: \w+ (?:not permitted|denied)|"
        r"nrt_init|NRT_FAILURE|Unable to determine Neuron Driver|"
        r"Neuron Runtime could not be initialized",
        "The engine finds no Neuron device in {container}, or the node's Neuron driver does not answer.",
        "Ask for aws.amazon.com/neuron (resources.accelerators) on an inf2 or trn node with the Neuron device plugin.",
        "Check the driver on {node}: aws-neuronx-dkms must suit the SDK of {image}.",
    ),
    signature(
        _ENGINE,
        "no-device",
        r"No (?:CUDA|HIP) GPUs are available|Found no NVIDIA driver|no CUDA-capable device|CUDA unknown error|"
        r"Failed to infer device type|Device string must not be empty|not compiled with CUDA enabled|"
        r"libcuda\.so\.1: cannot open|nvidia-container-cli: (?!requirement)|nvidia-container-runtime|"
        r"nvml error|NVMLError_\w+|Failed to initialize NVML|driver not loaded|"
        r"no CDI devices match|unresolvable CDI devices|could not select device driver",
        "The engine finds no accelerator in its container.",
        "Use an image for this accelerator, and check the driver and the device plugin on the node.",
    ),
    signature(
        _ENGINE,
        "nccl",
        r"ncclUnhandledCudaError|ncclSystemError|ncclInternalError|NCCL error|"
        r"NCCL WARN (?:NET|Error)[^\n]*fail",
        "The accelerators cannot talk to each other (NCCL).",
        "Raise shared_memory; over several nodes check EFA (lws.efa) and security groups.",
    ),
    signature(
        _ENGINE,
        "peers",
        r"DistNetworkError|DistStoreError|client socket has timed out|Timed out after \d+ seconds waiting for clients|"
        r"Watchdog caught collective operation timeout|Gloo connectFullMesh failed|gloo\S*\] Connection closed by peer|"
        r"gloo\S*\] (?:Read|Write) error|"
        r"could not connect to the store",
        "The processes of the group did not find each other in time.",
        "See whether every pod of the group runs; over several nodes check network policies and security groups.",
        lasting=False,
    ),
    signature(
        _ENGINE,
        "compile",
        r"neuronx-cc.*(?:fail|error|non-zero exit|terminated abnormally)|Failed compilation with|"
        r"Compilation (?:failed|error)|INTERNAL_ERROR.*NEFF|"
        r"deserializeCudaEngine: Error|RunNeuronCCImpl: error|\[NCC_\w+\]|NEFF[^\n]*(?:version|unsupported)|"
        r"compiled (?:artifacts|with neuronx-cc)[^\n]*(?:recompile|mismatch)",
        "The model could not be compiled for the accelerator, or was compiled by another version of the stack.",
        "Compile it again with this image: leave compiled files of another version out of what is staged.",
        "On Neuron lower max_model_len and max_num_seqs, or use settings that AWS' Neuron model pages name for it.",
    ),
)
