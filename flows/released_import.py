"""From many files of the paper's released code to one catalog and the run files for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from catalogs.builders.probing import probe_rows
from catalogs.catalog_file import write_catalog
from catalogs.errors import ConfigError
from catalogs.validation import BuildResult, ValidationReport, finish, printable
from flows.released import MODEL, ReleasedConfig, parse_released, released_entries
from tasks.keychain import plain_number
from tasks.runfile import parse_run

CATALOG = "catalog.parquet"
_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Imported:
    """What a conversion wrote, and which keys it did not take."""

    catalog: BuildResult
    run_files: list[Path]
    ignored: list[str]


def import_released(sources: Sequence[Path], folder: Path, given: Mapping[str, Any]) -> Imported:
    """Write ``folder``/catalog.parquet and a run file for every group of works of equal settings.

    ``given`` overrides keys of the files. Nothing is overwritten. Raises ConfigError, before
    anything is written where a file is wrong.
    """
    configs = _read(sources, given)
    ignored = list(dict.fromkeys(name for config in configs for name in config.ignored))
    works = _named(replace(config, ignored=()) for config in configs)
    groups: dict[tuple[Any, ...], dict[str, ReleasedConfig]] = {}
    for name, work in works.items():
        groups.setdefault(_settings(work), {})[name] = work
    strengths = [
        Counter(w.strength for w in g.values()).most_common(1)[0][0] for g in groups.values()
    ]
    rows = [
        _row(name, work, common)
        for group, common in zip(groups.values(), strengths, strict=True)
        for name, work in group.items()
    ]
    trees = {}
    for number, (group, common) in enumerate(zip(groups.values(), strengths, strict=True), 1):
        mark, where = (f"-{number}", list(group)) if len(groups) > 1 else ("", None)
        trees[f"run{mark}.yaml"] = _run(next(iter(group.values())), common, mark, where)
    for tree in trees.values():
        parse_run(tree)
    report = ValidationReport(source=", ".join(map(str, sources)), rows_in=len(configs))
    if len(works) < len(configs):
        report.counts["said twice, taken once"] = len(configs) - len(works)
    probe_rows(rows, report)
    catalog = finish(rows, report, {"source": "released-config"})
    return Imported(catalog, _written(folder, catalog, trees), ignored)


def _read(sources: Sequence[Path], given: Mapping[str, Any]) -> list[ReleasedConfig]:
    """All paintings of all files; the first of all errors is told, the others are counted."""
    configs, errors = [], []
    for file in [file for source in sources for file in _files(source)]:
        try:
            entries = released_entries(file)
        except ConfigError as error:
            errors.append(error)
            continue
        for entry in entries:
            try:
                configs.append(parse_released(entry, given))
            except ConfigError as error:
                errors.append(error)
    if errors:
        more = f" (and {len(errors) - 1} more errors)" if len(errors) > 1 else ""
        raise ConfigError(f"{errors[0]}{more}")
    return configs


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    found = sorted(path for path in source.iterdir() if path.suffix.lower() in _ENDINGS)
    if not found:
        raise ConfigError(f"{source}: no file in this folder ends in {' or '.join(_ENDINGS)}")
    return found


def _named(configs: Iterator[ReleasedConfig]) -> dict[str, ReleasedConfig]:
    """Works by id: the picture's name, numbered where several works have it."""
    works: dict[str, ReleasedConfig] = {}
    for config in dict.fromkeys(configs):
        name, number = config.painting.stem, 1
        while name in works:
            number += 1
            name = f"{config.painting.stem}-{number}"
        works[name] = config
    return works


def _settings(work: ReleasedConfig) -> tuple[Any, ...]:
    """What one run file can say only once."""
    return (
        work.model,
        work.seed,
        work.num_frames,
        work.area,
        work.num_inference_steps,
        work.guidance_scale,
        work.fps,
        work.proxy is not None,
    )


def _row(name: str, work: ReleasedConfig, common: float) -> dict[str, Any]:
    return {
        "id": name,
        "source": "released-config",
        "image_uri": str(work.painting),
        "proxy_uri": str(work.proxy) if work.proxy else None,
        "mask_uri": str(work.mask) if work.mask else None,
        "prompt": work.prompt,
        "motion_strength": plain_number(str(work.strength)) if work.strength != common else None,
    }


def _run(
    work: ReleasedConfig, strength: float, mark: str, names: Sequence[str] | None
) -> dict[str, Any]:
    """The run file of the works named, all with the settings of ``work``."""
    quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in names or ())
    return {
        "preset": "paper",
        "catalog": CATALOG,
        "output": f"animated{mark}",
        **({"where": f"id IN ({quoted})"} if names is not None else {}),
        "seed": work.seed,
        "model": {
            "name": MODEL,
            "source": work.model,
            "num_frames": work.num_frames,
            "guidance_scale": work.guidance_scale,
            "options": {"motion_strength": strength},
        },
        "prepare": {"area": work.area},
        "proxy": {"name": "given" if work.proxy else "sdxl-refiner"},
        "distill": {"num_inference_steps": work.num_inference_steps},
        "animate": {"num_inference_steps": work.num_inference_steps},
        "encode": {"fps": work.fps, "gif": True},
    }


def _written(
    folder: Path, catalog: BuildResult, trees: Mapping[str, Mapping[str, Any]]
) -> list[Path]:
    targets = [folder / name for name in (CATALOG, *trees)]
    for path in targets:
        if path.exists() or path.is_symlink():
            raise ConfigError(f"{path} exists already; name another folder")
    files = targets[1:]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, tree in zip(files, trees.values(), strict=True):
            text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(f"# Made by epa import-config. Run it: epa run {path.name}\n{text}")
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}") from error
    write_catalog(catalog, targets[0])
    return files


def import_lines(imported: Imported) -> Iterator[str]:
    """What to say about a conversion, one fact per line."""
    yield from imported.catalog.report.lines()
    if len(imported.run_files) > 1:
        yield (
            f"the works have {len(imported.run_files)} different settings; each has a run file "
            "that selects its works by id"
        )
    for path in imported.run_files:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        if tree["proxy"]["name"] != "given":
            yield (
                f"{path.name}: these works name no proxy_image; set proxy.source to the folder of "
                "the SDXL refiner's weights, or another proxy"
            )
        yield f"wrote {printable(str(path), 4000)}"
