"""The gallery: one static page beside the videos, which needs no server and no network.

The page is `index.html` at the root of a collection; what it loads lies under `gallery/`. Data
come as scripts, since a page opened from file:// may not fetch. Every file under `gallery/`
is named by its content: a second writing uploads only what changed, and no browser ever mixes
two versions. Catalog text reaches the page as escaped JSON and is set as text, never as markup.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogs import paths
from catalogs.gallery_rows import (
    DETAIL_FIELDS,
    LIST_FIELDS,
    STATES,
    detail_of,
    entry_of,
    plain,
    status_of,
    text_of,
)

if TYPE_CHECKING:
    from catalogs.store import Store

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("data.js", "cards.js", "compare.js", "detail.js", "main.js", "review.js")
PREVIEW_MODEL = "preview"

# Works per list script (about 300 bytes each: what a card shows) and per detail script (what
# only the detail view shows, loaded when it opens).
LIST_CHUNK = 2000
DETAIL_CHUNK = 200


def write_gallery(
    store: "Store",
    rows: Iterable[Mapping[str, Any]],
    *,
    title: str,
    run: Mapping[str, Any] | None = None,
    report: str | None = None,
) -> str:
    """Write the gallery of the given manifest rows; return the path of its page in the store.

    Rows keep their order; a field may be missing or None, and a row without a status counts as
    failed. A row may have `review`, the decision about it, and `earlier`, rows of earlier versions
    of its work with a `note`. Output paths are relative to the collection root. `run` may say
    `seconds` (wall clock) and `finished_at`; `report` is the path of a page to link to. The page is
    written last, so that it never names a file that is not there. Raises StoreError.
    """
    works = [dict(row) for row in rows]
    present = {entry.path for entry in store.list(paths.GALLERY)}
    wanted: set[str] = set()

    def publish(stem: str, suffix: str, text: str) -> str:
        data = text.encode("utf-8")
        digest = hashlib.sha256(data).hexdigest()
        path = paths.gallery_file(f"{stem}.{digest[:12]}.{suffix}")
        wanted.add(path)
        if path not in present:
            store.put(path, data, content_type=_CONTENT_TYPES[suffix])
        return path

    context = {
        **_summary(works, run or {}),
        "title": plain(title) or "Gallery",
        "report": report,
        "style": publish("gallery", "css", _template("gallery.css")),
        "icon": publish("icon", "svg", _template("icon.svg")),
        "scripts": [
            publish("gallery", "js", _program()),
            *(publish(stem, "js", text) for stem, text in _list_scripts(works, publish)),
        ],
    }
    page = _render(context).encode("utf-8", errors="replace")  # catalogs hold lone surrogates
    store.put(paths.INDEX, page, content_type=_CONTENT_TYPES["html"])
    store.delete(sorted(present - wanted))
    return paths.INDEX


_CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def script_json(value: Any) -> str:
    """Return JSON that is safe inside a script in a page: pure ASCII, with no `<`, `>` or `&`."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    # Only string contents can hold these characters, so escaping them keeps the JSON's value.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _list_scripts(works: list[dict[str, Any]], publish: Any) -> Iterator[tuple[str, str]]:
    """Yield (stem, text) of the list scripts, publishing the detail scripts that each names."""
    for start in range(0, len(works), LIST_CHUNK):
        chunk = works[start : start + LIST_CHUNK]
        details = [
            publish("detail", "js", _call("details", DETAIL_FIELDS, map(detail_of, part)))
            for part in _parts(chunk, DETAIL_CHUNK)
        ]
        more = {"start": start, "details": details, "per": DETAIL_CHUNK}
        yield "works", _call("works", LIST_FIELDS, map(entry_of, chunk), **more)


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _call(name: str, fields: Sequence[str], entries: Iterable[dict[str, Any]], **more: Any) -> str:
    """Return a script handing the entries over as rows of values: field names are sent once."""
    rows = [[entry[field] for field in fields] for entry in entries]
    return f"epaGallery.{name}({script_json({**more, 'fields': fields, 'rows': rows})});\n"


def _summary(works: list[dict[str, Any]], run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures in the page's header."""
    states = Counter(status_of(row) for row in works)
    models = Counter(str(row["model"]) for row in works if row.get("model"))
    durations = [plain(row.get("duration")) for row in works if status_of(row) == "done"]
    return {
        "total": len(works),
        "items": len({row.get("item_id") for row in works}),
        "states": [(state, states[state]) for state in STATES if states[state]],
        "models": [name for name, _ in models.most_common()],
        "preview": PREVIEW_MODEL in models,
        "mixed": len(models) > 1,
        "video_time": _spell(sum(d for d in durations if isinstance(d, int | float))),
        "run_time": _spell(plain(run.get("seconds")) or 0),
        "finished": (text_of(run.get("finished_at")) or "")[:10],
    }


def _spell(seconds: float) -> str:
    """Return a length of time in its two largest units, empty for nothing: `1 h 12 min`."""
    whole = round(seconds)
    if whole < 1:
        return f"{seconds:.1f} s" if seconds >= 0.05 else ""
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text("utf-8")


def _program() -> str:
    """Return the page's program: its parts in one closure, nothing global but epaGallery."""
    return '(() => {\n"use strict";\n' + "\n".join(map(_template, SCRIPTS)) + "})();\n"


def _render(context: Mapping[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("index.html.j2").render(context)
