"""Does the installed project work? Run inside the image while it is built: `python -m deployments.worker.check`."""

import sys
from importlib.metadata import version

from prefect.utilities.importtools import import_object

from deployments.prefect_yaml import POOLS
from deployments.register import load, read
from serving.catalog import load_presets


def check() -> str:
    """Imports every flow, both kinds of worker and reads the catalogue.

    Returns:
        One line that says what is there.

    Raises:
        ImportError: A module or a dependency is missing.
    """
    flows = {wanted.flow.name for pool in POOLS.values() for wanted in load(read(pool))}
    for worker in ("prefect.workers.process.ProcessWorker", "prefect_kubernetes.worker.KubernetesWorker"):
        import_object(worker)
    where = "installed" if "site-packages" in __file__ else "in the project's folder"
    return f"inference-flows {version('inference-flows')} {where}: {len(flows)} flows, {len(load_presets())} presets"


if __name__ == "__main__":
    print(check())
    sys.exit(0)
