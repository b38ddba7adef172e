"""`python -m sandbox.engine serve MODEL …`: what the images' `vllm` starts."""

import sys

from sandbox.engine.serve import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
