"""`ray start` of a Ray image with the LLM application: Serve's REST interface, and a replica of the engine per worker.

One application with one model, as our manifests have it; the head is in `ray_head`, a worker in `ray_worker`.
"""

import sys

from sandbox.standins.ray_head import run_head


def main(argv: list[str]) -> int:
    """`ray start --head …`, `ray start --address=…` or `ray stop`."""
    if argv[:1] == ["stop"]:
        return 0
    print(f"ray: {' '.join(argv)}", flush=True)
    if "--head" in argv:
        return run_head()
    address = next(one.partition("=")[2] for one in argv if one.startswith("--address="))
    from sandbox.standins.ray_worker import run_worker  # the engine with it, which the head does without

    return run_worker(address.rpartition(":")[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
