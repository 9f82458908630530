"""compose.yaml, deploy/ and the Dockerfile: what they name exists, and nothing runs as root."""

import re
from pathlib import Path

import pytest
import yaml

from tests.deployments import (
    KUBERNETES,
    ROOT,
    in_compose,
    in_kubernetes,
    unknown_variables,
    user_of_the_image,
)

COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
MANIFESTS = sorted(KUBERNETES.glob("*.yaml"))


def manifest(name: str) -> str:
    return (KUBERNETES / name).read_text(encoding="utf-8")


def test_compose_is_right() -> None:
    assert in_compose(COMPOSE) == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_is_right(path: Path) -> None:
    assert in_kubernetes(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("right", "broken", "told"),
    [
        ("restart: unless-stopped", "restrat: unless-stopped", "restrat"),
        ("METERPORT_BROKER_URL", "METERPORT_BROKER", "no setting is called METERPORT_BROKER"),
        ("postgres:18", "postgres:latest", "database: postgres:latest does not name one version"),
        ("postgres:18", "registry.example/postgres:18", "does not name one version of one image"),
        ('user: "999:999"', 'user: "0:0"', "database runs as root"),
        ("[meterport, housekeeping]", "[meterport, housekeper]", "no command meterport housekeper"),
        ("[meterport, api]", "[meterport, api, --prot, 80]", "no command meterport api --prot 80"),
        ("-Q, meterport-small,", "-Q, meterport-smal,", "there is no command celery"),
        ("--without-gossip", "--without-gosip", "there is no command celery"),
        ("127.0.0.1:8000", "0.0.0.0:8000", "api publishes 0.0.0.0:8000:8000"),
        (":?choose a name for the key", ":-admin", "STORE_ACCESS_KEY_ID may be empty"),
        (
            "POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?choose one of letters and digits}",
            "POSTGRES_PASSWORD: meterport",
            "POSTGRES_PASSWORD is written down",
        ),
    ],
)
def test_a_broken_compose_file_is_told(right: str, broken: str, told: str) -> None:
    assert right in COMPOSE

    assert told in " ".join(in_compose(COMPOSE.replace(right, broken)))


@pytest.mark.parametrize(
    ("name", "right", "broken", "told"),
    [
        ("api.yaml", "replicas: 2", "replica: 2", "replica"),
        ("api.yaml", "replicas: 2", "replicas: two", "meterport-api: 'two' is not"),
        ("api.yaml", "apps/v1", "apps/v1beta1", "Couldn't find schema for kind Deployment"),
        ("api.yaml", "meterport:0.1.0", "meterport", "does not name one version"),
        ("api.yaml", "runAsUser: 10001", "runAsUser: 0", "api runs as root"),
        ("api.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot is not True"),
        ("api.yaml", "enableServiceLinks: false", "", "would set METERPORT_PORT"),
        ("api.yaml", "[ALL]", "[NET_RAW]", "capabilities is not {'drop': ['ALL']}"),
        ("api.yaml", "mountPath: /data", "mountPath: /elsewhere", "api cannot write to /data"),
        ("migrate.yaml", "db, upgrade", "db, upgarde", "no command meterport db upgarde"),
        ("workers.yaml", "meterport.celery_app", "meterport.celery", "no command celery"),
        ("settings.yaml", "METERPORT_HOST", "METERPORT_HOTS", "no setting is called"),
    ],
)
def test_a_broken_manifest_is_told(name: str, right: str, broken: str, told: str) -> None:
    assert right in manifest(name)

    assert told in " ".join(in_kubernetes(manifest(name).replace(right, broken)))


def test_everything_but_the_template_is_applied() -> None:
    applied = yaml.safe_load(manifest("kustomization.yaml"))["resources"]

    others = {"kustomization.yaml", "secret.template.yaml"}
    assert set(applied) == {path.name for path in MANIFESTS} - others


def test_the_image_runs_as_the_user_of_the_manifests() -> None:
    assert user_of_the_image() == 10001
    for name in ("api.yaml", "workers.yaml", "housekeeping.yaml", "migrate.yaml"):
        assert "runAsUser: 10001" in manifest(name)


@pytest.mark.parametrize("name", ["Dockerfile", "docs/distributed.md"])
def test_every_variable_that_is_named_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")

    assert list(unknown_variables(text)) == []


def test_the_image_is_made_of_what_the_lock_has_and_of_plain_images() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["python:3.13-slim"] * 2
    steps = re.split(r"&&|\n", text.replace("\\\n", ""))
    installs = [step for step in steps if re.search(r"pip (install|wheel)", step)]
    assert len(installs) == 5
    assert [i for i in installs if "--require-hashes" not in i and "--no-deps" not in i] == []


def test_only_what_the_image_needs_is_sent_to_its_builder() -> None:
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    assert allowed[0] == "*"
    assert {line[1:] for line in allowed if line.startswith("!")} == set(" ".join(copied).split())
