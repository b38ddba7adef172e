"""A stand-in for inference-perf: a few real requests for each stage, and reports in the true one's form.

Its times are those of a recorded run of version 0.7.0.
"""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import yaml

MOST = 3
RECORDED = Path(__file__).parents[1] / "inference_perf" / "stage_1_lifecycle_metrics.json"


def say(level: str, text: str) -> None:
    print(f"2026-11-25 23:42:00,000 - inference_perf.loadgen.load_generator - {level} - {text}", flush=True)


def ask(server: dict, api: dict) -> str:
    body = {"model": server["model_name"], "prompt": "one two three", "max_tokens": 4, "stream": api["streaming"]}
    request = urllib.request.Request(
        f"{server['base_url']}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        return f"{error.code} - other"
    except OSError as error:
        return f"Connection Error: {error}"
    return ""


config = yaml.safe_load(Path(sys.argv[sys.argv.index("--config_file") + 1]).read_text())
name = config["tokenizer"]["pretrained_model_name_or_path"]
if not Path(name, "tokenizer.json").is_file() or not Path(name, "config.json").is_file():
    sys.exit(f"OSError: {name} is not a local folder and is not a valid model identifier")
if list(Path(name).glob("*.safetensors")):
    sys.exit("the weights are here, too")

reports = Path(config["storage"]["local_storage"]["path"])
reports.mkdir()
for number, stage in enumerate(config["load"]["stages"]):
    say("INFO", f"Stage {number} - run started")
    errors = [ask(config["server"], config["api"]) for _ in range(MOST)]
    report = json.loads(RECORDED.read_text())
    report["load_summary"] |= {"count": MOST, "requested_rate": float(stage["rate"]), "achieved_rate": stage["rate"]}
    bad = [error for error in errors if error]
    report["successes"]["count"] = MOST - len(bad)
    report["failures"] |= {"count": len(bad), "by_label": {error: {"count": bad.count(error)} for error in bad}}
    (reports / f"stage_{number}_lifecycle_metrics.json").write_text(json.dumps(report, indent=2))
    say("INFO", f"Stage {number} - run completed")
