"""Who may do what on the sandbox's S3: long-lived key pairs and the temporary ones that STS hands out."""

import fnmatch
import threading
from dataclasses import dataclass, field, replace
from xml.etree import ElementTree


@dataclass(frozen=True)
class S3Credential:
    """A key pair and what its owner may do.

    Attributes:
        arn: Whom an error names.
        token: Session token of temporary credentials; empty for a long-lived pair.
        allow: Patterns of IAM actions, for example ``s3:Get*``.
        resources: Patterns of ARNs that `allow` holds for.
        expired: Temporary credentials whose time is over.
    """

    name: str
    arn: str
    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)
    allow: tuple[str, ...] = ("*",)
    resources: tuple[str, ...] = ("*",)
    expired: bool = False

    def may(self, action: str, resource: str) -> bool:
        """Whether the action is allowed on this ARN."""
        return any(fnmatch.fnmatchcase(action, pattern) for pattern in self.allow) and any(
            fnmatch.fnmatchcase(resource, pattern) for pattern in self.resources
        )


class CredentialStore:
    """All credentials of one server. Safe to use from any thread."""

    def __init__(self) -> None:
        self._known: dict[str, S3Credential] = {}
        self._lock = threading.Lock()

    def add(self, credential: S3Credential) -> S3Credential:
        """Make a credential valid."""
        with self._lock:
            self._known[credential.access_key] = credential
        return credential

    def remove(self, access_key: str) -> None:
        """Delete a key pair, as its owner could at any time."""
        with self._lock:
            self._known.pop(access_key, None)

    def get(self, access_key: str) -> S3Credential | None:
        """The credential of this key."""
        with self._lock:
            return self._known.get(access_key)

    def expire_sessions(self) -> None:
        """Let every temporary credential's time be over."""
        with self._lock:
            self._known = {key: replace(one, expired=True) if one.token else one for key, one in self._known.items()}

    def learn(self, answer: bytes, allow: tuple[str, ...]) -> None:
        """Take over the temporary credentials that an STS answer carries, if it does.

        Args:
            answer: Body of the answer.
            allow: What they allow: whatever the role's caller may do.
        """
        namespace = "{https://sts.amazonaws.com/doc/2011-06-15/}"
        root = ElementTree.fromstring(answer)  # noqa: S314  (moto's own answer)
        found = root.find(f".//{namespace}Credentials")
        if found is None:
            return
        values = {child.tag.removeprefix(namespace): child.text or "" for child in found}
        arn = root.findtext(f".//{namespace}AssumedRoleUser/{namespace}Arn") or "arn:aws:sts:::assumed-role/session"
        self.add(
            S3Credential(
                "session", arn, values["AccessKeyId"], values["SecretAccessKey"], values["SessionToken"], allow
            )
        )
