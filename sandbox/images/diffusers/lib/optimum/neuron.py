"""The pipelines of optimum-neuron that our image server knows."""

from sandbox.standins.pipelines import kind

NeuronFluxPipeline = kind("NeuronFluxPipeline")
NeuronStableDiffusionXLPipeline = kind("NeuronStableDiffusionXLPipeline")
NeuronStableDiffusionPipeline = kind("NeuronStableDiffusionPipeline")
