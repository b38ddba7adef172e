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
    parser.add_argument("--vllm", type=_path, help="a real vllm executable for the pods; by default a stand-in")
    parser.add_argument("--hub", default="", metavar="URL", help="a real Hub, read with the token in HF_TOKEN")
    parser.add_argument("--store", default="", metavar="s3://BUCKET/PREFIX", help="a real S3 bucket")
    parser.add_argument("--kubeconfig", type=_path, help="a real cluster; needs --store")
    parser.add_argument("--namespace", default="inference", help="where to deploy to (default: inference)")
    parser.add_argument("--state", type=_path, help="directory for what the sandbox writes; by default one that goes")
    parser.set_defaults(command=_run)


def _path(text: str) -> Path:
    # The servers work in another directory. Links stay: an environment's programs find it by their own path.
    return Path(text).expanduser().absolute()


def _own_environment(*, own_hub: bool, own_store: bool) -> None:
    """Keeps a person's settings from what the sandbox brings itself; Prefect reads its own as it is imported."""
    not_ours = ("PREFECT_", *(("HF_",) if own_hub else ()), *(("AWS_",) if own_store else ()))
    for name in [name for name in os.environ if name.startswith(not_ours)]:
        del os.environ[name]
    os.environ["DO_NOT_TRACK"] = "1"
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost")))


def _run(arguments: argparse.Namespace) -> int:
    _own_environment(own_hub=not arguments.hub, own_store=not arguments.store)
    from sandbox.options import RunOptions, check
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
        check(options)
        from sandbox.job import run  # imports the servers, for seconds

        with serve.until_signal():
            return run(options, keep=arguments.keep, as_json=arguments.json)
    except serve.Signalled as signalled:
        return signalled.exit_code
    except (InferenceError, RuntimeError, OSError) as error:
        print(f"python -m sandbox: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
