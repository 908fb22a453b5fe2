"""What lies in deploy/ and cannot be run everywhere, held against published schemas."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect_server import BIN

DEPLOY = Path(__file__).parents[2] / "deploy"


def compose() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return tree


def judged_by_schema(file: Path) -> subprocess.CompletedProcess[str]:
    checker = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", file]
    return subprocess.run(checker, capture_output=True, text=True)


def test_the_compose_file_keeps_to_the_published_schema(tmp_path: Path) -> None:
    judged = judged_by_schema(DEPLOY / "compose.yaml")
    assert judged.returncode == 0, judged.stdout + judged.stderr
    wrong = compose()
    wrong["services"]["worker"]["shm_siz"] = "2gb"
    file = tmp_path / "compose.yaml"
    file.write_text(yaml.safe_dump(wrong))
    assert "shm_siz" in judged_by_schema(file).stdout


def test_the_compose_file_names_what_there_is() -> None:
    tree = compose()
    stages = re.findall(r"^FROM \S+ AS (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    services = tree["services"]
    for name, service in services.items():
        for file in service.get("env_file", []):
            assert (DEPLOY / file).exists(), f"{name}: {file}"
        if "build" in service:
            assert service["build"]["target"] in stages
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source.startswith("$") or source in tree["volumes"], f"{name}: {source}"
    assert services["gpu-worker"]["profiles"] == ["gpu"]
    # No secret has a value that somebody could leave as it is.
    for line in (DEPLOY / "compose.yaml").read_text().splitlines():
        if re.search(r"(PASSWORD|SECRET|AUTH)\w*:? ", line) and "${" in line:
            assert ":?" in line, line


def test_the_dockerfile_is_sound() -> None:
    linter = shutil.which("hadolint", path=str(BIN))
    if linter is None:
        pytest.skip("there is no hadolint for this system")
    judged = subprocess.run([linter, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout
    text = (DEPLOY / "Dockerfile").read_text()
    last = text.rpartition("FROM")[2]
    assert "USER 1000" in last
    assert re.search(r"apt-get install .*\bgcc libc6-dev\b", last), "compile needs them on a GPU"
    pins = re.findall(r"pip install(?! -c constraints.txt)", text)
    assert not pins, "installed without constraints.txt"


def test_the_script_is_sound() -> None:
    script = DEPLOY / "local.sh"
    subprocess.run(["bash", "-n", script], check=True)
    checker = shutil.which("shellcheck")
    if checker is None:
        pytest.skip("shellcheck is not installed")
    command = [checker, "-x", "-P", str(DEPLOY), script]
    judged = subprocess.run(command, capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout


@pytest.mark.parametrize("file", ["server.env", "worker.env"])
def test_every_setting_is_one_that_prefect_knows(file: str) -> None:
    from prefect import settings

    lines = (DEPLOY / file).read_text().splitlines()
    names = [line.partition("=")[0] for line in lines if line and not line.startswith("#")]
    ours = [name for name in names if name.startswith("PREFECT_")]
    assert ours
    for name in ours:
        assert hasattr(settings, name), name
    assert {"DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED"} <= set(names)


def test_the_deployments_are_flows_and_their_parameters() -> None:
    from prefect import Flow

    entries = yaml.safe_load((DEPLOY / "prefect.yaml").read_text())["deployments"]
    names = {entry["name"] for entry in entries}
    assert names == {"animate-collection", "animate-shard", "evaluate", "maintenance"}
    for entry in entries:
        module, _, function = entry["entrypoint"].rpartition(".")
        flow = getattr(import_module(module), function)
        assert isinstance(flow, Flow)
        assert flow.name == entry["name"]
        # The server takes any name of a parameter, and the run then fails for it.
        assert set(entry["parameters"]) <= set(inspect.signature(flow.fn).parameters)
        variables = entry["work_pool"]["job_variables"]["env"]
        assert variables["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
        assert variables["DO_NOT_TRACK"] == "1"
        assert entry["tags"] == ["epa"]  # what the automations look for


def job(**values: Any) -> dict[str, Any]:
    """The Kubernetes job that Prefect's own worker makes of the template."""
    pytest.importorskip("prefect_kubernetes")
    from prefect.client.schemas.objects import Flow, FlowRun
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    template = json.loads((DEPLOY / "kubernetes" / "base-job-template.json").read_text())
    flow_id = uuid4()
    run = FlowRun(id=uuid4(), flow_id=flow_id, name="Sample works", tags=["epa"])

    async def made() -> dict[str, Any]:
        job = await KubernetesWorkerJobConfiguration.from_template_and_values(template, values)
        job.prepare_for_flow_run(run, flow=Flow(id=flow_id, name="animate-shard"))
        return job.job_manifest

    # Nobody is asked, but the client wants an address to be asked at.
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        return asyncio.run(made())


def test_the_kubernetes_job_keeps_to_the_published_schema() -> None:
    validator = pytest.importorskip("kubernetes_validate")
    made = job(env={"DO_NOT_TRACK": "1"}, gpu=2)
    pod = made["spec"]["template"]["spec"]
    # Prefect's worker wants these two where Kubernetes has no such fields, and drops them.
    assert (pod.pop("parallelism"), pod.pop("completions")) == (1, 1)
    validator.validate(made, "1.31", strict=True)
    [container] = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert container["envFrom"] == [{"secretRef": {"name": "epa-credentials"}}]
    assert {"name": "DO_NOT_TRACK", "value": "1"} in container["env"]
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert pod["securityContext"]["runAsNonRoot"] is True
    [shm] = pod["volumes"]
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}
    container["resources"]["limit"] = {}
    with pytest.raises(validator.ValidationError, match="limit"):
        validator.validate(made, "1.31", strict=True)
