"""The init container that fills a volume with a staged model and lets nothing unverified through.

The shell text is fixed; every value reaches it by environment. It uses only what the AWS CLI image has: a POSIX
shell, coreutils and ``aws`` (the image on Amazon Linux 2023 came without findutils, so no find and no xargs).
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from serving.errors import InputError
from serving.frameworks.arguments import literal
from serving.models import StagedFile, StagedModel

FETCH_IMAGE = "public.ecr.aws/aws-cli/aws-cli:2.31.21"
FETCH_CONTAINER = "fetch-weights"
CHECKSUMS = "/staged-model-checksums"
"""Where the init container finds the checksums and the AWS CLI's settings."""

_CONFIGMAP_BYTES = 900_000
_CONFIGMAPS = 8
_USER = 65532

SCRIPT = r"""
set -eu
say() { echo "staged-model: $*"; }
fail() { say "$*" >&2; exit 1; }

running=""
stop() { [ -z "$running" ] || kill $running 2>/dev/null || true; }
trap stop EXIT
trap 'stop; exit 143' TERM INT

progress() {
  nap=""
  trap '[ -z "$nap" ] || kill $nap 2>/dev/null; exit 0' TERM
  while :; do
    sleep 5 & nap=$!
    wait $nap
    set -- $(du -sb "$MODEL_DIR" 2>/dev/null || echo 0)
    say "fetched $1 of $MODEL_BYTES bytes"
  done
}

say "fetching $MODEL_BYTES bytes from $MODEL_URI"
rm -rf "$MODEL_DIR/.verify"
progress & ticker=$!
aws s3 sync "$MODEL_URI" "$MODEL_DIR" --only-show-errors & fetch=$!
running="$ticker $fetch"
code=0
wait $fetch || code=$?
kill $ticker 2>/dev/null || true
wait $ticker 2>/dev/null || true
running=""
[ $code -eq 0 ] || fail "cannot read $MODEL_URI: aws s3 sync ended with exit code $code, its error stands above"

mkdir "$MODEL_DIR/.verify"
cat "$CHECKSUM_DIR"/SHA256SUMS.* > "$MODEL_DIR/.verify/all"
split -e -n "r/$(nproc)" "$MODEL_DIR/.verify/all" "$MODEL_DIR/.verify/part."
jobs=""
for part in "$MODEL_DIR"/.verify/part.*; do
  (cd "$MODEL_DIR" && sha256sum --quiet -c "$part" > "$part.wrong" 2>&1) & jobs="$jobs $!"
done
running="$jobs"
wrong=0
for job in $jobs; do wait $job || wrong=1; done
running=""
if [ $wrong -ne 0 ]; then
  cat "$MODEL_DIR"/.verify/*.wrong | grep ': FAILED' > "$MODEL_DIR/.verify/wrong" || true
  while IFS= read -r line; do
    say "checksum mismatch: $line" >&2
    rm -f "$MODEL_DIR/${line%%: FAILED*}"
  done < "$MODEL_DIR/.verify/wrong"
  rm -rf "$MODEL_DIR/.verify"
  fail "$MODEL_URI does not match its manifest: a file is missing or holds other bytes than were staged"
fi
rm -rf "$MODEL_DIR/.verify"
say "verified $MODEL_FILES files, $MODEL_BYTES bytes"
""".lstrip()

_AWS_CONFIG = """[default]
s3 =
    max_concurrent_requests = 32
    multipart_chunksize = 16MB
"""


def checksum_configmaps(
    name: str, staged: StagedModel, metadata: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns the ConfigMaps with the staged model's checksums, and the volume that joins them.

    Their names come from their content and they are immutable: a pod of an older release never meets a newer list.

    Args:
        name: Beginning of their names.
        staged: The staged model.
        metadata: Namespace, labels and annotations for them.

    Raises:
        InputError: The model has no files, a path cannot stand in a checksum list, or there are too many files.
    """
    parts = _checksum_parts(staged)
    config = _AWS_CONFIG + ("    addressing_style = path\n" if staged.endpoint_url else "")
    objects, sources = [], []
    for number, text in enumerate(parts):
        data = {f"SHA256SUMS.{number}": text} | ({"aws-config": config} if number == 0 else {})
        digest = hashlib.sha256("".join(data.values()).encode()).hexdigest()[:8]
        full_name = f"{name}-checksums-{digest}"
        objects.append(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": full_name, **metadata},
                "immutable": True,
                "data": data,
            }
        )
        sources.append({"configMap": {"name": full_name}})
    return objects, {"name": "checksums", "projected": {"sources": sources}}


def fetch_container(
    staged: StagedModel, directory: str, env: Sequence[dict[str, Any]], resources: dict[str, Any]
) -> dict[str, Any]:
    """Returns the init container that fills `directory`, mounted from volume ``model``.

    Args:
        staged: The staged model.
        directory: Mount path of the volume to fill.
        env: S3 access: region, endpoint, credentials if the pod has no identity.
        resources: Requests of the container.
    """
    values = {
        "MODEL_URI": staged.uri,
        "MODEL_DIR": directory,
        "MODEL_BYTES": str(staged.total_bytes),
        "MODEL_FILES": str(len(staged.files)),
        "CHECKSUM_DIR": CHECKSUMS,
        "AWS_CONFIG_FILE": f"{CHECKSUMS}/aws-config",
        "HOME": "/tmp",  # noqa: S108  the container's own
    }
    return {
        "name": FETCH_CONTAINER,
        "image": FETCH_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", literal(SCRIPT)],
        "env": [{"name": name, "value": literal(value)} for name, value in values.items()] + list(env),
        "resources": resources,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "model", "mountPath": directory},
            {"name": "checksums", "mountPath": CHECKSUMS, "readOnly": True},
        ],
    }


def _checksum_parts(staged: StagedModel) -> list[str]:
    if not staged.files:
        raise InputError(
            f"Staged model {staged.uri} lists no files.",
            cause="Its manifest was not read.",
            fix="Stage the model again.",
            code="staged.empty",
        )
    parts: list[str] = []
    current: list[str] = []
    size = 0
    for file in staged.files:
        line = _checksum_line(file, staged)
        length = len(line.encode())
        if size + length > _CONFIGMAP_BYTES:
            parts.append("".join(current))
            current, size = [], 0
        current.append(line)
        size += length
    parts.append("".join(current))
    if len(parts) > _CONFIGMAPS:
        raise InputError(
            f"Staged model {staged.uri} has {len(staged.files)} files: their checksums would fill {len(parts)} "
            f"ConfigMaps, allowed are {_CONFIGMAPS}.",
            fix="Use weights=mount or weights=stream, or stage fewer files with include and exclude patterns.",
            code="staged.too-many-files",
        )
    return parts


def _checksum_line(file: StagedFile, staged: StagedModel) -> str:
    if any(character in file.path for character in "\n\r\\"):
        raise InputError(
            f"File {file.path!r} of {staged.uri} has a name that weights=sync cannot verify.",
            fix="Leave it out when staging, or use weights=mount or weights=stream.",
            code="staged.file-name",
        )
    return f"{file.sha256}  {file.path}\n"
