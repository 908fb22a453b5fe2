"""Leases: one worker a shard; the dead are found out, their works in flight counted once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from catalogs import crashes, leases, liveness, paths
from catalogs.leases import Leases
from catalogs.records import Record, commit
from catalogs.store import Store
from catalogs.store_local import LocalStore

PLAN = "plan"
ROOT = Path(__file__).parents[2]
HOUR = 3600


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "out"))


def elsewhere(
    store: Store, *, age: float = 0, in_flight: dict[str, str] | None = None, epoch: int = 0
) -> None:
    """A lease of a worker on another machine, last heard of ``age`` seconds ago."""
    document = {
        "plan": PLAN,
        "worker": "far-away:1",
        "machine": "far-away",
        "witness": "/tmp/epa-alive-there",
        "token": "there",
        "in_flight": in_flight or {},
        "since": "",
    }
    path = paths.lease("s0", epoch)
    store.put(path, json.dumps(document).encode())
    assert isinstance(store, LocalStore)
    moment = time.time() - age
    os.utime(store.root / path, (moment, moment))


def leased(store: Store) -> list[str]:
    return [info.path for info in store.list(paths.LEASES)]


def worker_that_dies(store: Store, *in_flight: str) -> None:
    """A real process takes the shard, names some works and is killed."""
    code = (
        "import os, signal, sys\n"
        "from catalogs.leases import Leases\n"
        "from catalogs.store import Store\n"
        f"lease = Leases(Store.open(sys.argv[1]), {PLAN!r}, {HOUR}).acquire('s0')\n"
        "lease.name({key: key for key in sys.argv[2:]})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, store.url, *in_flight]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9


def test_a_shard_has_one_worker_until_it_is_given_back(store: Store) -> None:
    first = Leases(store, PLAN, HOUR).acquire("s0")
    assert first is not None
    other = Leases(store, PLAN, HOUR)
    assert other.acquire("s0") is None
    assert list(other.busy(["s0", "s1"])) == ["s0"]
    assert other.acquire("s1") is not None
    first.release()
    assert other.acquire("s0") is not None


def test_of_many_at_once_one_gets_the_shard(store: Store) -> None:
    got, barrier = [], threading.Barrier(8)

    def take() -> None:
        barrier.wait()
        got.append(Leases(store, PLAN, HOUR).acquire("s0"))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(lease is not None for lease in got) == 1


def test_two_requests_take_a_shard_and_two_give_it_back(store: Store) -> None:
    lease = Leases(store, PLAN, HOUR).acquire("s0")
    assert lease is not None
    assert store.counts.total() == 2
    lease.release()
    assert store.counts.total() == 4
    assert store.list(paths.LEASES) == []


def test_a_process_that_died_here_is_noticed_at_once(store: Store) -> None:
    worker_that_dies(store, "aa", "bb")
    witness = leases.holders(store, HOUR)
    assert witness == []  # its process is gone, though the lease is fresh
    lease = Leases(store, PLAN, HOUR).acquire("s0")
    assert lease is not None
    assert leased(store) == [paths.lease("s0", 1)]
    assert crashes.counts(store) == {"aa": 1, "bb": 1}


def test_two_successors_count_one_death_once(store: Store) -> None:
    worker_that_dies(store, "aa")
    path = paths.lease("s0", 0)
    document = store.get(path)
    for _ in range(2):
        lease = Leases(store, PLAN, HOUR).acquire("s0")
        assert lease is not None
        lease.release()
        store.put(path, document or b"")
    assert crashes.counts(store) == {"aa": 1}


def test_every_death_counts(store: Store) -> None:
    for _ in range(3):
        worker_that_dies(store, "aa")
    assert Leases(store, PLAN, HOUR).acquire("s0") is not None
    assert crashes.counts(store) == {"aa": 3}
    crashes.forget(store, ["aa"])
    assert crashes.counts(store) == {}


def test_a_work_that_had_ended_is_not_blamed(store: Store) -> None:
    commit(store, Record(item_id="a", shard_id="s0", key="aa", status="done"))
    worker_that_dies(store, "aa", "bb")
    assert Leases(store, PLAN, HOUR).acquire("s0") is not None
    assert crashes.counts(store) == {"bb": 1}


def test_another_machine_is_believed_dead_after_the_lease_time(store: Store) -> None:
    elsewhere(store, age=599, in_flight={"aa": "a"})
    assert Leases(store, PLAN, 600).acquire("s0") is None
    assert crashes.counts(store) == {}
    elsewhere(store, age=601, in_flight={"aa": "a"})
    lease = Leases(store, PLAN, 600).acquire("s0")
    assert lease is not None
    assert leased(store) == [paths.lease("s0", 1)]
    assert crashes.counts(store) == {"aa": 1}


def test_a_lease_from_the_future_is_watched_until_its_time_is_over(store: Store) -> None:
    """The clock was set back an hour: ages say nothing, but it is not rewritten either."""
    elsewhere(store, age=-HOUR)
    mine = Leases(store, PLAN, 1)
    assert mine.acquire("s0") is None
    end = time.monotonic() + 60
    while mine.acquire("s0") is None:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert leased(store) == [paths.lease("s0", 1)]


def test_a_neighbour_is_not_taken_for_dead_because_the_clock_jumped(store: Store) -> None:
    first = Leases(store, PLAN, HOUR).acquire("s0")
    assert first is not None
    path = store.root / paths.lease("s0", 0)  # type: ignore[attr-defined]  # a folder
    os.utime(path, (time.time() - 2 * HOUR,) * 2)  # as if now were two hours later
    assert Leases(store, PLAN, HOUR).acquire("s0") is None


def test_the_heartbeat_keeps_a_lease_fresh(store: Store) -> None:
    first = Leases(store, PLAN, 1).acquire("s0")
    assert first is not None
    # Who watches has more patience, so that a thread that gets no processor for a while loses none.
    other = Leases(store, PLAN, 4)
    end = time.monotonic() + 4.5
    while time.monotonic() < end:
        assert other.acquire("s0") is None
        time.sleep(0.2)
    first.release()


def test_who_was_taken_for_dead_learns_it(store: Store) -> None:
    lease = Leases(store, PLAN, 1).acquire("s0")
    assert lease is not None
    elsewhere(store, epoch=1)
    store.delete([paths.lease("s0", 0)])  # as who takes over does
    end = time.monotonic() + 60
    while not lease.lost:
        assert time.monotonic() < end
        time.sleep(0.05)
    lease.release()
    assert leased(store) == [paths.lease("s0", 1)]


def test_who_was_paused_while_others_came_and_went_learns_it(store: Store) -> None:
    lease = Leases(store, PLAN, 1).acquire("s0")
    assert lease is not None
    elsewhere(store)  # the same name, another owner
    end = time.monotonic() + 60
    while not lease.lost:
        assert time.monotonic() < end
        time.sleep(0.05)
    lease.release()
    assert leased(store) == [paths.lease("s0", 0)]


def test_a_higher_epoch_holds_a_shard_though_the_lower_ones_are_gone(store: Store) -> None:
    elsewhere(store, epoch=3)
    assert Leases(store, PLAN, 600).acquire("s0") is None
    assert leased(store) == [paths.lease("s0", 3)]


def test_plans_with_other_shards_do_not_do_the_same_works(store: Store) -> None:
    mine = Leases(store, PLAN, HOUR).acquire("s0")
    assert mine is not None
    other = Leases(store, "another", HOUR)
    for branch in ("s", "s0", "s01"):
        assert other.acquire(branch) is None
    assert other.acquire("s1") is not None
    mine.release()
    assert other.acquire("s01") is not None


def test_deaths_under_another_plan_count(store: Store) -> None:
    worker_that_dies(store, "aa")
    assert Leases(store, "another", HOUR).acquire("s01") is not None
    assert crashes.counts(store) == {"aa": 1}
    assert leased(store) == [paths.lease("s01", 0)]


def test_a_process_that_ended_but_could_not_give_back_blames_nobody(store: Store) -> None:
    """The store was away: the lease stays with its names, though the process ended in order."""
    worker_that_dies(store, "aa")
    path = paths.lease("s0", 0)
    document = json.loads(store.get(path) or b"")
    os.unlink(document["witness"])  # as an orderly end does
    assert Leases(store, PLAN, HOUR).acquire("s0") is not None
    assert crashes.counts(store) == {}


def test_a_lost_answer_does_not_lock_a_worker_out(store: Store) -> None:
    class Deaf(LocalStore):
        """Creates what it is asked to, and says that something was there."""

        def create(
            self, path: str, data: bytes, content_type: str | None = None, *, durable: bool = True
        ) -> bool:
            super().create(path, data, content_type, durable=durable)
            return False

    lease = Leases(Deaf(store.url), PLAN, HOUR).acquire("s0")
    assert lease is not None


def test_an_accelerator_that_broke_is_held_against_the_works_in_flight(store: Store) -> None:
    lease = Leases(store, PLAN, HOUR).acquire("s0")
    assert lease is not None
    lease.name({"aa": "a"})
    lease.broke("cuda_assert")
    assert crashes.counts(store) == {"aa": 1}
    assert store.list(paths.LEASES) == []


def test_an_orderly_end_blames_nobody(store: Store) -> None:
    lease = Leases(store, PLAN, HOUR).acquire("s0")
    assert lease is not None

    def interrupted() -> None:
        with lease:
            lease.name({"aa": "a"})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert Leases(store, PLAN, HOUR).acquire("s0") is not None
    assert crashes.counts(store) == {}


def test_a_damaged_lease_holds_nobody_up_for_ever(store: Store) -> None:
    elsewhere(store)
    path = paths.lease("s0", 0)
    store.put(path, b"\xff{")
    assert Leases(store, PLAN, 600).acquire("s0") is None
    os.utime(store.root / path, (1, 1))  # type: ignore[attr-defined]  # a folder
    assert Leases(store, PLAN, 600).acquire("s0") is not None


def test_works_in_flight_of_the_living_are_known(store: Store) -> None:
    lease = Leases(store, PLAN, HOUR).acquire("s0")
    assert lease is not None
    lease.name({"aa": "a"})
    assert leases.in_flight(store, HOUR) == {"aa": "a"}
    elsewhere(store, epoch=3, in_flight={"bb": "b"})
    assert leases.in_flight(store, HOUR) == {"aa": "a", "bb": "b"}


def test_what_is_no_witness_says_nothing(tmp_path: Path) -> None:
    """Leases are data from the store: a path in them opens nothing but a witness."""
    other = tmp_path / "secret"
    other.write_text("x")
    assert liveness.alive(str(other)) is None
    assert liveness.alive(str(tmp_path / "epa-alive-gone")) is None
    liveness.bury(str(other))
    assert other.exists()


def test_a_forked_child_does_not_keep_its_parent_alive(store: Store) -> None:
    lease = Leases(store, PLAN, HOUR).acquire("s0")
    assert lease is not None
    own = liveness.witness()
    child = os.fork()
    if child == 0:
        os._exit(0 if liveness.witness() != own and liveness.alive(own) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
