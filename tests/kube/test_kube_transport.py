"""Requests over HTTP to a server that misbehaves as told."""

import itertools
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_api import TOKEN, Answer, Asked, Broken, Script, kubeconfig, scripted_api, status

import kube.transport
from kube.apply import Outcome, apply_all
from kube.connect import from_kubeconfig
from kube.discovery import find_kind, server_version
from kube.errors import shorten
from kube.read import get, list_
from kube.transport import Repeat, call, checked
from serving.errors import ApplyError, ClusterError

VERSION = Answer(200, {"major": "1", "minor": "36", "gitVersion": "v1.36.2"})


def in_turn(*answers: object) -> Script:
    """Gives the answers one by one, the last one for ever."""
    endless: Iterator = itertools.chain(answers, itertools.repeat(answers[-1]))
    lock = threading.Lock()

    def answer(_: Asked) -> object:
        with lock:
            return next(endless)

    return answer  # type: ignore[return-value]


@pytest.mark.parametrize(
    "trouble",
    [
        status(429, "too many requests", "TooManyRequests"),
        Answer(429, b"Too many requests, please try again later.\n", {"Retry-After": "0"}),
        status(500, "etcdserver: leader changed"),
        status(503, "apiserver is shutting down", "ServiceUnavailable"),
        status(504, "Timeout", "Timeout"),
        Broken(),
    ],
    ids=["429", "429 text", "500", "503", "504", "closed"],
)
def test_a_passing_trouble_is_waited_out(trouble: object) -> None:
    with scripted_api(in_turn(trouble, trouble, VERSION)) as api:
        assert server_version(api.cluster).minor == 36
        assert len(api.asked) == 3


def test_a_wait_that_the_server_asks_for_is_kept() -> None:
    with scripted_api(in_turn(Answer(429, {}, {"Retry-After": "1"}), VERSION)) as api:
        delays = []

        class Clocked(threading.Thread):
            def run(self) -> None:
                server_version(api.cluster)

        thread = Clocked()
        thread.start()
        thread.join(0.9)
        delays.append(len(api.asked))
        thread.join(10)
        assert delays == [1]
        assert len(api.asked) == 2


def test_a_wait_beyond_the_budget_is_not_begun() -> None:
    with scripted_api(in_turn(Answer(429, {}, {"Retry-After": "3600"}))) as api:
        with pytest.raises(ClusterError) as caught:
            server_version(api.cluster)
        assert caught.value.code == "cluster.throttled"
        assert len(api.asked) == 1


def test_the_budget_ends() -> None:
    with scripted_api(in_turn(status(503, "no", "ServiceUnavailable"))) as api:
        with pytest.raises(ClusterError) as caught:
            server_version(api.cluster)
        assert caught.value.code == "cluster.server_error"
        assert len(api.asked) == 5


def test_a_schema_error_is_not_repeated_though_it_is_a_500() -> None:
    message = "failed to create typed patch object (a/b; v1, Kind=Pod): .spec.x: field not declared in schema"
    with scripted_api(in_turn(status(500, message))) as api:
        assert call(api.cluster, "PATCH", "/x", doing="try", body={}).status == 500
        assert len(api.asked) == 1


def test_what_may_not_be_repeated_is_sent_once() -> None:
    with scripted_api(in_turn(Broken())) as api:
        with pytest.raises(ClusterError) as caught:
            call(api.cluster, "POST", "/x", doing="try", body={}, repeat=Repeat.NEVER)
        assert caught.value.code == "cluster.unreachable"
        assert len(api.asked) == 1


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with from_kubeconfig(kubeconfig(url)) as cluster, pytest.raises(ClusterError) as caught:
        server_version(cluster)
    assert caught.value.code == "cluster.unreachable"
    assert "the connection was refused" in str(caught.value)
    assert url in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_name_that_does_not_resolve() -> None:
    with (
        from_kubeconfig(kubeconfig("https://nothing.invalid")) as cluster,
        pytest.raises(ClusterError, match="does not resolve") as caught,
    ):
        server_version(cluster)
    assert caught.value.code == "cluster.unreachable"


def test_silence_ends_in_a_timeout() -> None:
    never = threading.Event()

    def silent(_: Asked) -> Answer:
        never.wait(10)
        return VERSION

    with scripted_api(silent) as api:
        with pytest.raises(ClusterError, match=r"did not answer within 0\.2 s") as caught:
            call(api.cluster, "GET", "/version", doing="try", read_timeout=0.2)
        never.set()
        assert caught.value.code == "cluster.timeout"
        assert len(api.asked) == 2


def test_plain_http_behind_an_https_address() -> None:
    def answer_at_once() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1)
            connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer_at_once, daemon=True)
        thread.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        with from_kubeconfig(kubeconfig(url)) as cluster, pytest.raises(ClusterError) as caught:
            server_version(cluster)
        thread.join(5)
    assert caught.value.code == "cluster.tls"
    assert "does not speak TLS" in str(caught.value)


def test_a_server_that_is_silent_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube.transport, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        with from_kubeconfig(kubeconfig(url)) as cluster, pytest.raises(ClusterError, match="VPN") as caught:
            server_version(cluster)
    assert caught.value.code == "cluster.unreachable"


def test_a_certificate_that_nobody_vouches_for(tls_port: int) -> None:
    url = f"https://127.0.0.1:{tls_port}"
    with from_kubeconfig(kubeconfig(url)) as cluster, pytest.raises(ClusterError) as caught:
        server_version(cluster)
    assert caught.value.code == "cluster.tls"
    assert "certificate-authority-data" in caught.value.fix


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """A server with a certificate that it signed itself."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self-signed")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "both.pem").write_bytes(private + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                    context.wrap_socket(connection, server_side=True)
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_login_page_is_not_taken_for_an_api_server() -> None:
    page = Answer(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})
    with scripted_api(in_turn(page)) as api, pytest.raises(ClusterError, match="not a Kubernetes API server"):
        checked(api.cluster, "GET", "/version", doing="read the version")


def test_warnings_are_passed_on() -> None:
    warned = Answer(200, {}, {"Warning": '299 - "unknown field \\"datas\\""'})
    with scripted_api(in_turn(warned)) as api:
        assert call(api.cluster, "GET", "/x", doing="try").warnings == ('unknown field "datas"',)


def test_one_connection_serves_many_requests() -> None:
    ports = set()

    def answer(asked: Asked) -> Answer:
        ports.add(asked.headers["host"])
        return VERSION

    with scripted_api(answer) as api:
        for _ in range(20):
            server_version(api.cluster)
        pool = api.cluster.api_client.rest_client.pool_manager.connection_from_url(api.url)
        assert pool.num_connections == 1
        assert pool.num_requests == 20


def test_a_missing_kind_names_who_brings_it() -> None:
    missing = Answer(404, b"404 page not found\n", {"Content-Type": "text/plain"})
    with scripted_api(in_turn(missing)) as api:
        for api_version, kind, brings in (
            ("ray.io/v1", "RayService", "KubeRay operator"),
            ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "LWS"),
            ("autoscaling.aibrix.ai/v1alpha1", "PodAutoscaler", "AIBrix"),
            ("apps.nvidia.com/v1alpha1", "NIMService", "NIM operator"),
            ("keda.sh/v1alpha1", "ScaledObject", "KEDA"),
            ("example.com/v1", "Unheard", "kubectl api-resources"),
        ):
            with pytest.raises(ClusterError, match=kind) as caught:
                find_kind(api.cluster, api_version, kind)
            assert caught.value.code == "cluster.kind_missing"
            assert brings in str(caught.value)


def test_a_missing_version_names_those_there_are() -> None:
    def answer(asked: Asked) -> Answer:
        if asked.path == "/apis/ray.io":
            return Answer(200, {"versions": [{"groupVersion": "ray.io/v1"}, {"groupVersion": "ray.io/v1alpha1"}]})
        return Answer(404, b"404 page not found\n")

    with scripted_api(answer) as api, pytest.raises(ClusterError, match="v1, v1alpha1 only"):
        find_kind(api.cluster, "ray.io/v9", "RayService")


def test_a_kind_that_is_installed_later_is_found() -> None:
    def listed(*kinds: str) -> Answer:
        resources = [{"name": f"{kind.lower()}s", "kind": kind, "namespaced": True, "verbs": []} for kind in kinds]
        return Answer(200, {"resources": resources})

    empty = listed("RayJob")
    with scripted_api(in_turn(empty, empty, listed("RayJob", "RayService"))) as api:
        with pytest.raises(ClusterError):
            find_kind(api.cluster, "ray.io/v1", "RayService")
        found = find_kind(api.cluster, "ray.io/v1", "RayService")
        assert found.path("ns", "a", "status") == "/apis/ray.io/v1/namespaces/ns/rayservices/a/status"
        asked = len(api.asked)
        find_kind(api.cluster, "ray.io/v1", "RayJob")
        assert len(api.asked) == asked


def test_names_cannot_leave_their_place_in_the_path() -> None:
    with scripted_api(in_turn(Answer(404, {}))) as api:
        assert get(api.cluster, "v1", "Pod", "../../secrets/x", "a/b") is None
        assert api.asked[-1].path == "/api/v1/namespaces/a%2Fb/pods/..%2F..%2Fsecrets%2Fx"


def test_a_list_whose_pages_expire_is_read_again_from_the_beginning() -> None:
    def page(asked: Asked) -> Answer:
        def names(*numbers: int) -> list[dict]:
            return [{"metadata": {"name": f"pod-{number}"}} for number in numbers]

        if asked.query.get("continue") == "gone":
            return status(410, "The provided continue parameter is too old", "Expired")
        if "limit" in asked.query:
            return Answer(200, {"metadata": {"resourceVersion": "1", "continue": "gone"}, "items": names(1, 2)})
        return Answer(200, {"metadata": {"resourceVersion": "9"}, "items": names(2, 3, 4)})

    with scripted_api(page) as api:
        pods = list_(api.cluster, "v1", "Pod", labels="a=b", fields="status.phase=Running")
        assert [pod["metadata"]["name"] for pod in pods] == ["pod-2", "pod-3", "pod-4"]
        assert pods[0]["kind"] == "Pod"
        assert all(asked.query["labelSelector"] == "a=b" for asked in api.asked[1:])


def test_a_webhook_that_cannot_be_asked_beforehand_is_asked_for_real() -> None:
    refusal = status(400, 'admission webhook "w.example.com" does not support dry run', "BadRequest")

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET":
            return status(404, "not found", "NotFound")
        return refusal if "dryRun" in asked.query else Answer(201, json.loads(asked.body))

    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    with scripted_api(answer) as api:
        assert [one.outcome for one in apply_all(api.cluster, [manifest])] == [Outcome.CREATED]
        with pytest.raises(ApplyError, match="without a dry run"):
            apply_all(api.cluster, [manifest], dry_run=True)


def test_messages_are_one_short_line() -> None:
    assert shorten("a\n  b. ") == "a b"
    assert len(shorten("x" * 1000)) == 400
