"""The stand-in for vLLM that sandbox pods run where no real one is given.

It takes vLLM's command line, reads and verifies the staged weights, answers vLLM's API with text that those weights
choose, and writes vLLM's log lines. It never passes for the real engine: its ``Server`` header is ``sandbox-engine``
and its version ``sandbox-stand-in``. It starts in a fraction of a second because it imports little: standard library,
numpy, tokenizers, and botocore or huggingface_hub only where the weights come from there.

Faults for tests come by environment variables of the image (see `sandbox.engine.faults`).
"""

VERSION = "sandbox-stand-in"
