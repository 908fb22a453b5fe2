"""Which checks a folder of recorded cases calls for; what cannot be checked is a failure too."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from animate_anything_case import AnimateAnythingCase
from animate_anything_stages import STAGES
from animate_anything_whole import whole
from cinemo_case import CinemoCase
from cinemo_stages import stages as cinemo_stages
from consisti2v_case import ConsistI2VCase
from consisti2v_stages import STAGES as CONSISTI2V_STAGES
from consisti2v_whole import WHOLE as CONSISTI2V_WHOLE
from golden_case import GoldenCase, Recorded, check_files, check_prefixes, read_facts
from sdxl_refiner_case import RefinerCase
from sdxl_refiner_stages import stages

Check = tuple[str, Callable[[], None], GoldenCase | None]

#: Kinds that other tests check, as they lie in tests/golden; no other recordings of them.
ELSEWHERE = {"metrics": "tests/epa_core/test_quality_measures.py"}
_OURS = Path(__file__).parents[2] / "golden"


def _fail(sentence: str) -> None:
    raise AssertionError(sentence)


def _animate_anything(folder: Path) -> Iterator[Check]:
    case = AnimateAnythingCase(folder, read_facts(folder))
    for name, check in {"files": check_files, **STAGES, **whole(case)}.items():
        yield name, partial(check, case), case


def _consisti2v(folder: Path) -> Iterator[Check]:
    case = ConsistI2VCase(folder, read_facts(folder))
    for name in ("scalars", "epa", "frameinit", "both"):
        case.facts[name]
    for name, check in {"files": check_files, **CONSISTI2V_STAGES, **CONSISTI2V_WHOLE}.items():
        yield name, partial(check, case), case


def _cinemo(folder: Path) -> Iterator[Check]:
    case = CinemoCase(folder, read_facts(folder))
    for name, check in [("files", check_files), *cinemo_stages(case)]:
        yield name, partial(check, case), case


def _sdxl_refiner(folder: Path) -> Iterator[Check]:
    facts = read_facts(folder)
    whole = GoldenCase(folder, facts)
    yield "files", partial(check_files, whole), whole
    entries = [Recorded(entry, f"{folder}/case.json, cases") for entry in facts["cases"]]
    assert entries, f"{folder}/case.json lists no cases"
    names = {entry["name"] for entry in entries}
    yield "names", partial(check_prefixes, whole, names), whole
    for entry in entries:
        case = RefinerCase(folder, entry, checkpoint=facts["checkpoint"])
        for name, check in stages(case).items():
            yield f"{entry['name']}/{name}", partial(check, case), case


_KINDS: dict[str, Callable[[Path], Iterator[Check]]] = {
    "animate_anything": _animate_anything,
    "consisti2v": _consisti2v,
    "cinemo": _cinemo,
    "sdxl_refiner": _sdxl_refiner,
}


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _of_case(kind: str, folder: Path) -> Iterator[Check]:
    name = f"{kind}/{folder.name}"
    try:
        for check, run, case in list(_KINDS[kind](folder)):
            yield f"{name}/{check}", run, case
    except AssertionError as error:  # the case cannot even be opened
        yield f"{name}/open", partial(_fail, str(error)), None


def _unchecked(folder: Path) -> list[str]:
    """Files of a kind checked elsewhere that are not the very ones which are checked there."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != "README.md")
    found = []
    for path in sorted(files):
        name = path.relative_to(folder)
        ours = _OURS / folder.name / name
        if not ours.is_file() or ours.read_bytes() != path.read_bytes():
            found.append(name.as_posix())
    return found


def checks_of(golden: Path) -> Iterator[Check]:
    """(name, check, case) of all that lies in a folder KIND/CASE/; never none."""
    if not golden.is_dir():
        yield "golden", partial(_fail, f"{golden} is no folder"), None
        return
    kinds = [f for f in _folders(golden) if f.name not in ELSEWHERE or _unchecked(f)]
    if not kinds:
        yield "golden", partial(_fail, f"{golden} holds no cases"), None
    for folder in kinds:
        kind = folder.name
        if kind in ELSEWHERE:
            what = f"{folder}: {', '.join(_unchecked(folder))} are not checked"
            sentence = f"{what}; {ELSEWHERE[kind]} reads tests/golden/{kind} alone"
            yield f"{kind}/unchecked", partial(_fail, sentence), None
            continue
        if kind not in _KINDS:
            yield f"{kind}/unknown", partial(_fail, f"no checks for kind {kind}"), None
            continue
        cases = _folders(folder)
        if not cases:
            yield f"{kind}/empty", partial(_fail, f"{folder} holds no cases"), None
        for case in cases:
            yield from _of_case(kind, case)
