"""Reviews: what curators decided about works, facts in the order they were taken in.

`reviews/<seq>.json` is create-only. It holds the decisions of one review and, so that a collection
is opened with one listing and one object whatever was decided before, what all reviews up to this
one come to. Of two that are taken in at once the second finds its number taken and is settled anew
on top of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import pydantic
from pydantic import BaseModel, ConfigDict

from catalogs import paths
from catalogs.errors import DamagedError
from catalogs.loading import read_all
from catalogs.records import Moment, utc_now
from catalogs.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

Verdict = Literal["keep", "redo", "reject"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
SOURCE = "review"  # prompt_source of a prompt that a curator wrote


class Decision(BaseModel):
    """One row of a review: what is to become of a work, whose version of this `key` was looked at.

    `prompt` is the new one of a work to be redone; without one only its seed is another.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    key: str
    verdict: Verdict
    note: str = ""
    prompt: str = ""
    reviewed_at: str = ""


class Version(BaseModel):
    """Which of its possible versions a work is to be: its take, and its prompt if a curator's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    take: int = pydantic.Field(0, ge=0)
    prompt: str | None = None


class Standing(BaseModel):
    """The decision about a work that counts, the version it leads to, and the one before it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    decision: Decision
    version: Version = Version()
    before: Version = Version()


class Review(BaseModel):
    """One object under `reviews/`; `standing` is what it and all before it come to, by item id."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    created: Moment
    source: str
    decisions: tuple[Decision, ...]
    standing: dict[str, Standing]


@dataclass(frozen=True)
class Reviews:
    """What all reviews of a collection come to; `seq` is the number of the last, 0 for none."""

    seq: int = 0
    standing: Mapping[str, Standing] = field(default_factory=dict)

    @property
    def rejected(self) -> dict[str, str]:
        """Item id -> note of the works that are set aside."""
        found = ((item, s.decision) for item, s in self.standing.items())
        return {item: d.note for item, d in found if d.verdict == "reject"}

    def overlay(self, table: pa.Table) -> pa.Table:
        """The catalog with a column `take` (null for the first one) and the curators' prompts."""
        import pyarrow as pa

        versions = {item: s.version for item, s in self.standing.items() if s.version.take}
        if not versions:
            return table.append_column("take", pa.nulls(table.num_rows, pa.int32()))
        wanted = [versions.get(item) for item in table["id"].to_pylist()]
        takes = pa.array([version and version.take for version in wanted], pa.int32())
        prompts = [version and version.prompt for version in wanted]
        if any(prompts):
            told = pa.array([bool(prompt) for prompt in prompts])
            values = {"prompt": pa.array(prompts, pa.string()), "prompt_source": SOURCE}
            for name, value in {**values, "prompt_rule": None, "prompt_model": None}.items():
                table = _where(table, told, name, value)
        return table.append_column("take", takes)


def _where(table: pa.Table, told: pa.Array, name: str, value: object) -> pa.Table:
    """The table with other values of a column in the rows `told`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    place = table.schema.get_field_index(name)
    kind = table.schema.field(place).type
    new = value if isinstance(value, pa.Array) else pa.scalar(value, kind)
    return table.set_column(place, table.schema.field(place), pc.if_else(told, new, table[name]))


def load(store: Store) -> Reviews:
    """What the reviews of a collection come to: a listing, and the last one where there is any.

    DamagedError where that cannot be read.
    """
    numbers = _numbers(store)
    if not numbers:
        return Reviews()
    path = paths.review(numbers[-1])
    return Reviews(numbers[-1], _parsed(store.get(path), path).standing)


def history(store: Store) -> list[Review]:
    """All reviews, the first one first: a listing and a request for each. Raises DamagedError."""
    wanted = [paths.review(seq) for seq in _numbers(store)]
    read = zip(read_all(store, wanted), wanted, strict=True)
    return [_parsed(data, path) for data, path in read]


def _numbers(store: Store) -> list[int]:
    listed = (paths.parse_review(info.path) for info in store.list(paths.REVIEWS))
    return sorted(seq for seq in listed if seq is not None)


def _parsed(data: bytes | None, path: str) -> Review:
    try:
        return Review.model_validate_json(data or b"")
    except pydantic.ValidationError as error:
        raise DamagedError(
            f"{path} is damaged, it is no review; move it away, then the reviews before it count, "
            "and take its review.csv in again."
        ) from error


@dataclass(frozen=True)
class Settled:
    """What a review comes to on top of those before it.

    `taken` decisions are new, `repeated` ones were taken in before; `outdated` ones are about
    versions that are no longer the present ones.
    """

    taken: tuple[Decision, ...]
    repeated: tuple[Decision, ...]
    outdated: tuple[Decision, ...]
    standing: Mapping[str, Standing]


def settle(
    decisions: Sequence[Decision],
    before: Reviews,
    known: Collection[Decision],
    keys: Mapping[str, Collection[str]],
    is_made: Callable[[str], bool],
) -> Settled:
    """Compare decisions with those that stand; a later one about the same version replaces it.

    `known` are all decisions of earlier reviews, `keys` the present ones of each item, `is_made`
    says of a key whether anything is recorded of it. A decision about the version before the last
    wish to redo a work counts as long as that wish was not fulfilled, and takes its place.
    """
    taken, repeated, outdated = list[Decision](), list[Decision](), list[Decision]()
    standing = dict(before.standing)
    for decision in decisions:
        stands = standing.get(decision.id)
        base = stands.version if stands else Version()
        if decision in known:
            repeated.append(decision)
            continue
        present = keys[decision.id]
        if decision.key not in present:
            same = stands is not None and stands.decision.key == decision.key
            if stands is None or not same or any(map(is_made, present)):
                outdated.append(decision)
                continue
            base = stands.before
        taken.append(decision)
        version = base
        if decision.verdict == "redo":
            version = Version(take=base.take + 1, prompt=decision.prompt or base.prompt)
        standing[decision.id] = Standing(decision=decision, version=version, before=base)
    return Settled(tuple(taken), tuple(repeated), tuple(outdated), standing)


def record(store: Store, settled: Settled, seq: int, *, source: str = "") -> bool:
    """Store what was settled as the review of this number; False where there is one already.

    One create-only request, so either all of it counts or nothing.
    """
    review = Review(
        created=utc_now(),
        source=source,
        decisions=settled.taken,
        standing=dict(settled.standing),
    )
    data = review.model_dump_json(exclude_defaults=True).encode()
    return store.create(paths.review(seq), data, "application/json")
