"""What is wrong with files that deploy us: compose.yaml, and manifests for Kubernetes.

Each check gives sentences, so that a test can also show that it finds what it is there for.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from typer.testing import CliRunner

from meterport import __version__
from meterport.adapters.celery_dispatch import queue_of
from meterport.cli import app
from meterport.domain.jobs import Lane
from meterport.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSION = "1.37"
"""Of Kubernetes, whose schemas are asked."""

_IMAGE = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+)?:[a-z0-9][a-z0-9.-]*")
_SECRET = re.compile(r"PASSWORD|SECRET|KEY")


@dataclass(frozen=True)
class Container:
    """`user`: its number; None where nothing says so."""

    name: str
    image: str
    command: Sequence[str]
    user: int | None


def in_compose(text: str) -> list[str]:
    document = yaml.safe_load(text)
    services = document["services"]
    return [
        *_against_the_compose_schema(text),
        *unknown_variables(text),
        *_secrets_with_a_default(text),
        *(problem for name in services for problem in wrong(_of_compose(name, services[name]))),
        *_published(services),
    ]


def in_kubernetes(text: str) -> list[str]:
    found = list(unknown_variables(text))
    for document in yaml.safe_load_all(text):
        if document["kind"] != "Kustomization":
            found += _against_its_schema(document)
        pod = document.get("spec", {}).get("template", {}).get("spec")
        for one in pod["containers"] if pod else ():
            found += wrong(_of_kubernetes(pod, one))
            found += _privileges(pod, one)
    return found


def unknown_variables(text: str) -> Iterator[str]:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in sorted(set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]\b", text)) - known):
        yield f"no setting is called {name}"


def wrong(container: Container) -> Iterator[str]:
    """Of the image, the user, and a command of ours."""
    name = container.name
    if not _IMAGE.fullmatch(container.image) or container.image.endswith(":latest"):
        yield f"{name}: {container.image} does not name one version of one image"
    if not container.user:
        yield f"{name} runs as root, or does not say as whom"
    if container.image.startswith("meterport:"):
        if container.image != f"meterport:{__version__}":
            yield f"{name}: the image is not of version {__version__}"
        if not _exists(tuple(container.command)):
            yield f"{name}: there is no command {' '.join(container.command)}"


def user_of_the_image() -> int:
    users = re.findall(r"^USER (\d+):\d+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return int(users[-1])


@cache
def _exists(command: tuple[str, ...]) -> bool:
    """Also whether it has those options."""
    if command[:1] == ("meterport",):
        return CliRunner().invoke(app, [*command[1:], "--help"]).exit_code == 0
    if command[:1] == ("celery",):
        return _queues(command) <= {queue_of(lane) for lane in Lane} and _celery_takes(command)
    return False


def _queues(command: Sequence[str]) -> set[str]:
    return set(command[command.index("-Q") + 1].split(","))


def _celery_takes(command: Sequence[str]) -> bool:
    environment = {name: value for name, value in os.environ.items() if PREFIX not in name}
    environment["METERPORT_BROKER_URL"] = "redis://127.0.0.1:1/0"  # nobody is asked for help
    asked = [sys.executable, "-m", *command, "--help"]
    answer = subprocess.run(asked, env=environment, capture_output=True, check=False, timeout=60)
    return answer.returncode == 0


def _of_compose(name: str, service: Mapping[str, Any]) -> Container:
    image, user = service["image"], service.get("user", "0").partition(":")[0]
    if image.startswith("meterport:") and "user" not in service:
        user = str(user_of_the_image())
    return Container(name, image, _words(service), int(user))


def _of_kubernetes(pod: Mapping[str, Any], one: Mapping[str, Any]) -> Container:
    user = (pod.get("securityContext", {}) | one.get("securityContext", {})).get("runAsUser")
    return Container(one["name"], one["image"], _words(one), user)


def _words(container: Mapping[str, Any]) -> list[str]:
    return [str(word) for word in container.get("command", ())]


def _privileges(pod: Mapping[str, Any], one: Mapping[str, Any]) -> Iterator[str]:
    context = pod.get("securityContext", {}) | one.get("securityContext", {})
    wanted = {
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for key, value in wanted.items():
        if context.get(key) != value:
            yield f"{one['name']}: {key} is not {value}"
    if pod.get("enableServiceLinks") is not False:
        yield f"{one['name']}: a Service of the name meterport would set METERPORT_PORT"
    resources = one.get("resources", {})
    if not ("memory" in resources.get("limits", {}) and "cpu" in resources.get("requests", {})):
        yield f"{one['name']} does not say what it needs"
    empty = {volume["name"] for volume in pod.get("volumes", ()) if "emptyDir" in volume}
    if "/data" not in {m["mountPath"] for m in one.get("volumeMounts", ()) if m["name"] in empty}:
        yield f"{one['name']} cannot write to /data"


def _published(services: Mapping[str, Any]) -> Iterator[str]:
    for name, service in services.items():
        for port in service.get("ports", ()):
            if name != "api" or not str(port).startswith("127.0.0.1:"):
                yield f"{name} publishes {port}"


def _secrets_with_a_default(text: str) -> Iterator[str]:
    for name, rest in re.findall(r"\$\{(\w+)([^}]*)\}", text):
        if _SECRET.search(name) and not rest.startswith(":?"):
            yield f"{name} may be empty, or has a default"
    for name, value in re.findall(r"(\w+): *(\S+)", text):
        if _SECRET.search(name) and not value.startswith("${"):
            yield f"{name} is written down"


def _against_the_compose_schema(text: str) -> Iterator[str]:
    command = [sys.executable, "-m", "check_jsonschema"]
    command += ["--default-filetype", "yaml", "--builtin-schema", "vendor.compose-spec", "-"]
    answer = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, timeout=60
    )
    if answer.returncode:
        yield answer.stdout + answer.stderr


def _against_its_schema(document: Mapping[str, Any]) -> Iterator[str]:
    try:
        kubernetes_validate.validate(document, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{document['metadata']['name']}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        yield error.message
