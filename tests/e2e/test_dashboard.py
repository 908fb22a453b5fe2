"""What a real Prefect server, a browser, Prometheus and a webhook see of a run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import workers
from chromium import needs_chromium, running
from dashboard import artifacts, figure, free_port, run_called, scrape
from paintings import write_run_file
from prefect_server import PrefectServer
from webhook_server import receiving

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(600)]
EPA = [sys.executable, "-c", "from flows.cli import main; main()"]
WORKS, BAD = 24, (3, 7, 11, 15)
BLOCK = """
from prefect.blocks.notifications import CustomWebhookNotificationBlock
CustomWebhookNotificationBlock(
    name="curators", url="{url}", json_data={{"subject": "{{{{subject}}}}", "text": "{{{{body}}}}"}}
).save("{name}")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with PrefectServer(tmp_path_factory.mktemp("prefect")) as server:
        yield server


def paintings_and_run(folder: Path, bad: tuple[int, ...] = BAD, **settings: Any) -> Path:
    """A run of 24 works, of which some are no pictures."""
    file = write_run_file(folder, WORKS, **settings)
    for number in bad:
        (folder / "in" / f"work-{number:04d}.png").write_bytes(b"letter %d" % number)
    return file


def save_block(server: PrefectServer, name: str, url: str) -> None:
    code = BLOCK.format(url=url, name=name)
    subprocess.run([sys.executable, "-c", code], env=server.env, check=True, capture_output=True)


def shard_rows(server: PrefectServer, flow_run_id: str) -> list[dict[str, Any]]:
    table = artifacts(server, flow_run_id).get("epa-shards")
    return json.loads(table["data"]) if table else []


class Watched:
    """A slow run of `epa run` on a server: what was seen of it while it went on, and after."""

    def __init__(self, server: PrefectServer, folder: Path):
        self.server = server
        self.title = "Night & <day> *one*"
        ports = free_port(), free_port()
        with receiving() as hook:
            save_block(server, "curators", hook.url)
            self.file = paintings_and_run(
                folder,
                title=self.title,
                execution={"shard_size": 6, "metrics_port": ports[0]},
                notify={"block": "custom-webhook/curators", "failure_ratio": 0.1},
            )
            env = workers.environment(**server.env)
            env |= {"EPA_FAULTS_SLOW": "1", "PREFECT_CLIENT_METRICS_ENABLED": "true"}
            env |= {"PREFECT_CLIENT_METRICS_PORT": str(ports[1])}
            self.process = subprocess.Popen(
                [*EPA, "run", str(self.file)], env=env, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            self.during: list[list[dict[str, Any]]] = []
            self.progress: list[float] = []
            self.scrapes: list[tuple[str, str]] = []
            watching = [
                threading.Thread(target=self._watch_pages, daemon=True),
                threading.Thread(target=self._scrape, args=(ports,), daemon=True),
            ]
            for thread in watching:
                thread.start()
            self.out, self.err = self.process.communicate(timeout=400)
            for thread in watching:
                thread.join()
            self.told = hook.bodies
        self.run = run_called(server, self.title)
        self.artifacts = artifacts(server, self.run["id"])

    def _watch_pages(self) -> None:
        while self.process.poll() is None:
            time.sleep(0.5)
            runs = [r for r in self.server.ask("/flow_runs/filter") if r["name"] == self.title]
            for run in runs:
                self.during.append(shard_rows(self.server, run["id"]))
                if progress := artifacts(self.server, run["id"]).get("epa-videos"):
                    self.progress.append(float(progress["data"]))

    def _scrape(self, ports: tuple[int, int]) -> None:
        while self.process.poll() is None:
            time.sleep(0.5)
            try:
                texts = [scrape(port) for port in ports]
            except OSError:
                continue
            self.scrapes.append((texts[0], texts[1]))


@pytest.fixture(scope="module")
def watched(server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return Watched(server, tmp_path_factory.mktemp("run"))


def test_the_run_itself(watched: Watched) -> None:
    assert watched.process.returncode == 1, watched.err  # some works failed
    assert "20 of 24 works done" in watched.out
    assert watched.run["state"]["type"] == "COMPLETED"
    tags = {f"collection: {watched.title}", "model: preview", "variant: V+S"}
    assert set(watched.run["tags"]) == tags


def test_the_table_of_shards_grows_while_the_run_goes_on(watched: Watched) -> None:
    totals = [rows[0] for rows in watched.during if rows]
    assert {total["shard"] for total in totals} == {"all"}
    done = [total["done"] for total in totals]
    assert done == sorted(done)
    assert len(set(done)) >= 3, done  # seen at the start, in the middle, at the end
    assert any(0 < count < 20 for count in done)
    working = [rows for rows in watched.during if rows and 0 < rows[0]["done"] < 20]
    assert {"at work", "ended", "waiting"} & {row["state"] for row in working[0][1:]}


def test_the_table_of_shards_tells_what_came_of_each(watched: Watched) -> None:
    total, *rows = json.loads(watched.artifacts["epa-shards"]["data"])
    assert (total["works"], total["done"], total["failed"]) == (24, 20, "4 decode_failed")
    assert total["GPU memory"] == ""  # there is none
    assert sum(row["works"] for row in rows) == 24
    assert sum(row["done"] for row in rows) == 20
    assert {row["state"] for row in rows} == {"ended"}
    with_failures = [bool(row["failed"]) for row in rows]
    assert with_failures == sorted(with_failures, reverse=True)
    assert all(float(row["seconds per work"]) > 0 for row in rows if row["done"])


def test_progress_of_each_pass(watched: Watched) -> None:
    for key, said in (("epa-proxies", "20 drawn, 4 failed"), ("epa-videos", "20 done")):
        assert float(watched.artifacts[key]["data"]) == 100
        assert said in watched.artifacts[key]["description"]
    assert watched.progress == sorted(watched.progress)
    assert any(0 < percent < 100 for percent in watched.progress), watched.progress


def test_the_figures_over_http(watched: Watched) -> None:
    assert watched.scrapes, "nothing was served while the run went on"
    for served in (0, 1):  # by execution.metrics_port, by Prefect's own server
        texts = [pair[served] for pair in watched.scrapes]
        done = [figure(text, 'epa_works_total{code="",status="done"}') for text in texts]
        assert done == sorted(done)
        assert 0 < done[-1] <= 20
        last = texts[-1]
        assert figure(last, 'epa_works_total{code="decode_failed",status="failed"}') == 4
        assert figure(last, 'epa_stage_seconds_count{stage="animate"}') == done[-1]
        assert figure(last, 'epa_stage_seconds_sum{stage="animate"}') > 0
        # The model is slow here, so pictures wait for it: as many as the setting allows.
        ready = [figure(text, 'epa_queue_depth{queue="fetch"}') for text in texts]
        assert max(ready) in (2, 3)
        assert 'epa_queue_depth{queue="finish"}' in last
        assert figure(last, 'epa_gpu_memory_bytes{kind="peak"}') == 0
        assert 'epa_gpu_memory_bytes{kind="now"} 0.0' in last


def test_the_webhook_is_told_once(watched: Watched) -> None:
    [told] = watched.told
    assert told["subject"] == "epa: Night & ‹day› *one*: 4 of 24 works failed"
    assert "- 4 decode_failed" in told["text"]
    assert watched.run["id"] in told["text"]
    assert f"epa status {watched.file.parent / 'out'}" in told["text"]
    assert "index.html" in told["text"]


def test_the_summary_links_to_what_there_is(watched: Watched) -> None:
    text = watched.artifacts["epa-summary"]["data"]
    gallery = watched.file.parent / "out" / "index.html"
    assert f"(<{gallery.as_uri()}>)" in text
    assert "- 4 `decode_failed` The file cannot be read as a picture." in text
    assert "| done | 20 |" in text
    report = watched.file.parent / "out" / "report.html"
    assert report.is_file()
    assert f"- Report: [{report}](<{report.as_uri()}>)" in text.replace("\\", "")


def test_a_run_with_nothing_to_do_is_shown_too(watched: Watched) -> None:
    out = watched.file.parent / "out"
    run_file = watched.file.with_name("AGAIN.yaml")
    run_file.write_text(watched.file.read_text().replace(watched.title, "again"))
    env = watched.server.env
    done = subprocess.run([*EPA, "run", str(run_file)], env=env, capture_output=True, text=True)
    assert "Nothing to do" in done.stdout, done.stderr
    run = run_called(watched.server, "again")
    assert "collection: again" in run["tags"]
    [summary] = artifacts(watched.server, run["id"]).values()
    assert "| to do | nothing |" in summary["data"]
    assert f"(<{(out / 'report.html').as_uri()}>)" in summary["data"]


@needs_chromium
@pytest.mark.browser
@pytest.mark.parametrize("ui", ["", "/v2"], ids=["V1", "V2"])
def test_the_pages_in_a_browser(watched: Watched, tmp_path: Path, ui: str) -> None:
    base = watched.server.url.removesuffix("/api") + ui
    page_of = {key: f"/artifacts/artifact/{a['id']}" for key, a in watched.artifacts.items()}
    with running(tmp_path / "profile") as browser, browser.page() as page:
        page.view(1400, 1000)

        def shows(address: str, *texts: str) -> None:
            page.open(base + address)
            for text in texts:
                wanted = json.dumps(text)
                page.wait(f"document.body.innerText.includes({wanted})", seconds=40)

        shows(f"/runs/flow-run/{watched.run['id']}", watched.title, "Completed")
        page.screenshot(tmp_path / "run.png")
        text = page.eval("document.body.innerText")
        assert "collection: Night & <day> *one*" in text
        assert "Upgrade" not in text  # no promotion
        shows(page_of["epa-shards"], "seconds per work", "4 decode_failed", "GPU memory", "ended")
        page.screenshot(tmp_path / "shards.png")
        shows(page_of["epa-videos"], "Progress: 100%", "20 done")
        gallery = str(watched.file.parent / "out" / "index.html")
        shows(page_of["epa-summary"], "The file cannot be read as a picture.", gallery)
        page.screenshot(tmp_path / "summary.png")
        shows(page_of["epa-first-works"], "The first 20 of 20 works done")
        image = "document.querySelector('img[alt=\"contact sheet\"]')"
        page.wait(f"{image} && {image}.complete && {image}.naturalWidth > 900")
        page.screenshot(tmp_path / "first-works.png")
