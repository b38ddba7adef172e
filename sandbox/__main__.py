"""`python -m sandbox`: a model's whole way on this machine; `python -m sandbox serve …`: just the servers."""

import argparse
import os
import sys
from pathlib import Path

from sandbox import serve


def main(argv: list[str] | None = None) -> int:
    """Run the program.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="Starts Prefect, a Hub, S3 and Kubernetes on this machine and deploys a preset through them.",
    )
    _add_options(parser)
    commands = parser.add_subparsers(metavar="{serve}")
    serve.add_command(commands)
    arguments = parser.parse_args(argv)
    code: int = arguments.command(arguments)
    return code


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="qwen3-1.7b-vllm", help="what to deploy (python -m serving catalog)")
    parser.add_argument("--keep", action="store_true", help="stay up afterwards; says how to use what is up")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    parser.add_argument("--vllm", type=Path, help="a real vllm executable for the pods; by default a stand-in")
    parser.add_argument("--hub", default="", metavar="URL", help="a real Hub, read with the token in HF_TOKEN")
    parser.add_argument("--store", default="", metavar="s3://BUCKET/PREFIX", help="a real S3 bucket")
    parser.add_argument("--kubeconfig", type=Path, help="a real cluster; needs --store")
    parser.add_argument("--namespace", default="inference", help="where to deploy to (default: inference)")
    parser.add_argument("--state", type=Path, help="directory for what the sandbox writes; by default one that goes")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> int:
    # Prefect reads its settings as it is imported: nothing of the person's own profile may reach the sandbox.
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ["DO_NOT_TRACK"] = "1"
    from sandbox.job import run
    from sandbox.run import RunOptions
    from serving.errors import InferenceError

    options = RunOptions(
        preset=arguments.preset,
        hub=arguments.hub.rstrip("/"),
        kubeconfig=arguments.kubeconfig,
        store=arguments.store,
        namespace=arguments.namespace,
        vllm=arguments.vllm,
        state=arguments.state,
    )
    try:
        with serve.until_signal():
            return run(options, keep=arguments.keep, as_json=arguments.json)
    except serve.Signalled:
        return 0 if arguments.keep else 130
    except (InferenceError, RuntimeError, OSError) as error:
        print(f"python -m sandbox: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
