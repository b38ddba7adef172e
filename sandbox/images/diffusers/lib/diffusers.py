"""The pipelines of diffusers that our image server knows."""

from sandbox.standins.pipelines import Pipeline, kind

DiffusionPipeline = Pipeline
FluxPipeline = kind("FluxPipeline")
StableDiffusion3Pipeline = kind("StableDiffusion3Pipeline")
StableDiffusionXLPipeline = kind("StableDiffusionXLPipeline")
KolorsPipeline = kind("KolorsPipeline")
OmniGenPipeline = kind("OmniGenPipeline")
