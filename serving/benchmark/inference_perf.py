"""inference-perf (kubernetes-sigs): its configuration from a scenario, and its reports as results.

Written against version 0.7 (docs/config.md, reportgen/base.py); what is used has been there since 0.5. Paths are
relative: the container's script changes into a directory that the pod may write.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from serving.benchmark.result import Spread, StageResult
from serving.benchmark.scenario import Scenario
from serving.errors import BenchmarkError

IMAGE = "quay.io/inference-perf/inference-perf:v0.7.0"
REPORTS = "reports"
TOKENIZER = "tokenizer"
"""Directories below the container's working directory."""

REQUEST_SECONDS = 600
"""Longest answer: a request that hangs would keep its stage from ending."""

SWEEP_LIMIT = 1000
"""Requests per second that a sweep can go up to."""

_REPORT = {"summary": True, "per_stage": True, "use_server_output_tokens": True, "percentiles": [50, 90, 95, 99]}
_STAGE_FILE = re.compile(r"^stage_(\d+)_lifecycle_metrics\.json$")
_ERROR_LINE = re.compile(r" - ERROR - (.+)$", re.MULTILINE)
_STAGE_LINE = re.compile(r"Stage (-?\d+) - run started")


def config_for(
    scenario: Scenario,
    *,
    base_url: str,
    model: str,
    tokenizer: str,
    chat: bool = False,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Returns the configuration of a run.

    Args:
        scenario: The load.
        base_url: Address of the endpoint.
        model: The model's name there.
        tokenizer: Hub repository, or a directory; counts the tokens of prompts and answers.
        chat: Ask for chats instead of completions.
        trust_remote_code: Whether the tokenizer may bring code.
    """
    load: dict[str, Any] = {
        "type": scenario.arrivals,
        "stages": [{"rate": rate, "duration": scenario.stage_seconds} for rate in scenario.rates],
        "num_workers": scenario.workers,
        "request_timeout": REQUEST_SECONDS,
        "base_seed": scenario.seed,
    }
    lengths: dict[str, Any] = {}
    if scenario.sweep is not None and not scenario.rates:
        # Counted from the stages, which a sweep does not have yet: without it every request but one fails (0.7).
        lengths["total_count"] = max(scenario.sweep.requests, SWEEP_LIMIT * scenario.stage_seconds)
        load["sweep"] = {
            "type": "geometric",
            "num_requests": scenario.sweep.requests,
            "timeout": scenario.sweep.probe_seconds,
            "num_stages": scenario.sweep.stages,
            "stage_duration": scenario.stage_seconds,
            "saturation_percentile": scenario.sweep.percentile,
        }
    return {
        "api": {"type": "chat" if chat else "completion", "streaming": True},
        "data": {
            "type": "synthetic",
            "input_distribution": scenario.input.model_dump() | lengths,
            "output_distribution": scenario.output.model_dump() | lengths,
        },
        "load": load,
        "server": {"type": "vllm", "model_name": model, "base_url": base_url, "ignore_eos": True},
        "tokenizer": {"pretrained_model_name_or_path": tokenizer, "trust_remote_code": trust_remote_code},
        "report": {"request_lifecycle": dict(_REPORT)},
        "storage": {"local_storage": {"path": REPORTS}},
    }


def stage_under_way(log: str) -> int | None:
    """Returns the stage that the log says was started last, from 0; -1 for a sweep's burst; None before the first."""
    started = _STAGE_LINE.findall(log)
    return int(started[-1]) if started else None


def last_error(log: str) -> str:
    """Returns the last error that the log tells; empty if it tells none."""
    found = _ERROR_LINE.findall(log)
    return str(found[-1]) if found else ""


def read_reports(files: Mapping[str, str], log: str = "") -> tuple[StageResult, ...]:
    """Returns the stages from inference-perf's report files.

    Args:
        files: Contents by file name; others than the stages' are passed over.
        log: What the container wrote, for the reason where there are no reports.

    Raises:
        BenchmarkError: ``benchmark.no-results`` or ``benchmark.unreadable``.
    """
    numbered = {int(match[1]): files[name] for name in files if (match := _STAGE_FILE.match(name))}
    if not numbered:
        raise BenchmarkError(
            "inference-perf ended well and left no report of any stage.",
            cause=f"Its log says: {last_error(log) or 'nothing of an error'}.",
            fix="If a sweep found too few samples, use scenario saturation or name load.rates.",
            code="benchmark.no-results",
        )
    try:
        return tuple(_stage(json.loads(numbered[number])) for number in sorted(numbered))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BenchmarkError(
            f"inference-perf's reports cannot be read ({type(error).__name__}: {error}).",
            cause="The image's version writes another format.",
            fix=f"Use {IMAGE}.",
            code="benchmark.unreadable",
        ) from error


def _stage(report: Mapping[str, Any]) -> StageResult:
    load, good, bad = report["load_summary"], report["successes"], report["failures"]
    latency, throughput = good.get("latency") or {}, good.get("throughput") or {}
    seconds = float(report.get("benchmark_time_seconds") or load.get("send_duration") or 0.0)
    rate = float(load.get("requested_rate") or 0.0)
    return StageResult(
        rate=rate,
        sent_rate=float(load.get("achieved_rate") or rate),
        seconds=seconds,
        succeeded=int(good["count"]),
        failed=int(bad["count"]),
        requests_per_second=float(throughput.get("requests_per_sec") or 0.0),
        output_tokens_per_second=float(throughput.get("output_tokens_per_sec") or 0.0),
        input_tokens_per_second=float(throughput.get("input_tokens_per_sec") or 0.0),
        latency=_spread(latency.get("request_latency")),
        first_token=_spread(latency.get("time_to_first_token")),
        inter_token=_spread(latency.get("inter_token_latency")),
        per_output_token=_spread(latency.get("time_per_output_token")),
        delay=_spread(load.get("schedule_delay")),
        errors={str(label): int(found["count"]) for label, found in (bad.get("by_label") or {}).items()},
    )


def _spread(summary: Mapping[str, float] | None) -> Spread | None:
    if not summary:
        return None
    return Spread(
        mean=summary["mean"], p50=summary["median"], p90=summary["p90"], p99=summary["p99"], max=summary["max"]
    )
