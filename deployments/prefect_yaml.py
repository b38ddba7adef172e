"""prefect.yaml, written from the catalogue: one deployment per preset and per flow.

python -m deployments.prefect_yaml          writes the file
python -m deployments.prefect_yaml --check  says whether it is as it should be
"""

import sys
from pathlib import Path

from serving.catalog import Preset, load_presets
from serving.spec import Framework

PATH = Path(__file__).parents[1] / "prefect.yaml"

HEADER = """\
# Written by `python -m deployments.prefect_yaml` from the catalogue: change that, not this.
# Register with `prefect --no-prompt deploy --all`. Start one with
#   prefect deployment run 'deploy-model/qwen3-1.7b-vllm' --watch
# Blocks named "default" are used unless a run names others.
name: inference-flows

# The flows are importable wherever the project is installed: nothing is pulled at run time.
pull: []

definitions:
  work_pool: &work_pool
    name: inference
  blocks: &blocks
    cluster: {$ref: {block_document_slug: inference-cluster/default}}
    hub: {$ref: {block_document_slug: hugging-face-hub/default}}
    store: {$ref: {block_document_slug: model-store/default}}
  deploy_model: &deploy_model
    entrypoint: flows.deploy_model.deploy_model
    work_pool: *work_pool

deployments:
  - name: stage-model
    description: Copy one commit of a Hub repository into the model store, every byte verified.
    tags: [stage]
    entrypoint: flows.stage_model.stage_model
    work_pool: *work_pool
    parameters:
      hub: {$ref: {block_document_slug: hugging-face-hub/default}}
      store: {$ref: {block_document_slug: model-store/default}}

  - name: refresh-models
    description: Bring endpoints up to date with the branches that they follow; turn its schedule on to do so daily.
    tags: [operate]
    entrypoint: flows.refresh_models.refresh_models
    work_pool: *work_pool
    parameters: *blocks
    concurrency_limit: 1
    schedules:
      - {cron: "0 6 * * *", timezone: UTC, active: false}

  - name: rollback-endpoint
    description: Bring an endpoint back to a release that it served before; nothing is downloaded.
    tags: [operate]
    entrypoint: flows.rollback_endpoint.rollback_endpoint
    work_pool: *work_pool
    parameters: *blocks

  - name: list-endpoints
    description: What is deployed, in one table.
    tags: [operate]
    entrypoint: flows.list_endpoints.list_endpoints
    work_pool: *work_pool
    parameters: &cluster
      cluster: {$ref: {block_document_slug: inference-cluster/default}}

  - name: remove-endpoint
    description: Take an endpoint away with everything that belongs to it; staged models stay.
    tags: [operate]
    entrypoint: flows.remove_endpoint.remove_endpoint
    work_pool: *work_pool
    parameters: *cluster

  - <<: *deploy_model
    name: any-preset
    description: Deploy a preset of the catalogue, named when the run is started.
    tags: [deploy]
    parameters: *blocks
"""

FRAMEWORK = """
  - name: deploy-{framework}
    description: Deploy any model with {framework}, parameter by parameter.
    tags: [deploy, {framework}]
    entrypoint: flows.deploy_{module}.deploy_{module}
    work_pool: *work_pool
    parameters: *blocks
"""

PRESET = """
  - <<: *deploy_model
    name: {name}
    description: {title}
    tags: [deploy, {framework}, {accelerator}]
    parameters: {{<<: *blocks, preset: {name}}}
"""


def text() -> str:
    """What prefect.yaml must hold."""
    frameworks = [
        FRAMEWORK.format(framework=framework.value, module=framework.value.replace("-", "_")) for framework in Framework
    ]
    return HEADER + "".join(frameworks) + "".join(_preset(preset) for preset in load_presets().values())


def _preset(preset: Preset) -> str:
    return PRESET.format(
        name=preset.name,
        title=preset.title.replace(": ", " - "),
        framework=preset.framework.value,
        accelerator=preset.accelerator.value,
    )


def main() -> int:
    """Writes or checks the file.

    Returns:
        The exit code: 1 if a check found a difference.
    """
    if "--check" not in sys.argv[1:]:
        PATH.write_text(text(), encoding="utf-8")
        return 0
    if PATH.read_text(encoding="utf-8") == text():
        return 0
    print("prefect.yaml does not match the catalogue: run python -m deployments.prefect_yaml", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
