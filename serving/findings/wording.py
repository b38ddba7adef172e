"""How findings name objects, and quote what was said."""

import re

from serving.snapshot import Container, Object, name_of, namespace_of


def pod_name(pod: Object) -> str:
    """Returns ``Pod namespace/name``."""
    return f"Pod {namespace_of(pod) or 'default'}/{name_of(pod)}"


def container_name(container: Container) -> str:
    """Returns ``Pod namespace/name container name``."""
    kind = "init container" if container.init else "container"
    return f"{pod_name(container.pod)} {kind} {container.name}"


def logs_command(container: Container) -> str:
    """Returns the command that shows what the container's last run said."""
    namespace = namespace_of(container.pod) or "default"
    return f"kubectl logs -n {namespace} {name_of(container.pod)} -c {container.name} --previous"


def tail(text: str, lines: int = 5, width: int = 400) -> str:
    """Returns the last lines of a log that hold anything."""
    kept = [line.strip() for line in text.splitlines() if line.strip()][-lines:]
    return "\n".join(line if len(line) <= width else line[: width - 1] + "…" for line in kept)


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Returns the pattern's last match in the text; None if it has none."""
    found = None
    for match in pattern.finditer(text):
        found = match
    return found


def one_line(text: str, width: int = 400) -> str:
    """Returns the text on one line, cut where it grows long."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
