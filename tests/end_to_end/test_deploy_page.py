"""Every command of docs/deploy.md, those that need a cluster by what stands for them.

STAND_INS is the table; a command without an entry fails.
"""

import argparse
import functools
import itertools
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from rockstar_serving.transfer import pull
from tests.charts import CHART, documents, helm
from tests.end_to_end.pods import Pod, Pods
from tests.manifests import ROOT, Manifest, by_kind_and_name, kustomized, of_kind, pod
from tests.oci_registry import oci_registry
from tests.ports import free_ports
from tests.waiting import until
from tests.walkthrough import CHART as PUBLISHED
from tests.walkthrough import REGISTRY, WALKTHROUGH, blocks, commands, file, sections

_PROXY = """
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
frontend gateway
    bind 127.0.0.1:{port}
{clients}
    use_backend route if {{ hdr(host) {host} }} client
backend route
    balance roundrobin
{servers}
"""
_KINDS = "deployment|service|job|trainjob"


class Cluster:
    """Runs commands, with processes of this machine in place of a cluster.

    Args:
        folder: where commands run.
        helm: runs requests of tests/helm_sdk.py.
        registry: address of a registry of images.
        models: a folder with version 1 of cnn.
    """

    def __init__(self, folder: Path, helm: Callable, registry: str, models: Path) -> None:
        self.folder, self.models = folder, models
        self._helm, self._registry = helm, registry
        self.addresses: dict[str, str] = {}
        self._environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self._revisions: dict[str, list[tuple[dict, str, list[Manifest]]]] = {}
        self._running: dict[str, tuple[Pods, Pod]] = {}
        self._started: list[Pods] = []
        self._proxy: subprocess.Popen | None = None
        (self._port,) = free_ports(1)

    def run(self, command: str) -> str:
        """Run a command, or what stands for it; returns its output."""
        found = [stand_in for pattern, stand_in in STAND_INS.items() if re.match(pattern, command)]
        assert len(found) == 1, f"STAND_INS needs one entry for: {command}"
        return found[0](self, command) or ""

    def itself(self, command: str) -> str:
        """The command, with the test's addresses."""
        for name, address in {REGISTRY: self._registry, **self.addresses}.items():
            command = command.replace(f"://{name}", f"://{address}")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=self._environ,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def trained(self, _command: str) -> None:
        """The same training, which other tests need too."""
        shutil.copytree(self.models / "cnn", self.folder / "models" / "cnn")

    def trained_again(self, command: str) -> None:
        """A short training, served although it is less accurate."""
        self.itself(f"{command} --epochs 1 --serve-anyway")

    def nothing(self, _command: str) -> None:
        """HAProxy starts when there is a route."""

    def apply_files(self, command: str) -> None:
        """The Gateway that the values name, and whose namespace may reach the pods."""
        applied = list(yaml.safe_load_all(file(command.split()[-1])))
        kinds = {each["kind"]: each for each in applied}
        schema = json.loads((ROOT / "tests/testdata/kubernetes/gateway/Gateway.json").read_text())
        Draft202012Validator(schema).validate(kinds["Gateway"])
        assert (
            kinds["Gateway"]["spec"]["gatewayClassName"]
            == kinds["GatewayClass"]["metadata"]["name"]
        )
        parents = yaml.safe_load(file("values.yaml"))["httpRoute"]["parentRefs"]
        assert [kinds["Gateway"]["metadata"]] == parents

    def address(self, _command: str) -> None:
        """The address of HAProxy."""
        self._environ["ADDRESS"] = f"127.0.0.1:{self._port}"

    def install(self, command: str) -> None:
        """Helm's library renders the chart; its Deployments run as processes, its route in HAProxy."""
        options = _helm_options(command)
        assert options.chart == PUBLISHED
        revisions = self._revisions.setdefault(options.name, [])
        values = revisions[-1][0] if options.reuse_values else {}
        if options.values:
            values = yaml.safe_load(file(options.values))
        settings = dict(each.split("=") for text in options.set for each in text.split(","))
        for path, text in settings.items():
            values = _changed(values, path.split("."), yaml.safe_load(text))
        self._roll_out(options.name, options.namespace, values)

    def rollback(self, command: str) -> None:
        """The values of the earlier revision."""
        options = _helm_options(command)
        values, namespace, _ = self._revisions[options.name][int(options.chart) - 1]
        self._roll_out(options.name, namespace, values)

    def uninstall(self, command: str) -> None:
        """The processes end; nothing may send requests there."""
        name = _helm_options(command).name
        self._running.pop(name)[0].close()
        self._route()

    def test(self, command: str) -> None:
        """The command of the chart's test pod."""
        name = _helm_options(command).name
        hooks = of_kind(self._revisions[name][-1][2], "Pod")
        (container,) = hooks[f"{name}-test"]["spec"]["containers"]
        self.addresses[f"{name}-gateway:8080"] = self._running[name][1].addresses["http"]
        self.itself(shlex.join(container["command"]))

    def kustomize(self, command: str) -> None:
        """kubectl renders it; test_combinations.py compares it with schemas."""
        folder = ROOT / command.split()[-1]
        if not folder.exists():
            folder = self.folder / folder.name
            number = ["deploy", "canary"].index(folder.name)
            shown = [each for *_, each in blocks("yaml") if each.startswith("apiVersion: kust")]
            folder.mkdir(exist_ok=True)
            k8s = os.path.relpath(ROOT / "k8s", folder.resolve())
            (folder / "kustomization.yaml").write_text(shown[number].replace("../k8s", k8s))
        assert kustomized(folder)

    def kubectl(self, command: str) -> None:
        """kubectl reads its options, and finds no cluster; what it names is in the manifests."""
        for each in re.split(r" \| | && ", command.partition(" #")[0]):
            if not each.startswith("kubectl"):
                continue
            done = subprocess.run(
                ["kubectl", "--server=http://127.0.0.1:1", *shlex.split(each)[1:]],
                cwd=self.folder,
                env=os.environ | {"KUBECONFIG": os.devnull},
                capture_output=True,
                text=True,
            )
            assert re.search(r"127\.0\.0\.1:1\b.* refused", done.stderr), (each, done.stderr)
            served = _served()
            kinds = {kind.lower(): kind for kind, _ in served}
            for kind, name, port in re.findall(
                rf"\b({_KINDS})[/ ]([a-z-]+)(?: \d+:([a-z]+))?", each.partition(" -- ")[0]
            ):
                found = served[kinds[kind], name]
                assert not port or port in yaml.safe_dump(found)
            for key, value in re.findall(r"--selector=([\w./]+)=([\w-]+)", each):
                if key.startswith("app."):
                    assert value in {pod_labels(each).get(key) for each in served.values()}

    def image(self, command: str) -> None:
        """The file has the target; tests/containers builds it with buildah."""
        options = dict(zip(*[iter(shlex.split(command)[2:-1])] * 2, strict=True))
        assert f" AS {options['--target']}\n" in (ROOT / options["-f"]).read_text()

    def pushed_image(self, command: str) -> None:
        """An image that was built before."""
        assert any(f"-t {command.split()[-1]} " in each for each in commands("Images")[""])

    def close(self) -> None:
        for pods in self._started:
            pods.close()
        if self._proxy:
            self._proxy.kill()
            self._proxy.wait()

    def _roll_out(self, name: str, namespace: str, values: dict) -> None:
        request = {"render": str(CHART), "values": values, "name": name, "namespace": namespace}
        rendered = documents(self._helm(request)[0])
        revisions = self._revisions[name]
        revisions.append((values, namespace, rendered))
        spec = pod(rendered, f"{name}-model-server")["spec"]
        if len(revisions) == 1 or spec != pod(revisions[-2][2], f"{name}-model-server")["spec"]:
            # In place of the kubelet, which mounts the image.
            models = self.folder / "nodes" / f"{name}-{len(revisions)}"
            (reference,) = [
                each["image"]["reference"] for each in spec["volumes"] if "image" in each
            ]
            pull(f"oci://{reference.replace(REGISTRY, self._registry)}", models)
            text = yaml.safe_dump_all(rendered).replace(f"{name}-", "")
            pods = Pods(list(yaml.safe_load_all(text)), models, models)
            self._started.append(pods)
            self._running[name] = pods, pods.gateway(pods.model_server().addresses["grpc"])
        self._route()

    def _route(self) -> None:
        applied = self._revisions["rockstartf"][-1][2]
        route = of_kind(applied, "HTTPRoute")["rockstartf-gateway"]["spec"]
        ((rule,), (host,)) = route["rules"], route["hostnames"]
        match = {"Exact": "path", "PathPrefix": "path_beg"}
        clients = [
            f"    acl client {match[each['path']['type']]} {each['path']['value']}"
            for each in rule["matches"]
        ]
        servers = [
            f"    server {to['name']} {self._address(to)} weight {to.get('weight', 1)}"
            for to in rule["backendRefs"]
        ]
        lines = {"clients": "\n".join(clients), "servers": "\n".join(servers)}
        config = self.folder / "haproxy.cfg"
        config.write_text(_PROXY.format(port=self._port, host=host, **lines))
        if self._proxy:
            self._proxy.terminate()
            self._proxy.wait()
        self._proxy = subprocess.Popen(["haproxy", "-db", "-f", config])
        until(self._listens, what="HAProxy")

    def _address(self, to: Manifest) -> str:
        """The address of a backend, which must be in its namespace, and allow the route."""
        name = to["name"].removesuffix("-gateway")
        _, namespace, applied = self._revisions[name][-1]
        assert to.get("namespace", "rockstartf") == namespace
        if "namespace" in to:
            grant = of_kind(applied, "ReferenceGrant")[to["name"]]["spec"]
            assert [each["namespace"] for each in grant["from"]] == ["rockstartf"]
        return self._running[name][1].addresses["http"]

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


STAND_INS: dict[str, Callable[[Cluster, str], str | None]] = {
    r"rockstar train cnn$": Cluster.trained,
    r"rockstar train cnn --seed 2$": Cluster.trained_again,
    r"rockstar (?!train )|curl |for n in ": Cluster.itself,
    r"helm install envoy ": Cluster.nothing,
    r"helm (install (?!envoy )|upgrade )": Cluster.install,
    r"helm rollback ": Cluster.rollback,
    r"helm uninstall ": Cluster.uninstall,
    r"helm test ": Cluster.test,
    r"ADDRESS=\$\(kubectl ": Cluster.address,
    r"kubectl apply -f ": Cluster.apply_files,
    r"kubectl (apply|delete) -k ": Cluster.kustomize,
    r"kubectl (?!apply |delete -k )": Cluster.kubectl,
    r"docker build ": Cluster.image,
    r"docker push ": Cluster.pushed_image,
    r"alias k='kubectl -n rockstartf'$": Cluster.nothing,
}


@functools.cache
def _served() -> dict[tuple[str, str], Manifest]:
    """The manifests whose names the page has."""
    folders = ("k8s/overlays/embedded", "k8s/training", "k8s/training/trainjob")
    return {key: each for folder in folders for key, each in by_kind_and_name(folder).items()}


def _helm_options(command: str) -> argparse.Namespace:
    """The arguments of a command of Helm; an unknown option fails."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    for name in ("verb", "name"):
        parser.add_argument(name)
    parser.add_argument("chart", nargs="?")
    for name in ("--namespace", "--values", "--timeout"):
        parser.add_argument(name)
    for name in ("--create-namespace", "--wait", "--reuse-values"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--set", action="append", default=[])
    return parser.parse_args(shlex.split(command)[1:])


def _changed(values: dict, path: list[str], value: object) -> dict:
    """Values with a value at a path."""
    first, *rest = path
    return {**values, first: _changed(values.get(first) or {}, rest, value) if rest else value}


def pod_labels(each: Manifest) -> dict[str, str]:
    labels: dict[str, str] = (
        each.get("spec", {}).get("template", {}).get("metadata", {}).get("labels", {})
    )
    return labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("walkthrough")
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "keys.toml").touch()
    return folder


@pytest.fixture(scope="module")
def cluster(folder, pytestconfig, trained_models) -> Iterator[Cluster]:
    for program in ("haproxy", "kubectl"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    with oci_registry(folder / "registry") as registry:
        cluster = Cluster(folder, helm(pytestconfig), registry, trained_models.workdir / "models")
        yield cluster
        cluster.close()


@pytest.mark.slow
def test_from_nothing_to_a_canary(cluster):
    steps = iter(commands(WALKTHROUGH).values())
    outputs = [cluster.run(command) for _ in range(3) for command in next(steps)]
    answer = json.loads(outputs[-1])
    assert (answer["version"], answer["predictions"][0]["label"]) == (1, "7")

    outputs = [cluster.run(command) for command in next(steps)]
    count = outputs[-1]
    assert count.split() == ["45", '"version":1', "5", '"version":2']
    again = commands(WALKTHROUGH)["4. A canary"][-1]

    upgrade, uninstall, rollback = next(steps)
    for command in (upgrade, uninstall):
        cluster.run(command)
        assert cluster.run(again).split() == ["50", '"version":2']
    cluster.run(rollback)
    assert cluster.run(again).split() == ["50", '"version":1']
    assert list(steps) == []


@pytest.mark.parametrize("section", [each for each in sections() if each != WALKTHROUGH])
def test_the_commands_of_other_sections(section, cluster, service):
    rest = f"127.0.0.1:{service.rest.rpartition(':')[2]}"
    cluster.addresses |= {
        "127.0.0.1:8080": service.http.removeprefix("http://"),
        "127.0.0.1:8501": rest,
    }
    for command in itertools.chain(*commands(section).values()):
        cluster.run(command.replace("--models MODELS", f"--models {cluster.models}"))


def test_queries_are_promql(tmp_path):
    queries = [line for *_, text in blocks("promql") for line in text.splitlines()]
    rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "page", "rules": rules}]})
    )
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool, of Debian's package prometheus")
    done = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "rules.yaml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_block_has_a_language():
    opened = re.findall(r"^```(\w*)$", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE)[::2]
    assert set(opened) == {"sh", "promql", "yaml", "dockerfile"}
