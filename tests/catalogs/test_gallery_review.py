"""The gallery's review in a real browser: marks, keys, notes, storage, review.csv and back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Browser, Page, needs_chromium, running

from catalogs.gallery import write_gallery
from catalogs.review_file import read_review
from catalogs.reviews import Decision
from catalogs.store import Store

pytestmark = [pytest.mark.browser, needs_chromium]

HOSTILE = "</script><img src=x onerror=window.hacked=1>"
IDS = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "'=quoted",
    'née; "q", 🎨',
    "tab\tand\nline",
    "esc\x1b[31m \u202egnp",
    HOSTILE,
]


def key_of(number: int) -> str:
    return f"{number:032x}"


def rows(**more: Any) -> list[dict[str, Any]]:
    return [
        {
            "item_id": item,
            "key": key_of(i),
            "title": f"Work {i}",
            "prompt": f"prompt {i}",
            "status": "done",
            "outputs": [],
            **more,
        }
        for i, item in enumerate(IDS)
    ]


def gallery(folder: Path, works: list[dict[str, Any]]) -> str:
    write_gallery(Store.open(str(folder)), works, title="Works")
    return (folder / "index.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.page() as page:
        page.view(1400, 900)
        yield page
        page.eval("0")
        assert page.errors == []
        assert page.eval("window.hacked") is None


def card(number: int) -> str:
    return f".card[data-index='{number}']"


def mark(page: Page, number: int, verdict: str) -> None:
    page.click(f"{card(number)} [data-verdict={verdict}]")


def tally(page: Page) -> str:
    return page.eval("document.querySelector('.tally').textContent")


def marked(page: Page) -> list[str | None]:
    """The verdict that each card shows."""
    return page.eval(
        "[...document.querySelectorAll('.card')].map(card =>"
        " card.querySelector('[data-verdict][aria-pressed=true]')?.dataset.verdict ?? null)"
    )


def downloaded(page: Page, folder: Path) -> Path:
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.click("[data-download]")
    file = folder / "review.csv"
    deadline = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < deadline, "nothing was downloaded"
        time.sleep(0.05)
    return file


def load(page: Page, file: Path) -> str:
    """Give a file to the page; what it says of it."""
    page.eval("document.querySelector('.said').textContent = ''")
    found = page.call("Runtime.evaluate", expression="document.querySelector('[type=file]')")
    page.call("DOM.enable")
    page.call("DOM.setFileInputFiles", files=[str(file)], objectId=found["result"]["objectId"])
    return page.wait("document.querySelector('.said').textContent")


def write(field: str, text: str) -> str:
    return (
        f"(field => {{ field.value = {json.dumps(text)};"
        " field.dispatchEvent(new Event('input', {bubbles: true})); })"
        f"(document.querySelector('dialog [data-field={field}]'))"
    )


def test_the_page_is_calm_until_a_review_begins(page: Page, tmp_path: Path) -> None:
    page.open(gallery(tmp_path, rows()))
    page.wait("document.querySelectorAll('.card').length === 7")
    assert page.eval("document.querySelectorAll('.verdicts').length") == 0
    assert page.eval("document.querySelector('.review').hidden")
    assert page.eval("document.querySelector('[name=mark]').closest('label').hidden")
    page.press("k", 75)
    page.click("[data-review]")
    assert page.eval("document.querySelector('[data-review]').ariaPressed") == "true"
    assert page.eval("document.querySelectorAll('.verdicts').length") == 7
    assert tally(page) == "Nothing marked yet"
    assert page.eval("document.querySelector('[data-download]').disabled")
    mark(page, 0, "keep")
    page.click("[data-review]")
    assert page.eval("document.querySelectorAll('.verdicts').length") == 0
    assert page.eval("location.hash") == ""


def test_marks_are_set_taken_back_counted_and_filtered(page: Page, tmp_path: Path) -> None:
    page.open(gallery(tmp_path, rows()))
    page.click("[data-review]")
    for number, verdict in ((0, "keep"), (1, "redo"), (2, "reject"), (2, "keep"), (3, "redo")):
        mark(page, number, verdict)
    mark(page, 3, "redo")
    assert marked(page) == ["keep", "redo", "keep", None, None, None, None]
    assert tally(page) == "3 marked: 2 keep, 1 redo, 0 reject"
    page.wait("/keep \\(2\\)/.test(document.querySelector('[name=mark]').textContent)")
    page.choose("[name=mark]", "unmarked")
    page.wait("document.querySelectorAll('.card').length === 4")
    page.choose("[name=mark]", "redo")
    page.wait("document.querySelectorAll('.card').length === 1")
    assert "mark=redo" in page.eval("location.hash")


def test_keys_mark_what_has_the_focus_or_the_mouse_and_what_is_open(
    page: Page, tmp_path: Path
) -> None:
    page.open(gallery(tmp_path, rows()))
    page.click("[data-review]")
    page.eval(f'document.querySelector("{card(1)} .frame").focus()')
    page.press("k", 75)
    page.eval("document.activeElement.blur()")
    page.hover(f"{card(2)} .frame")
    page.press("x", 88)
    page.eval("document.querySelector('[name=q]').focus()")
    page.press("r", 82)  # that is a letter of a search
    assert marked(page)[:3] == [None, "keep", "reject"]
    page.click(f"{card(0)} .title")
    page.wait("document.querySelector('dialog').open")
    page.press("r", 82)
    page.wait("document.querySelector('dialog [data-verdict=redo]').ariaPressed === 'true'")
    page.press("ArrowRight", 39)
    page.wait("document.querySelector('#detail-title').textContent === 'Work 1'")
    page.press("u", 85)
    page.press("Escape", 27)
    assert marked(page)[:3] == ["redo", None, "reject"]


def test_a_note_and_a_prompt_are_written_where_a_work_is_open(page: Page, tmp_path: Path) -> None:
    page.open(gallery(tmp_path, rows()))
    page.click("[data-review]")
    page.click(f"{card(0)} .title")
    fields = "[...document.querySelectorAll('dialog label')].filter(l => !l.hidden).length"
    page.wait("document.querySelector('dialog .marking')")
    assert page.eval(fields) == 0
    page.click("dialog [data-verdict=reject]")
    assert page.eval(fields) == 1
    page.click("dialog [data-verdict=redo]")
    assert page.eval(fields) == 2
    assert page.eval("document.querySelector('dialog [data-field=prompt]').value") == "prompt 0"
    page.eval("document.querySelector('dialog [data-field=note]').focus()")
    for key, code in (("x", 88), ("ArrowRight", 39)):
        page.press(key, code)  # these belong to the text
    assert page.eval("document.querySelector('#detail-title').textContent") == "Work 0"
    page.eval(write("note", f"=HYPERLINK(1)\nsecond {HOSTILE}"))
    page.eval(write("prompt", "the waves\nroll"))
    page.press("Escape", 27)
    page.wait("!document.querySelector('dialog').open")
    mark(page, 1, "redo")
    (first, second) = read_review(str(downloaded(page, tmp_path)), IDS, 200)
    assert (first.verdict, first.prompt) == ("redo", "the waves roll")
    assert first.note == f"=HYPERLINK(1)\nsecond {HOSTILE}"
    assert (second.verdict, second.prompt, second.note) == ("redo", "", "")
    page.click(f"{card(0)} .title")
    page.wait("document.querySelector('dialog [data-field=prompt]').value === 'the waves roll'")
    page.eval(write("prompt", " prompt 0 "))  # as it was
    page.press("Escape", 27)
    (tmp_path / "review.csv").unlink()
    assert read_review(str(downloaded(page, tmp_path)), IDS, 200)[0].prompt == ""


def test_hostile_ids_go_out_and_come_back(page: Page, tmp_path: Path) -> None:
    page.open(gallery(tmp_path, rows()))
    page.click("[data-review]")
    for number in range(len(IDS)):
        mark(page, number, ("keep", "reject")[number % 2])
    file = downloaded(page, tmp_path)
    data = file.read_text("utf-8-sig")
    assert "\x1b" not in data
    assert "\u202e" not in data
    decisions = read_review(str(file), IDS, 200)
    assert [decision.id for decision in decisions] == IDS
    assert [decision.key for decision in decisions] == [key_of(i) for i in range(len(IDS))]
    assert all(decision.reviewed_at.endswith("Z") for decision in decisions)
    before = marked(page)
    page.eval("localStorage.clear()")
    page.open(f"{(tmp_path / 'index.html').as_uri()}?fresh#review=1")
    page.wait("document.querySelectorAll('.verdicts').length === 7")
    assert set(marked(page)) == {None}
    assert load(page, file) == "7 marks loaded."
    assert marked(page) == before


def test_loading_says_what_it_leaves_out(page: Page, tmp_path: Path) -> None:
    page.open(gallery(tmp_path, rows()) + "#review=1")
    page.wait("document.querySelector('.verdicts')")
    mark(page, 3, "keep")
    lines = [
        "id;key;verdict;note;reviewed_at",
        f'\'=1+1;{key_of(0)};redo;"a;\nb";2026-01-01T00:00:00.000Z',
        f"nobody;{key_of(0)};redo;;",
        f"''=quoted;{key_of(9)};keep;;",
        f'"née; ""q"", 🎨";{key_of(3)};reject;;2000-01-01T00:00:00.000Z',
    ]
    file = tmp_path / "excel.csv"
    file.write_text("\r\n".join(lines), "utf-8")
    said = load(page, file)
    assert said == (
        "1 marks loaded; 1 left out, marked here since; 1 left out, of earlier versions; "
        "1 left out, of no work or verdict known here."
    )
    assert marked(page)[0] == "redo"
    assert marked(page)[3] == "keep"
    file.write_bytes("id,key,verdict\nnée,x,keep\n".encode("latin-1"))
    assert "is not UTF-8" in load(page, file)
    file.write_text("title,opinion\na,b\n")
    assert "no column id, key, verdict" in load(page, file)


def test_marks_are_kept_per_collection_and_version(page: Page, tmp_path: Path) -> None:
    place = gallery(tmp_path / "one", rows())
    page.open(place)
    page.click("[data-review]")
    mark(page, 0, "redo")
    mark(page, 1, "keep")
    page.open(gallery(tmp_path / "two", rows()) + "#review=1")
    page.wait("document.querySelector('.verdicts')")
    assert set(marked(page)) == {None}
    changed = rows()
    changed[0]["key"] = key_of(77)  # made anew since
    gallery(tmp_path / "one", changed)
    page.open(f"{place}#review=1")
    page.wait("document.querySelector('.verdicts')")
    assert marked(page)[:3] == [None, "keep", None]
    assert tally(page) == "1 marked: 1 keep, 0 redo, 0 reject"


def test_without_storage_it_works_in_memory_and_says_so(page: Page, tmp_path: Path) -> None:
    page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="Object.defineProperty(window, 'localStorage',"
        " {get() { throw new DOMException('no', 'SecurityError'); }});",
    )
    page.open(gallery(tmp_path, rows()))
    page.click("[data-review]")
    mark(page, 0, "reject")
    assert marked(page)[0] == "reject"
    assert "does not keep these marks" in page.eval("document.querySelector('.review').innerText")
    decisions = read_review(str(downloaded(page, tmp_path)), IDS, 200)
    assert [decision.verdict for decision in decisions] == ["reject"]


def test_another_tab_sees_a_mark(page: Page, browser: Browser, tmp_path: Path) -> None:
    place = gallery(tmp_path, rows()) + "#review=1"
    page.open(place)
    with browser.page() as other:
        other.view(1400, 900)
        other.open(place)
        other.wait("document.querySelector('.verdicts')")
        mark(other, 2, "reject")
    page.wait("document.querySelector('.tally').textContent.startsWith('1 marked')")
    assert marked(page)[2] == "reject"


def test_versions_under_several_settings_share_a_mark(page: Page, tmp_path: Path) -> None:
    cells = [
        {**rows()[0], "key": key_of(i), "cell": cell} for i, cell in enumerate(("p=0.4", "p=0.6"))
    ]
    page.open(gallery(tmp_path, cells))
    page.click("[data-review]")
    mark(page, 1, "redo")
    assert marked(page) == ["redo", "redo"]
    assert tally(page).startswith("1 marked")
    (only,) = read_review(str(downloaded(page, tmp_path)), IDS, 200)
    assert only == Decision(id=IDS[0], key=key_of(1), verdict="redo", reviewed_at=only.reviewed_at)


def test_rejected_works_are_shown_only_when_asked_for(page: Page, tmp_path: Path) -> None:
    works = rows()
    works[1] |= {"status": "skipped", "code": "rejected", "message": "melting hands"}
    page.open(gallery(tmp_path, works))
    page.wait("document.querySelectorAll('.card').length === 6")
    assert page.eval("document.querySelector('[name=shown]').value") == "6 works"
    assert page.eval("document.querySelector('.is-rejected').innerText").endswith("1")
    page.choose("[name=status]", "rejected")
    page.wait("document.querySelectorAll('.card').length === 1")
    assert "melting hands" in page.eval("document.querySelector('.card').innerText")


def test_earlier_versions_and_the_decision_are_shown_as_text(page: Page, tmp_path: Path) -> None:
    old = {
        "prompt": f"old {HOSTILE}",
        "note": f"hands {HOSTILE}",
        "finished_at": "2026-01-31T12:00:00.000000Z",
        "outputs": [{"name": "video.mp4", "path": "videos/a/b/video.mp4"}],
    }
    review = {"verdict": "keep", "note": f"better {HOSTILE}"}
    works = [{**rows()[0], "earlier": [old], "review": review}, rows()[1]]
    page.open(gallery(tmp_path, works))
    page.click(f"{card(0)} .title")
    page.wait("document.querySelector('.earlier')")
    text = page.eval("document.querySelector('dialog').innerText")
    for expected in (f"old {HOSTILE}", f"Redone: hands {HOSTILE}", f"keep: better {HOSTILE}"):
        assert expected in text
    video = page.eval("document.querySelector('.earlier video').src")
    assert video == (tmp_path / "videos/a/b/video.mp4").as_uri()
    page.press("ArrowRight", 39)
    page.wait("document.querySelector('#detail-title').textContent === 'Work 1'")
    assert not page.eval("document.querySelector('.earlier')")


def test_on_a_phone(page: Page, tmp_path: Path) -> None:
    page.view(390, 844, phone=True)
    page.open(gallery(tmp_path, rows()))
    page.tap("[data-review]")
    page.wait("document.querySelector('.verdicts')")
    page.tap(f"{card(0)} [data-verdict=redo]")
    page.wait("document.querySelector('[aria-pressed=true][data-verdict=redo]')")
    assert page.eval("document.documentElement.scrollWidth <= innerWidth")
    heights = page.eval(
        "[...document.querySelectorAll('.verdicts button, .review button')]"
        ".map(button => button.offsetHeight)"
    )
    assert min(heights) >= 36
