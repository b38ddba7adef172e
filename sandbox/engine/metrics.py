"""The few of vLLM's metrics that dashboards and autoscalers read, in Prometheus' text format."""

import threading

_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counts of one engine. Safe to use from any thread.

    Args:
        model_name: Value of the ``model_name`` label.
    """

    def __init__(self, model_name: str) -> None:
        self._labels = f'engine="0",model_name="{model_name}"'
        self._lock = threading.Lock()
        self._prompt = self._generated = self._running = 0
        self._finished = {"stop": 0, "length": 0, "abort": 0}
        self._latencies: list[float] = []

    def begin(self) -> None:
        """A request is being computed."""
        with self._lock:
            self._running += 1

    def end(self, *, prompt: int, generated: int, reason: str, seconds: float) -> None:
        """A request is done.

        Args:
            prompt: Tokens of the prompt.
            generated: Tokens of the answer.
            reason: ``stop``, ``length`` or ``abort``.
            seconds: From its arrival to its end.
        """
        with self._lock:
            self._running -= 1
            self._prompt += prompt
            self._generated += generated
            self._finished[reason] += 1
            self._latencies.append(seconds)

    def render(self) -> str:
        """All of it as text."""
        with self._lock:
            lines = [
                *self._metric("num_requests_running", "gauge", "", self._running),
                *self._metric("num_requests_waiting", "gauge", "", 0),
                *self._metric("kv_cache_usage_perc", "gauge", "", 0.0),
                *self._metric("prompt_tokens_total", "counter", "", self._prompt),
                *self._metric("generation_tokens_total", "counter", "", self._generated),
                "# TYPE vllm:request_success_total counter",
                *(
                    f'vllm:request_success_total{{{self._labels},finished_reason="{reason}"}} {float(count)}'
                    for reason, count in self._finished.items()
                ),
                *self._histogram("e2e_request_latency_seconds", self._latencies),
            ]
        return "\n".join(lines) + "\n"

    def _metric(self, name: str, kind: str, labels: str, value: float) -> list[str]:
        return [f"# TYPE vllm:{name} {kind}", f"vllm:{name}{{{self._labels}{labels}}} {float(value)}"]

    def _histogram(self, name: str, values: list[float]) -> list[str]:
        lines = [f"# TYPE vllm:{name} histogram"]
        for bound in (*_BUCKETS, float("inf")):
            count = sum(value <= bound for value in values)
            shown = "+Inf" if bound == float("inf") else str(bound)
            lines.append(f'vllm:{name}_bucket{{{self._labels},le="{shown}"}} {float(count)}')
        lines.append(f"vllm:{name}_sum{{{self._labels}}} {sum(values)}")
        lines.append(f"vllm:{name}_count{{{self._labels}}} {float(len(values))}")
        return lines
