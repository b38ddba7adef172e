"""Stand-ins for what is built around an engine, as programs of the sandbox's images.

| image | its program | what it is |
| --- | --- | --- |
| Triton with the vLLM backend | `tritonserver` | model repository, v2 routes, the stand-in engine behind them |
| Ray | `ray` | Serve's REST interface on the head, a replica of the stand-in engine on every worker |
| vLLM up to 0.18 | `ray`, `python3` with `ray` | the little that forms a cluster of pods before vLLM starts |
| llama.cpp | `llama-server` | reads a GGUF file, answers as its server does |
| NIM | its entry point | brings a model of its own; text or pictures |
| Diffusers | `python3` with `torch`, `diffusers`, `optimum.neuron` | runs our image server, with pipelines that paint |

Each reads and verifies the weights that it is given, refuses what the real program refuses as far as our own manifests
can go wrong, and says what it is: none passes for the real thing.
"""
