"""Small repositories in the layout of diffusers pipelines, with random weights.

They have every folder that `model_index.json` names, each with its configuration and a safetensors file: what staging
and the manifests need. The numbers do not make a picture.
"""

import json
import zlib

import numpy as np
import safetensors.numpy

from sandbox.hub_content import Repository

_CLIP = {"text_encoder": "CLIPTextModel", "tokenizer": "CLIPTokenizer"}
_XL = {"text_encoder_2": "CLIPTextModelWithProjection", "tokenizer_2": "CLIPTokenizer"}
_VAE = {"vae": "AutoencoderKL"}

MODELS: dict[str, tuple[str, bool, dict[str, str]]] = {
    "black-forest-labs/FLUX.1-schnell": (
        "FluxPipeline",
        False,
        {
            "scheduler": "FlowMatchEulerDiscreteScheduler",
            **_CLIP,
            "text_encoder_2": "T5EncoderModel",
            "tokenizer_2": "T5TokenizerFast",
            "transformer": "FluxTransformer2DModel",
            **_VAE,
        },
    ),
    "Kwai-Kolors/Kolors-diffusers": (
        "KolorsPipeline",
        False,
        {
            "scheduler": "EulerDiscreteScheduler",
            "text_encoder": "ChatGLMModel",
            "tokenizer": "ChatGLMTokenizer",
            "unet": "UNet2DConditionModel",
            **_VAE,
        },
    ),
    "CompVis/ldm-text2im-large-256": (
        "LDMTextToImagePipeline",
        False,
        {
            "bert": "LDMBertModel",
            "scheduler": "DDIMScheduler",
            "tokenizer": "BertTokenizer",
            "unet": "UNet2DConditionModel",
            "vqvae": "AutoencoderKL",
        },
    ),
    "Shitao/OmniGen-v1": (
        "OmniGenPipeline",
        False,
        {
            "scheduler": "FlowMatchEulerDiscreteScheduler",
            "tokenizer": "LlamaTokenizer",
            "transformer": "OmniGenTransformer2DModel",
            **_VAE,
        },
    ),
    "stabilityai/stable-diffusion-3.5-large": (
        "StableDiffusion3Pipeline",
        True,
        {
            "scheduler": "FlowMatchEulerDiscreteScheduler",
            **_CLIP,
            **_XL,
            "text_encoder_3": "T5EncoderModel",
            "tokenizer_3": "T5TokenizerFast",
            "transformer": "SD3Transformer2DModel",
            **_VAE,
        },
    ),
    "stabilityai/stable-diffusion-xl-base-1.0": (
        "StableDiffusionXLPipeline",
        False,
        {"scheduler": "EulerDiscreteScheduler", **_CLIP, **_XL, "unet": "UNet2DConditionModel", **_VAE},
    ),
}
"""Pipeline class, whether the repository is gated, and the class of each folder, by repository."""

_LARGE = ("transformer", "unet", "text_encoder", "text_encoder_2", "text_encoder_3", "bert", "vae", "vqvae")


def repository(repo_id: str, size: int) -> Repository:
    """The repository with about `size` bytes of weights, and ``v1`` at its first commit."""
    pipeline, gated, folders = MODELS[repo_id]
    index: dict[str, object] = {"_class_name": pipeline, "_diffusers_version": "0.35.0"}
    files: dict[str, bytes] = {"README.md": f"# {repo_id}\n\nGenerated: random numbers in its layout.\n".encode()}
    weighted = [name for name in folders if name in _LARGE]
    generator = np.random.default_rng(zlib.crc32(repo_id.encode()))
    for folder, kind in folders.items():
        index[folder] = ["transformers" if folder.startswith(("text", "tok", "bert")) else "diffusers", kind]
        if folder.startswith("tokenizer"):
            files[f"{folder}/tokenizer_config.json"] = _json({"tokenizer_class": kind})
            files[f"{folder}/vocab.json"] = _json({f"word{number}": number for number in range(100)})
        elif folder == "scheduler":
            files[f"{folder}/scheduler_config.json"] = _json({"_class_name": kind, "num_train_timesteps": 1000})
        else:
            share = size * (3 if folder in ("transformer", "unet") else 1) // (len(weighted) + 2)
            weights = generator.standard_normal((max(1, share // 128), 64), np.float32).astype(np.float16)
            transformers = folder.startswith(("text", "bert"))
            name = "model.safetensors" if transformers else "diffusion_pytorch_model.safetensors"
            key = "architectures" if transformers else "_class_name"
            files[f"{folder}/config.json"] = _json({key: [kind] if transformers else kind})
            files[f"{folder}/{name}"] = safetensors.numpy.save({"weight": weights})
    files["model_index.json"] = _json(index)
    made = Repository(repo_id, gated=gated)
    made.tags["v1"] = made.commit(files)
    made.commit({"README.md": files["README.md"] + b"\nAfter v1.\n"}, title="Update README.md")
    return made


def _json(data: dict[str, object]) -> bytes:
    return (json.dumps(data, indent=2) + "\n").encode()
