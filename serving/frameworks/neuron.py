"""What is particular to AWS Neuron (Inferentia, Trainium)."""

COMPILED = "/neuron-artifacts"
"""Where compiled models go. The engine's own default is the model's directory, which may be read-only."""


RAY_RESOURCE = "neuron_cores"
"""What Ray calls NeuronCores."""


def neuron_cores(instance_type: str) -> tuple[int, int]:
    """Returns the NeuronCores of one chip: as the runtime groups them by default, and at most.

    Inferentia2 and Trainium1 have 2. Trainium2 and 3 have 8, grouped in pairs by default (AWS Neuron documentation,
    logical NeuronCore configuration). An instance type that is not given counts as 2, and at most 8.
    """
    if instance_type.startswith(("inf2", "trn1")):
        return 2, 2
    return (4, 8) if instance_type else (2, 8)


def environment() -> dict[str, str]:
    """Returns the environment of a Neuron engine: where compiled models are kept and looked for."""
    return {"NEURON_COMPILED_ARTIFACTS": f"{COMPILED}/model", "NEURON_COMPILE_CACHE_URL": f"{COMPILED}/cache"}
