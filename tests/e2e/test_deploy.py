"""`epa deploy` against a real Prefect server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paintings import write_run_file
from prefect_server import BIN, PrefectServer

pytestmark = [pytest.mark.server, pytest.mark.slow]
SECRET = "https://hooks.example/T0-very-secret"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with PrefectServer(tmp_path_factory.mktemp("prefect")) as server:
        yield server


def deploy(
    server: PrefectServer, file: Path, *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [BIN / "epa", "deploy", str(file), *options]
    env = server.env | environment
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)


def by_name(server: PrefectServer) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in server.ask("/deployments/filter")}


def test_deployed_twice_is_deployed_once(server: PrefectServer, tmp_path: Path) -> None:
    # A text that Prefect's own templates would take for one of theirs.
    title = "{{ prefect.blocks.secret.mine }} and {{ $HOME }}"
    file = write_run_file(tmp_path, 2, title=title, storage={"timeout": 30})
    first = deploy(server, file, "--cron", "0 4 * * *", EPA_WEBHOOK=SECRET)
    assert first.returncode == 0, first.stderr
    again = deploy(server, file, "--cron", "30 5 * * 1", "--timezone", "Europe/Berlin")
    assert again.returncode == 0, again.stderr
    assert "animate-collection/animate-collection: updated" in again.stdout
    assert "automation epa-zombies: as it is" in again.stdout
    assert "automation epa-crashed-again: as it is" in again.stdout

    automations = server.ask("/automations/filter")
    names = sorted(entry["name"] for entry in automations)
    assert names == ["epa-crashed-again", "epa-webhook", "epa-zombies"]
    assert all(entry["enabled"] for entry in automations)

    entries = by_name(server)
    assert set(entries) == {"animate-collection", "animate-shard", "evaluate", "maintenance"}
    collection = entries["animate-collection"]
    run = collection["parameters"]["run"]
    assert run["title"] == title
    assert run["catalog"] == str(tmp_path / "in")
    assert run["output"] == str(tmp_path / "out")
    assert collection["global_concurrency_limit"]["limit"] == 1
    assert collection["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    [schedule] = collection["schedules"]
    assert schedule["schedule"]["cron"] == "30 5 * * 1"
    assert schedule["schedule"]["timezone"] == "Europe/Berlin"
    assert schedule["active"]
    assert entries["animate-shard"]["work_pool_name"] == "epa-gpu"
    assert entries["maintenance"]["parameters"]["location"] == str(tmp_path / "out")
    assert entries["maintenance"]["parameters"]["storage"] == {"timeout": 30}

    # The webhook's address is nowhere to be read.
    blocks = server.ask("/block_documents/filter")
    assert [block["name"] for block in blocks] == ["epa-webhook"]
    for text in (first.stdout, first.stderr, str(blocks), str(automations)):
        assert SECRET not in text
        assert "very-secret" not in text


def test_a_second_collection_has_deployments_of_its_own(
    server: PrefectServer, tmp_path: Path
) -> None:
    file = write_run_file(tmp_path, 2)
    options = ("--name", "impressionists", "--pool", "others", "--cron", "off")
    done = deploy(server, file, *options)
    assert done.returncode == 0, done.stderr
    assert "work pool others: created" in done.stdout
    found = server.ask("/deployments/filter")
    flows = {flow["id"]: flow["name"] for flow in server.ask("/flows/filter")}
    ours = [entry for entry in found if entry["name"] == "impressionists"]
    assert {flows[entry["flow_id"]] for entry in ours} == {
        "animate-collection",
        "evaluate",
        "maintenance",
    }
    assert {entry["work_pool_name"] for entry in ours} == {"others"}
    [collection] = [e for e in ours if flows[e["flow_id"]] == "animate-collection"]
    assert [schedule["active"] for schedule in collection["schedules"]] == [False]
    assert sum(entry["name"] == "animate-shard" for entry in found) == 1


def test_parameters_are_held_against_the_run_file(server: PrefectServer, tmp_path: Path) -> None:
    assert deploy(server, write_run_file(tmp_path, 2)).returncode == 0
    entry = by_name(server)["animate-collection"]
    place = f"/deployments/{entry['id']}/create_flow_run"
    run = entry["parameters"]["run"]

    def asked(changed: dict[str, Any]) -> int:
        return server.post(place, {"parameters": {"run": changed}}).status_code

    assert asked({**run, "sed": 4}) == 409
    assert asked({**run, "execution": {"shard_size": 0}}) == 409
    assert asked({**run, "variant": "W"}) == 409
    assert asked({**run, "seed": 4}) == 201


def test_the_server_takes_the_kubernetes_template(server: PrefectServer) -> None:
    pytest.importorskip("prefect_kubernetes")
    root = Path(__file__).parents[2]
    template = root / "deploy" / "kubernetes" / "base-job-template.json"
    command = [BIN / "prefect", "work-pool", "create", "cluster", "--type", "kubernetes"]
    command += ["--base-job-template", str(template)]
    done = subprocess.run(command, env=server.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pools = {pool["name"]: pool for pool in server.ask("/work_pools/filter")}
    assert pools["cluster"]["type"] == "kubernetes"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "`epa deploy` needs a Prefect server: set PREFECT_API_URL"),
        ("http://me:very-secret@127.0.0.1:9/api", "no Prefect server answers at"),
    ],
)
def test_without_a_server_it_says_so(
    server: PrefectServer, tmp_path: Path, url: str, sentence: str
) -> None:
    done = deploy(server, write_run_file(tmp_path, 1), PREFECT_API_URL=url)
    assert done.returncode == 2
    assert done.stderr.startswith(f"epa: {sentence}")
    assert done.stderr.count("\n") == 1
    assert "very-secret" not in done.stderr


@pytest.mark.e2e
def test_a_password_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "epa:open sesame")
    (tmp_path / "home").mkdir()
    file = write_run_file(tmp_path, 1)
    with PrefectServer(tmp_path / "home") as server:
        done = deploy(server, file)
        assert done.returncode == 2
        assert "wants a password: set PREFECT_API_AUTH_STRING" in done.stderr
        done = deploy(server, file, PREFECT_API_AUTH_STRING="epa:open sesame")
        assert done.returncode == 0, done.stderr
