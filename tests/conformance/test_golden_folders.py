"""What cannot be checked fails: a folder never passes because something in it is missing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from kinds import checks_of
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).parents[1] / "golden"
ANIMATE = "animate_anything/case"
REFINER = "sdxl_refiner/case"


def copied(kind: str, target: Path) -> Path:
    """A golden case of a kind under ``target``; what it shares with the original is linked."""
    source = next(path for path in sorted((GOLDEN / kind).iterdir()) if path.is_dir())
    copy = target / kind / "case"
    copy.mkdir(parents=True)
    for path in source.iterdir():
        (copy / path.name).symlink_to(path)
    return copy


def rewrite_tensors(case: Path, change: Callable[[dict], object]) -> None:
    path = case / "tensors.safetensors"
    tensors = load_file(path)
    change(tensors)
    path.unlink()
    save_file(tensors, path)


def rewrite_facts(case: Path, change: Callable[[dict], object]) -> None:
    path = case / "case.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.unlink()
    path.write_text(json.dumps(facts))


def run(golden: Path, name: str) -> None:
    checks = {found: check for found, check, _ in checks_of(golden)}
    assert name in checks, sorted(checks)
    checks[name]()


def names(golden: Path) -> list[str]:
    return [name for name, _, _ in checks_of(golden)]


def test_a_folder_without_cases_fails(tmp_path: Path) -> None:
    assert names(tmp_path) == names(tmp_path / "absent") == ["golden"]
    with pytest.raises(AssertionError, match="holds no cases"):
        run(tmp_path, "golden")
    with pytest.raises(AssertionError, match="is no folder"):
        run(tmp_path / "absent", "golden")


def test_kinds_checked_elsewhere_are_not_cases(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "README.md").touch()
    with pytest.raises(AssertionError, match="holds no cases"):
        run(tmp_path, "golden")


def test_recordings_of_other_tests_fail_unless_those_read_the_very_same(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "metrics", tmp_path / "metrics")
    (tmp_path / "metrics" / "README.md").write_text("Others' words.")
    assert names(tmp_path) == ["golden"]
    changed = tmp_path / "metrics" / "flow.npz"
    changed.write_bytes(changed.read_bytes() + b" ")
    (tmp_path / "metrics" / "case_a").mkdir()
    (tmp_path / "metrics" / "case_a" / "novel.npz").touch()
    assert names(tmp_path) == ["metrics/unchecked"]
    with pytest.raises(AssertionError, match=r"case_a/novel\.npz, flow\.npz are not checked"):
        run(tmp_path, "metrics/unchecked")


def test_a_kind_without_checks_fails(tmp_path: Path) -> None:
    (tmp_path / "another_model" / "case_a").mkdir(parents=True)
    copied("animate_anything", tmp_path)
    assert names(tmp_path).count("another_model/unknown") == 1
    with pytest.raises(AssertionError, match="no checks for kind another_model"):
        run(tmp_path, "another_model/unknown")


@pytest.mark.parametrize("kind", ["animate_anything", "sdxl_refiner"])
def test_a_kind_without_cases_fails(tmp_path: Path, kind: str) -> None:
    (tmp_path / kind).mkdir()
    with pytest.raises(AssertionError, match="holds no cases"):
        run(tmp_path, f"{kind}/empty")


@pytest.mark.parametrize("kind", ["animate_anything", "sdxl_refiner"])
@pytest.mark.parametrize("text", [None, "{", "[]", "{}"])
def test_a_case_that_cannot_be_opened_fails(tmp_path: Path, kind: str, text: str | None) -> None:
    case = tmp_path / kind / "case"
    case.mkdir(parents=True)
    if text is not None:
        (case / "case.json").write_text(text)
    with pytest.raises(AssertionError, match=r"case\.json"):
        run(tmp_path, f"{kind}/case/open")


def test_a_refiner_case_without_entries_fails(tmp_path: Path) -> None:
    rewrite_facts(copied("sdxl_refiner", tmp_path), lambda facts: facts["cases"].clear())
    with pytest.raises(AssertionError, match="lists no cases"):
        run(tmp_path, f"{REFINER}/open")


def test_a_missing_tensor_fails_by_name(tmp_path: Path) -> None:
    rewrite_tensors(copied("animate_anything", tmp_path), lambda t: t.pop("fuse.lerp"))
    with pytest.raises(AssertionError, match=r"missing tensors: fuse\.lerp"):
        run(tmp_path, f"{ANIMATE}/tensors")
    with pytest.raises(AssertionError, match=r"holds no 'fuse\.lerp'"):
        run(tmp_path, f"{ANIMATE}/fusion-lerp")


def test_a_missing_tensor_of_the_refiner_fails_by_name(tmp_path: Path) -> None:
    case = copied("sdxl_refiner", tmp_path)
    entry = json.loads((case / "case.json").read_text())["cases"][0]["name"]
    rewrite_tensors(case, lambda tensors: tensors.pop(f"{entry}/time_ids"))
    with pytest.raises(AssertionError, match="missing tensors: time_ids"):
        run(tmp_path, f"{REFINER}/{entry}/tensors")


def test_tensors_that_nothing_looks_at_fail(tmp_path: Path) -> None:
    rewrite_tensors(
        copied("animate_anything", tmp_path), lambda t: t.update(novel=t["motion"].clone())
    )
    with pytest.raises(AssertionError, match="no check looks at: novel"):
        run(tmp_path, f"{ANIMATE}/tensors")
    case = copied("sdxl_refiner", tmp_path)
    rewrite_facts(case, lambda facts: facts["cases"].pop())
    with pytest.raises(AssertionError, match=r"case\.json does not list"):
        run(tmp_path, f"{REFINER}/names")


def test_a_missing_variant_fails(tmp_path: Path) -> None:
    rewrite_facts(
        copied("animate_anything", tmp_path), lambda facts: facts["variants_noise"].pop("VU")
    )
    with pytest.raises(AssertionError, match="no variants_noise of VU"):
        run(tmp_path, f"{ANIMATE}/tensors")


def test_files_missing_or_changed_fail(tmp_path: Path) -> None:
    case = copied("animate_anything", tmp_path)
    run(tmp_path, f"{ANIMATE}/files")
    inputs = case / "inputs"
    pictures = {path.name: path.read_bytes() for path in inputs.iterdir()}
    inputs.unlink()
    inputs.mkdir()
    with pytest.raises(AssertionError, match=r"proxy\.png is missing"):
        run(tmp_path, f"{ANIMATE}/files")
    for name, content in pictures.items():
        (inputs / name).write_bytes(content + b" ")
    with pytest.raises(AssertionError, match="is not the recorded file"):
        run(tmp_path, f"{ANIMATE}/files")


def test_the_recorded_cases_stay_small() -> None:
    size = sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file())
    assert size <= 25 * 2**20
