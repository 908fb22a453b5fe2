"""The gallery of a run with a matrix, in a real browser: versions of a painting, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Browser, Page, needs_chromium, running
from local_runner import run_locally
from paintings import tiny_run, write_paintings

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
pytestmark = [pytest.mark.browser, needs_chromium]

VARIANTS = ["baseline", "V", "V+S"]
LABELS = [f"variant={name}" for name in VARIANTS]
CARDS = "document.querySelectorAll('.card')"
VIDEOS = "[...document.querySelectorAll('.wall video')]"


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three paintings in three variants, one of them without a readable picture."""
    root = tmp_path_factory.mktemp("matrix")
    source = write_paintings(root / "in", 3)
    (source / "work-0002.png").write_bytes(b"no picture")
    run_locally(tiny_run(source, root / "out", matrix={"variant": VARIANTS}))
    return root / "out"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, collection: Path) -> Iterator[Page]:
    with browser.page() as page:
        page.view(1400, 900)
        page.open((collection / "index.html").as_uri())
        page.wait(f"{CARDS}.length === 9")
        yield page
        page.eval("0")  # takes in what has been reported by now
        assert page.errors == []


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.eval(
        f"[...document.querySelectorAll('{selector}')].map(n => n.textContent)"
    )
    return found


def places(page: Page) -> list[list[float]]:
    """Left edges and top edges of the cards."""
    boxes = f"[...{CARDS}].map(n => n.getBoundingClientRect())"
    found: list[list[float]] = page.eval(f"(b => [b.map(x => x.left), b.map(x => x.top)])({boxes})")
    return found


def test_a_painting_has_a_row_and_a_version_its_column(page: Page) -> None:
    assert texts(page, ".card .cell") == LABELS * 3
    titles = texts(page, ".card .title")
    assert [titles[i : i + 3] for i in (0, 3, 6)] == [[titles[i]] * 3 for i in (0, 3, 6)]
    lefts, tops = places(page)
    assert len(set(lefts)) == len(set(tops)) == 3
    assert lefts[:3] == lefts[3:6] == lefts[6:]
    page.view(500, 900)  # room for two columns: a painting still begins a row of its own
    page.wait("document.querySelector('.wall').style.getPropertyValue('--columns') === '2'")
    lefts, tops = places(page)
    assert lefts[0] == lefts[3] == lefts[6] < lefts[1]
    assert tops[0] < tops[2] < tops[3] < tops[5] < tops[6]
    figures = page.eval("[...document.querySelectorAll('.figure')].map(n => n.innerText)")
    assert any(set(figure.split()) == {"3", "paintings"} for figure in figures)


def test_filters_by_cell_and_variant(page: Page) -> None:
    # Each cell is one variant here: one of the two filters is enough.
    assert page.eval("document.querySelector('[name=variant]').closest('label').hidden")
    page.choose("[name=cell]", LABELS[1])
    page.wait(f"{CARDS}.length === 3")
    assert texts(page, ".card .cell") == [LABELS[1]] * 3
    # With one version of each there is nothing to set side by side.
    assert not page.eval("document.querySelector('.wall').classList.contains('in-rows')")


def test_versions_play_together_round_after_round(page: Page) -> None:
    page.eval(f"[...{CARDS}].find(n => n.querySelector('img')).querySelector('.compare').click()")
    page.wait(f"{VIDEOS}.length === 3")
    assert texts(page, ".card .cell") == LABELS
    assert page.eval("document.querySelector('.compared h2').textContent").startswith("Work ")
    assert page.eval("document.querySelector('form.tools').hidden")
    # A video ends, and all begin anew at one moment: never is one a round ahead.
    page.eval(
        "window.begun = [];"
        f"{VIDEOS}.forEach((v, i) => v.addEventListener('play', () => window.begun.push(i)))"
    )
    page.wait("window.begun.length >= 9")
    begun = page.eval("window.begun")
    assert all(sorted(begun[i : i + 3]) == [0, 1, 2] for i in range(0, 9, 3))
    page.click(".compared [data-play]")
    page.wait(f"{VIDEOS}.every(v => v.paused)")
    page.click(".compared [data-all]")
    page.wait(f"{CARDS}.length === 9")
    page.hover(".masthead h1")  # the mouse may rest on a card, which then plays
    page.wait(f"{VIDEOS}.length === 0")
    assert page.eval("location.hash") == ""


def test_the_comparison_has_an_address_and_back_leaves_it(page: Page, collection: Path) -> None:
    page.click(".card .compare")
    page.wait(f"{CARDS}.length === 3")
    address = page.eval("location.hash")
    page.eval("history.back()")
    page.wait(f"{CARDS}.length === 9")
    page.call("Page.navigate", url="about:blank")
    page.open(f"{(collection / 'index.html').as_uri()}{address}")
    page.wait(f"{CARDS}.length === 3 && !document.querySelector('.compared').hidden")


@pytest.mark.parametrize("rest", ["", "&cell=variant%3DV"])
def test_an_old_address_of_a_lost_painting_shows_the_wall(
    page: Page, collection: Path, rest: str
) -> None:
    page.call("Page.navigate", url="about:blank")
    page.open(f"{(collection / 'index.html').as_uri()}#item=gone{rest}")
    page.wait(f"{CARDS}.length === {9 if not rest else 3}")
    assert not page.eval("document.querySelector('form.tools').hidden")
    assert page.eval("document.querySelector('.compared').hidden")
    assert page.eval("document.getElementById('nothing').hidden")
    assert page.eval("location.hash") == rest.replace("&", "#")
    page.eval("location.hash = '#item=gone'")  # the page is there already
    page.wait(f"{CARDS}.length === 9 && !document.querySelector('form.tools').hidden")


def test_reduced_motion_compares_when_asked(page: Page) -> None:
    page.media(prefers_reduced_motion="reduce")
    page.eval(f"[...{CARDS}].find(n => n.querySelector('img')).querySelector('.compare').click()")
    page.wait(f"{CARDS}.length === 3")
    assert page.eval("document.querySelectorAll('.wall video').length") == 0
    page.click(".compared [data-play]")
    page.wait(f"{VIDEOS}.length === 3 && {VIDEOS}.every(v => !v.paused)")


def test_each_version_opens_as_itself(page: Page, collection: Path) -> None:
    page.click(".card:nth-child(2) .title")
    page.wait("document.querySelector('dialog .files, dialog .sums')")
    assert texts(page, "dialog .cell") == [LABELS[1]]
    address = page.eval("location.hash")
    page.press("ArrowRight", 39)
    page.wait(f"document.querySelector('dialog .cell').textContent === '{LABELS[2]}'")
    page.call("Page.navigate", url="about:blank")
    page.open(f"{(collection / 'index.html').as_uri()}{address}")
    page.wait(f"document.querySelector('dialog .cell')?.textContent === '{LABELS[1]}'")


def test_other_orders_hang_as_before(page: Page) -> None:
    page.choose("[name=sort]", "motion")
    page.wait("!document.querySelector('.wall').classList.contains('in-rows')")
    assert page.eval(f"{CARDS}.length") == 9
