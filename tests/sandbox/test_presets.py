"""Every preset of the catalogue can be tried: the sandbox has its image, its model and machines of its type."""

from pathlib import Path

import pytest

from sandbox.images import default_images
from sandbox.servers import NODES, nodes_for
from sandbox.tiny_models import MODELS, hub_content
from serving.catalog import load_presets, resolve
from serving.frameworks.groups import group_size
from serving.frameworks.vllm import default_tensor_parallel_size
from serving.quantities import parse
from serving.spec import VLLM_BASED, Framework

TYPE = "node.kubernetes.io/instance-type"


@pytest.mark.parametrize("name", sorted(load_presets()))
def test_a_preset_finds_what_it_names(name: str, tmp_path: Path) -> None:
    spec = resolve(load_presets()[name])
    assert any(image.matches(spec.image) for image in default_images())
    if spec.framework is not Framework.NIM:
        assert spec.model.repo_id in hub_content(tmp_path).repo_ids
    if spec.framework in VLLM_BASED:
        model = MODELS[spec.model.repo_id]
        size = spec.engine.tensor_parallel_size or default_tensor_parallel_size(spec) or 1
        assert model.heads % size == 0
        assert (spec.engine.max_model_len or 0) <= model.context
    pods = spec.replicas * group_size(spec)
    fitting = [
        node
        for node in nodes_for(spec.instance_type, pods)
        if spec.instance_type in ("", node.labels[TYPE])
        and int(node.capacity.get(spec.accelerator.resource, 0)) >= spec.resources.accelerators
        and parse(spec.resources.cpu or "0") < parse(node.capacity["cpu"])
        and parse(spec.resources.memory or "0") < parse(node.capacity["memory"])
    ]
    assert len(fitting) >= (pods if spec.instance_type else 1)


def test_machines_are_added_for_what_the_cluster_has_not() -> None:
    assert nodes_for("", 9) == NODES
    assert nodes_for("g6e.2xlarge", 2) == NODES
    assert nodes_for("no.such", 2) == NODES
    more = nodes_for("p5.48xlarge", 2)[len(NODES) :]
    assert [(node.labels[TYPE], node.capacity["nvidia.com/gpu"]) for node in more] == [("p5.48xlarge", "8")] * 2
    assert len({node.name for node in more}) == 2
    assert nodes_for("c8g.2xlarge", 1)[-1].labels["kubernetes.io/arch"] == "arm64"
