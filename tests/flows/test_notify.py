"""Whom a run tells that works failed, when, and in which words; nobody hears of it by a crash."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from paintings import tiny_run, write_paintings
from webhook_server import WebhookServer, receiving

from catalogs.errors import ConfigError
from flows.animate_collection import animate_collection
from flows.notify import message, notifying
from tasks.collection import Collection
from tasks.failures import TooManyFailures

pytestmark = pytest.mark.usefixtures("prefect_home")


@pytest.fixture
def hook(prefect_home: None) -> Any:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    with receiving() as server:
        block = CustomWebhookNotificationBlock(
            name="test", url=server.url, json_data={"subject": "{{subject}}", "text": "{{body}}"}
        )
        block.save("hook", overwrite=True)
        yield server


def collection(tmp_path: Path, block: str | None = "custom-webhook/hook", **notify: Any) -> Any:
    source = write_paintings(tmp_path / "in", 1)
    settings = {"block": block, **notify}
    return Collection.open(tiny_run(source, tmp_path / "out", title="mine", notify=settings))


def ended(**counts: int) -> Counter[tuple[str, str]]:
    return Counter(
        {
            ("done" if c == "done" else "failed", "" if c == "done" else c): n
            for c, n in counts.items()
        }
    )


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"done": 9, "too_small": 1}, 0),  # exactly what is allowed
        ({"done": 8, "too_small": 2}, 1),
        ({"numeric": 1}, 1),
        ({"done": 5}, 0),
        ({}, 0),
    ],
)
def test_more_than_the_ratio_is_told(
    tmp_path: Path, hook: WebhookServer, counts: dict[str, int], told: int
) -> None:
    with notifying(collection(tmp_path, failure_ratio=0.1), lambda: ended(**counts)):
        pass
    assert len(hook.bodies) == told


def test_what_raises_is_told_and_raised(tmp_path: Path, hook: WebhookServer) -> None:
    opened = collection(tmp_path)
    with pytest.raises(TooManyFailures, match="enough"):  # noqa: SIM117
        with notifying(opened, lambda: ended(done=9)):
            raise TooManyFailures("enough of <b>it</b>\n\x1b[31m https://me:secret@host/x")
    [told] = hook.bodies
    assert told["subject"] == "epa: mine: the run stopped, 0 of 9 works failed"
    assert "The run stopped: TooManyFailures: enough of ‹b›it‹/b›" in told["text"]
    assert "secret" not in told["text"]
    assert "\x1b" not in told["text"]


def test_an_interrupt_is_nobodys_business(tmp_path: Path, hook: WebhookServer) -> None:
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with notifying(collection(tmp_path), lambda: ended(numeric=5)):
            raise KeyboardInterrupt
    assert not hook.bodies


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("custom-webhook/nobody", "nobody"),
        ("no-such-type/hook", "no-such-type"),
        ("secret/password", "it is no notification block"),
    ],
)
def test_a_block_that_cannot_be_had_is_said_in_the_log(
    tmp_path: Path, prefect_home: None, caplog: pytest.LogCaptureFixture, block: str, said: str
) -> None:
    from prefect.blocks.system import Secret

    Secret(value="x").save("password", overwrite=True)
    with notifying(collection(tmp_path, block), lambda: ended(numeric=5)):
        pass
    [line] = [r.getMessage() for r in caplog.records if "nobody was told" in r.getMessage()]
    assert line.startswith(f"notify.block {block}: ")
    assert said in line


def test_a_webhook_that_fails_does_not_fail_the_run(
    tmp_path: Path, hook: WebhookServer, caplog: pytest.LogCaptureFixture
) -> None:
    hook.status = 500
    source = write_paintings(tmp_path / "in", 2)
    (source / "work-0001.png").write_bytes(b"no picture")
    settings = {"block": "custom-webhook/hook"}
    run = tiny_run(source, tmp_path / "out", notify=settings)
    assert animate_collection(run)["codes"] == {"decode_failed": 1}
    assert len(hook.bodies) == 1
    assert "1 of 2 works failed" in hook.bodies[0]["subject"]
    assert "nobody was told" in caplog.text
    assert "500" in caplog.text


def test_a_run_that_raises_tells(tmp_path: Path, hook: WebhookServer) -> None:
    """The true flow, stopped by `execution.max_failure_ratio`."""
    source = write_paintings(tmp_path / "in", 60)
    for number, file in enumerate(sorted(source.glob("*.png"))):
        file.write_bytes(b"letter %d" % number)
    run = tiny_run(source, tmp_path / "out", notify={"block": "custom-webhook/hook"})
    with pytest.raises(TooManyFailures):
        animate_collection(run)
    [told] = hook.bodies
    assert "the run stopped" in told["subject"]
    assert "decode_failed" in told["text"]


def test_without_a_block_nobody_is_told(tmp_path: Path, hook: WebhookServer) -> None:
    with notifying(collection(tmp_path, None), lambda: ended(numeric=5)):
        pass
    assert not hook.bodies


def test_many_codes_are_named_by_how_often(tmp_path: Path) -> None:
    subject, body = message(collection(tmp_path), ended(done=1, numeric=1, too_small=3))
    assert subject == "epa: mine: 4 of 5 works failed"
    assert body.index("- 3 too_small") < body.index("- 1 numeric")


@pytest.mark.parametrize("block", ["curators", "Custom Webhook/x", "a/b/c"])
def test_a_block_that_is_no_type_and_name_is_refused(tmp_path: Path, block: str) -> None:
    with pytest.raises(ConfigError, match=r"notify\.block.*custom-webhook/curators"):
        collection(tmp_path, block)
