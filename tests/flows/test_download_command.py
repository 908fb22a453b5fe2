"""`epa catalog download` as a process: what it says, kills, interrupts, two at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from downloads import command, slow, write_table
from picture_server import Asked, PictureServer, png

from catalogs.catalog import read_catalog


def test_the_command_reports_and_exits(epa: Any, server: PictureServer, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "title": "A", "image": server.picture("/a", png(1))},
        {"id": "b\x1b[31m", "title": "B", "image": server.url("/none")},
    ]
    source, out = write_table(tmp_path, rows), tmp_path / "out"
    good = epa(*command(server, source, out, "--where", "title = 'A'")[1:])
    assert good.code == 0, good.err
    assert "pictures fetched: 1" in good.out
    part = epa(*command(server, source, out)[1:])
    assert part.code == 1
    assert "left out http_404: 1" in part.out
    assert "here already: 1" in part.out
    assert "left-out.csv" in part.out
    assert "\x1b" not in part.out
    assert epa("catalog", "check", out / "catalog.parquet").code == 0


def test_wrong_calls_are_one_sentence(epa: Any, server: PictureServer, tmp_path: Path) -> None:
    source = write_table(tmp_path, [{"id": "a", "image": server.picture("/a", png(1))}])
    blocker = tmp_path / "file"
    blocker.write_text("")
    for arguments in (
        (source, "-o", tmp_path / "out", "--allow-host", "http://x"),
        (source, "-o", tmp_path / "out", "--contact", "a\nb"),
        (source, "-o", "http://example.org/out"),
        (source, "-o", blocker),
        (tmp_path / "none.csv", "-o", tmp_path / "out"),
    ):
        answer = epa("catalog", "download", *arguments)
        assert answer.code == 2, arguments
        assert answer.err.startswith("epa: ")
        assert len(answer.err.splitlines()) == 1
    assert epa("catalog", "download", source, "-o", tmp_path / "out").code == 1  # not allowed
    assert not server.counts


def test_it_starts_without_torch_and_prefect(server: PictureServer, tmp_path: Path) -> None:
    source = write_table(tmp_path, [{"id": "a", "image": server.picture("/a", png(1))}])
    words = command(server, source, tmp_path / "out")
    code = (
        f"import sys; sys.argv={['epa', *words[1:]]!r}\n"
        "from flows.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch','prefect','diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def slow_pictures(server: PictureServer, count: int) -> list[dict[str, Any]]:
    def route(asked: Asked, number: int) -> None:
        time.sleep(0.05)
        asked.answer(200, png(number))

    for number in range(count):
        server.routes[f"/{number}"] = lambda asked, n=number: route(asked, n)
    return [{"id": str(number), "image": server.url(f"/{number}")} for number in range(count)]


def check_whole(out: Path, count: int) -> None:
    table = read_catalog(out / "catalog.parquet")
    assert table.num_rows == count
    for row in table.to_pylist():
        assert Path(row["image_uri"]).read_bytes() == png(int(row["id"]))


def test_kill_in_the_middle_loses_only_what_was_in_flight(
    server: PictureServer, tmp_path: Path
) -> None:
    count, workers = 60, 3
    source, out = write_table(tmp_path, slow_pictures(server, count)), tmp_path / "out"
    words = command(server, source, out, "--workers", str(workers), "--per-host", "3")
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while len(list(out.glob("copies/*/*.json"))) < 12:
            assert first.poll() is None
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGKILL)
    finally:
        first.kill()
        first.wait()
    recorded = len(list(out.glob("copies/*/*.json")))
    assert 12 <= recorded < count
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"here already: {recorded}" in done.stdout
    assert server.counts.total() <= count + workers
    check_whole(out, count)


def test_two_at_once_do_no_harm_and_share_the_work(server: PictureServer, tmp_path: Path) -> None:
    count = 60
    source, out = write_table(tmp_path, slow_pictures(server, count)), tmp_path / "out"
    words = command(server, source, out, "--workers", "2")
    both = [
        subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)
    ]
    for process in both:
        _, told = process.communicate(timeout=240)
        assert process.returncode == 0, told
    check_whole(out, count)
    assert len(list((out / "images").iterdir())) == count
    assert server.counts.total() < 1.5 * count


def test_an_interrupt_ends_soon(server: PictureServer, tmp_path: Path) -> None:
    server.routes |= {f"/{number}": slow for number in range(4)}
    rows = [{"id": str(number), "image": server.url(f"/{number}")} for number in range(4)]
    source, out = write_table(tmp_path, rows), tmp_path / "out"
    process = subprocess.Popen(
        command(server, source, out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A test run in the background may have been told to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        while not server.counts:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        # The pictures under way alone would take two minutes.
        assert process.wait(timeout=40) != 0
    finally:
        process.kill()
        process.wait()
