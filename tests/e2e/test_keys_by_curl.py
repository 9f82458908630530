"""The story of docs/api.md with keys, by nothing but the command line and curl."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import make
from tests.e2e.service import COMMAND, ENVIRONMENT, WITHIN_S, running
from tests.unit import keyed

STORY = """set -eu
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
ask() { curl -sS --fail-with-body -H "Authorization: Bearer $key" "$@"; }
refused() {
  printf '%s ' "$(curl -sS -o refusal -w '%{http_code}' "$@")"
  field error < refusal | grep -o '[A-Z_]\\{8,\\}'
}

key=$(meterport keys create --meters 'A*' --scopes export,read)
id=$(ask $url/api/exports -H 'Content-Type: application/json' \\
  -d '{"smart_meter_id": "A", "start": "2024-01-01", "end": "2024-01-02"}' | field id)
for _ in $(seq 100); do
  case $(ask $url/api/export/status/$id | field status) in pending) sleep 0.2 ;; *) break ;; esac
done
ask $url/api/export/download/$id -o by-key.csv
link=$url$(ask -X POST $url/api/exports/$id/links | field url)

curl -sS --fail-with-body "$link" -o by-link.csv
refused $url/api/export/download/$id

meterport keys revoke $(echo $key | cut -d_ -f2) > revoked
refused "$link"
refused -H "Authorization: Bearer $key" $url/api/export/download/$id
"""
CSV = make.csv_lines("2024-01-01T00:00:00Z,A,0.5,2.1,230.1,9.1")


def test_a_link_works_without_a_key_until_its_key_is_revoked(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("NO CURL: the story was not run")
    home = make.home(tmp_path, make.readings(0.5, meter="A"))
    keyed.key(home, scopes=["admin"])  # without any the service does not start
    data = home.settings.data
    command = f'meterport() {{ {shlex.join(COMMAND)} "$@"; }}\n'

    with running(data, METERPORT_AUTH="keys") as service:
        done = subprocess.run(
            ["bash", "-c", command + STORY],
            cwd=tmp_path,
            env=ENVIRONMENT | {"METERPORT_DATA": str(data), "url": service.url},
            capture_output=True,
            text=True,
            timeout=2 * WITHIN_S,
            check=False,
        )

    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "by-key.csv").read_text() == CSV
    assert (tmp_path / "by-link.csv").read_text() == CSV
    assert done.stdout.splitlines() == [
        "401 UNAUTHENTICATED",
        "404 LINK_INVALID",
        "401 UNAUTHENTICATED",
    ]
