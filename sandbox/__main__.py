"""`python -m sandbox`: everything on this machine."""

import argparse
import sys

from sandbox import serve


def main(argv: list[str] | None = None) -> int:
    """Run the program.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = parser.add_subparsers(required=True)
    serve.add_command(commands)
    arguments = parser.parse_args(argv)
    code: int = arguments.command(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
