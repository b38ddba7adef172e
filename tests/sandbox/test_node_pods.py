"""Pods as processes: what they get, in which order they run, how they end."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from cluster_harness import (
    GPU_NODE,
    IMAGE,
    NAMESPACE,
    Harness,
    conditions,
    container,
    eventually,
    job,
    pod,
    pod_spec,
    running_cluster,
)

from sandbox.kubernetes.node import ImageConfig, NodeConfig
from sandbox.kubernetes.resources import CONFIGMAPS, JOBS, PODS, SECRETS
from sandbox.kubernetes.runtime import LogOptions


def sh(text: str, name: str = "main", **changes: Any) -> dict[str, Any]:
    return container(name, command=["sh", "-c", text], **changes)


def once(*containers: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A pod that runs to its end."""
    return pod_spec(*containers, restartPolicy="Never", **changes)


def phase(harness: Harness, name: str) -> str:
    found: str = harness.one(PODS, name)["status"]["phase"]
    return found


async def finished(harness: Harness, name: str) -> dict[str, Any]:
    await eventually(lambda: phase(harness, name) in ("Succeeded", "Failed"), 20)
    return harness.one(PODS, name)


async def log(harness: Harness, name: str, container: str = "main", **options: Any) -> str:
    assert harness.fleet is not None
    parts = harness.fleet.logs(harness.one(PODS, name), container, LogOptions(**options))
    return b"".join([part async for part in parts]).decode()


def state_of(obj: dict[str, Any], name: str = "main") -> dict[str, Any]:
    status = obj["status"]
    every = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    found: dict[str, Any] = next((one for one in every if one["name"] == name), {"state": {}})
    return found


def secret(name: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": data,
    }


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE}, "data": data}


def test_a_pod_gets_its_environment_secrets_volumes_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVERS_OWN_SECRET", "x")
    program = (
        "import json,os,sys; files={p: open(p).read() for p in sys.argv[1:]};"
        "print(json.dumps({'env': dict(os.environ), 'files': files, 'cwd': os.getcwd()}))"
    )
    spec = once(
        container(
            "main",
            command=["python3", "-c", program],
            args=["/cfg/a.txt", "/keys/token", "/both/labels", "/both/one"],
            workingDir="/cfg",
            env=[
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "CONFIG", "value": "/cfg/a.txt"},
            ],
            volumeMounts=[
                {"name": "cfg", "mountPath": "/cfg"},
                {"name": "keys", "mountPath": "/keys"},
                {"name": "both", "mountPath": "/both"},
            ],
        ),
        volumes=[
            {"name": "cfg", "configMap": {"name": "cfg", "items": [{"key": "a", "path": "a.txt"}]}},
            {"name": "keys", "secret": {"secretName": "hf"}},
            {
                "name": "both",
                "projected": {
                    "sources": [
                        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                        {"configMap": {"name": "cfg", "items": [{"key": "b", "path": "one"}]}},
                    ]
                },
            },
        ],
    )

    async def main() -> tuple[dict[str, Any], str]:
        node = NodeConfig("node-a", env={"AWS_ROLE": "node"})
        async with running_cluster(tmp_path, nodes=[node], images=[ImageConfig(IMAGE, env={"IMAGE": "1"})]) as harness:
            harness.apply(secret("hf", token="hf_secret"), config_map("cfg", a="A", b="B"))
            harness.apply(pod("one", spec, labels={"app": "x"}))
            await finished(harness, "one")
            return json.loads(await log(harness, "one")), harness.one(PODS, "one")["status"]["podIP"]

    told, address = asyncio.run(main())
    env, files = told["env"], told["files"]
    assert (env["TOKEN"], env["IP"], env["IMAGE"], env["AWS_ROLE"]) == ("hf_secret", address, "1", "node")
    assert "SERVERS_OWN_SECRET" not in env
    assert sorted(files.values()) == ["A", "B", 'app="x"', "hf_secret"]
    assert told["cwd"] == str(Path(env["CONFIG"]).parent)
    assert len(env["TMPDIR"]) < 40, "sockets must fit"
    assert not Path(env["TMPDIR"]).exists()
    assert all(path.startswith(str(tmp_path)) for path in files)
    assert not list((tmp_path / "nodes" / "node-a" / "pods").iterdir()), "a pod's files go with the pod"


def test_init_containers_run_in_order_and_share_volumes(tmp_path: Path) -> None:
    mount = [{"name": "work", "mountPath": "/work"}]
    spec = once(
        sh("cat /work/steps", volumeMounts=mount),
        initContainers=[
            sh("sleep 0.2; echo first >> /work/steps", "first", volumeMounts=mount),
            sh("echo second >> /work/steps", "second", volumeMounts=mount),
        ],
        volumes=[{"name": "work", "emptyDir": {}}],
    )

    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            harness.apply(pod("one", spec))
            await eventually(lambda: "running" in state_of(harness.one(PODS, "one"), "first")["state"])
            assert conditions(harness.one(PODS, "one"))["Initialized"] == ("False", "ContainersNotInitialized")
            assert state_of(harness.one(PODS, "one"))["state"] == {"waiting": {"reason": "PodInitializing"}}
            done = await finished(harness, "one")
            assert await log(harness, "one") == "first\nsecond\n"
            assert conditions(done)["Initialized"] == ("True", "PodCompleted")
            assert [one["ready"] for one in done["status"]["initContainerStatuses"]] == [True, True]

    asyncio.run(main())


@pytest.mark.parametrize(("restart", "code", "expected"), [("Never", 0, "Succeeded"), ("Never", 3, "Failed")])
def test_how_a_pod_ends(tmp_path: Path, restart: str, code: int, expected: str) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            harness.apply(pod("one", pod_spec(sh(f"echo bye; exit {code}"), restartPolicy=restart)))
            done = await finished(harness, "one")
            assert done["status"]["phase"] == expected
            ended = state_of(done)["state"]["terminated"]
            assert (ended["exitCode"], ended["reason"]) == (code, "Completed" if code == 0 else "Error")
            assert state_of(done)["restartCount"] == 0
            assert conditions(done)["Ready"] == ("False", "PodCompleted" if code == 0 else "PodFailed")

    asyncio.run(main())


def test_a_failing_container_starts_again_until_it_succeeds(tmp_path: Path) -> None:
    text = "echo x >> /work/tries; echo try $(wc -l < /work/tries); test $(wc -l < /work/tries) -ge 3"
    mounted = sh(text, volumeMounts=[{"name": "work", "mountPath": "/work"}])
    spec = pod_spec(mounted, restartPolicy="OnFailure", volumes=[{"name": "work", "emptyDir": {}}])

    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            harness.apply(pod("one", spec))
            done = await finished(harness, "one")
            assert state_of(done)["restartCount"] == 2
            assert state_of(done)["lastState"]["terminated"]["exitCode"] == 1
            assert (await log(harness, "one"), await log(harness, "one", previous=True)) == ("try 3\n", "try 2\n")
            assert harness.said("BackOff", "one")

    asyncio.run(main())


def test_last_words_of_a_container(tmp_path: Path) -> None:
    told = sh("echo no GPU > /dev/termination-log; exit 1", "told")
    shown = sh("echo first; echo CUDA error >&2; exit 1", "shown", terminationMessagePolicy="FallbackToLogsOnError")

    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            harness.apply(pod("one", once(told, shown)))
            done = await finished(harness, "one")
            assert state_of(done, "told")["state"]["terminated"]["message"] == "no GPU\n"
            assert "CUDA error\n" in state_of(done, "shown")["state"]["terminated"]["message"]

    asyncio.run(main())


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            broken = container("main", command=["vlm", "serve"])
            harness.apply(pod("job", once(broken)), pod("server", pod_spec(broken)))
            ended = state_of(await finished(harness, "job"))["state"]["terminated"]
            assert (ended["exitCode"], ended["reason"], ended["startedAt"]) == (
                128,
                "StartError",
                "1970-01-01T00:00:00Z",
            )
            assert 'exec: "vlm": executable file not found in $PATH' in ended["message"]

            def waits() -> Any:
                state = state_of(harness.one(PODS, "server"))
                return state["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff" and state

            last = (await eventually(waits))["lastState"]["terminated"]
            assert (last["exitCode"], last["reason"]) == (128, "StartError")
            assert any("executable file not found" in text for text in harness.said("Failed", "server"))

    asyncio.run(main())


def test_deleting_a_pod_is_graceful(tmp_path: Path) -> None:
    kind = sh("trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.02; done", "kind")
    hooked = {"preStop": {"exec": {"command": ["sh", "-c", "echo drained > /dev/termination-log"]}}}
    deaf = sh("trap '' TERM; echo up; while :; do sleep 0.02; done", "deaf", lifecycle=hooked)
    spec = pod_spec(kind, deaf, terminationGracePeriodSeconds=4)

    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            harness.apply(pod("one", spec))
            await eventually(lambda: phase(harness, "one") == "Running")
            for name in ("kind", "deaf"):
                while "up" not in await log(harness, "one", name):
                    await asyncio.sleep(0.02)
            states: list[dict[str, Any]] = []
            events = harness.cluster.subscribe(PODS)
            harness.cluster.delete(PODS, NAMESPACE, "one")
            async for kind_of_change, _, obj in events:
                states.append(obj)
                if kind_of_change == "DELETED":
                    break
            last = states[-1]
            assert state_of(last, "kind")["state"]["terminated"]["exitCode"] == 0
            assert state_of(last, "deaf")["state"]["terminated"]["exitCode"] == 137
            assert last["status"]["phase"] == "Failed"
            assert state_of(last, "deaf")["state"]["terminated"]["message"] == "drained\n"
            assert sorted(harness.said("Killing", "one")) == ["Stopping container deaf", "Stopping container kind"]
            assert not harness.said("FailedPreStopHook")

    asyncio.run(main())


def test_a_forced_deletion_ends_the_processes_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            harness.apply(pod("one", pod_spec(sh("trap '' TERM; while :; do sleep 0.02; done"))))
            await eventually(lambda: phase(harness, "one") == "Running")
            pid = int(next(tmp_path.rglob("main.pid")).read_text())
            harness.cluster.delete(PODS, NAMESPACE, "one", grace_seconds=0)
            assert harness.cluster.get(PODS, NAMESPACE, "one") is None
            await eventually(lambda: not Path(f"/proc/{pid}").exists())

    asyncio.run(main())


def test_side_cars_start_first_and_end_last(tmp_path: Path) -> None:
    mount = [{"name": "work", "mountPath": "/work"}]
    helper = sh(
        "trap 'exit 0' TERM; touch /work/up; while :; do sleep 0.02; done",
        "helper",
        restartPolicy="Always",
        volumeMounts=mount,
        startupProbe={"exec": {"command": ["test", "-f", "/work/up"]}, "periodSeconds": 1},
    )
    main_one = sh("test -f /work/up && echo helped", volumeMounts=mount)
    spec = once(main_one, initContainers=[helper], volumes=[{"name": "work", "emptyDir": {}}])

    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            harness.apply(pod("one", spec))
            done = await finished(harness, "one")
            assert done["status"]["phase"] == "Succeeded"
            assert await log(harness, "one") == "helped\n"
            await eventually(lambda: "terminated" in state_of(harness.one(PODS, "one"), "helper")["state"])

    asyncio.run(main())


def test_a_pod_beyond_its_deadline_is_ended(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            harness.apply(pod("one", pod_spec(sh("exec sleep 1000"), activeDeadlineSeconds=1)))
            done = await finished(harness, "one")
            assert (done["status"]["phase"], done["status"]["reason"]) == ("Failed", "DeadlineExceeded")

    asyncio.run(main())


def test_a_pod_starts_as_soon_as_what_it_misses_is_there(tmp_path: Path) -> None:
    token = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "late", "key": "token"}}}
    mount = [{"name": "cfg", "mountPath": "/cfg"}]
    spec = once(
        sh("echo $TOKEN; cat /cfg/a", env=[token], volumeMounts=mount),
        volumes=[{"name": "cfg", "configMap": {"name": "late"}}],
    )

    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            harness.apply(pod("one", spec))
            await eventually(lambda: harness.said("FailedMount", "one"))
            harness.apply(config_map("late", a="A"))
            await eventually(lambda: 'Error: secret "late" not found' in harness.said("Failed", "one"))
            harness.apply(secret("late", token="t"))
            await finished(harness, "one")
            assert await log(harness, "one") == "t\nA"
            assert harness.cluster.get(SECRETS, NAMESPACE, "late")
            assert harness.cluster.get(CONFIGMAPS, NAMESPACE, "late")

    asyncio.run(main())


def test_volumes_that_the_sandbox_has_not_are_refused_by_name(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            volumes = [{"name": "host", "hostPath": {"path": "/"}}]
            harness.apply(pod("one", pod_spec(volumes=volumes)))
            (text,) = await eventually(lambda: harness.said("FailedMount", "one"))
            assert text.startswith('MountVolume.SetUp failed for volume "host" : the sandbox has no hostPath volumes')
            assert phase(harness, "one") == "Pending"

    asyncio.run(main())


def test_images_are_pulled_once_and_back_off_when_they_are_unknown(tmp_path: Path) -> None:
    images = [ImageConfig("slow/*", pull_seconds=0.3)]

    async def main() -> None:
        async with running_cluster(tmp_path, images=images) as harness:
            for name in ("first", "second"):
                harness.apply(pod(name, once(sh("true", image="slow/image:1"))))
                await finished(harness, name)
            assert harness.said("Pulling", "first") == ['Pulling image "slow/image:1"']
            assert harness.said("Pulled", "first")[0].startswith('Successfully pulled image "slow/image:1" in ')
            assert harness.said("Pulled", "second")[0].endswith(
                "already present on machine and can be accessed by the pod"
            )
            harness.apply(pod("typo", once(sh("true", image="slwo/image:1"))))
            await eventually(lambda: "Error: ImagePullBackOff" in harness.said("Failed", "typo"))

    asyncio.run(main())


def test_a_job_runs_its_processes_to_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_cluster(tmp_path) as harness:
            harness.apply(job("good", "true"), job("bad", "false", backoffLimit=1))
            await eventually(lambda: conditions(harness.one(JOBS, "good")).get("Complete"))
            await eventually(lambda: conditions(harness.one(JOBS, "bad")).get("Failed"), 20)
            assert harness.one(JOBS, "bad")["status"]["failed"] == 2
            harness.cluster.delete(JOBS, NAMESPACE, "bad")
            await eventually(lambda: len(harness.pods()) == 1)

    asyncio.run(main())


def test_a_stopped_cluster_leaves_no_process(tmp_path: Path) -> None:
    async def main() -> list[int]:
        async with running_cluster(tmp_path, nodes=[GPU_NODE]) as harness:
            harness.apply(*(pod(f"pod-{number}", pod_spec(sh("sleep 1000 & sleep 1000"))) for number in range(3)))
            await eventually(lambda: all(phase(harness, f"pod-{number}") == "Running" for number in range(3)))
            return [int(one.read_text()) for one in tmp_path.rglob("main.pid")]

    pids = asyncio.run(main())
    assert len(pids) == 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
