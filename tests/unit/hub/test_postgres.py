"""A hub on PostgreSQL when the server is down, restarts, freezes, refuses us, or several receivers book at once."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from fakes.mosquitto import free_port
from fakes.postgres import Postgres
from lamppost.errors import LamppostError, SiteError, StoreError
from lamppost.model import Receipt
from lamppost_hub import founding
from lamppost_hub.folder import HubFolder, Settings
from lamppost_hub.intake import Intake
from lamppost_hub.ledger import Ledger
from lamppost_hub.postgres import PostgresDatabase
from lamppost_hub.queue import LEASE, Queue
from lamppost_hub.schema import NAMESPACE, SCHEMA
from lamppost_hub.tokens import Token, Tokens
from unit.hub.world import START, FrozenClock, HubWorld, SealingGateway


@pytest.fixture
def world(postgres: Postgres, tmp_path: Path) -> Iterator[HubWorld]:
    world = HubWorld.make(tmp_path, postgres.emptied())
    yield world
    world.database.close()


def receipts(world: HubWorld, gateway: SealingGateway) -> list[int]:
    answers = world.intake.take([gateway.next()]).answers
    return [said.seq for said in map(gateway.read, answers) if isinstance(said, Receipt)]


def code_of(world: HubWorld, gateway: SealingGateway) -> str:
    with pytest.raises(StoreError) as refused:
        world.intake.take([gateway.again(0)])
    assert refused.value.retry
    return refused.value.code


def test_a_server_that_restarts_is_waited_for(
    world: HubWorld, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamppost_hub.postgres.PAUSE", 0.0)
    gateway = world.enrol()
    assert receipts(world, gateway) == [0]
    for how in (signal.SIGINT, signal.SIGQUIT):
        postgres.stop(how)
        try:
            assert {code_of(world, gateway) for _ in range(3)} == {"hub.database-unreachable"}
        finally:
            postgres.start()
        world.intake.take([gateway.again(0)])
    assert receipts(world, gateway) == [1]


def test_a_server_that_freezes_is_given_up_and_taken_up_again(
    world: HubWorld, postgres: Postgres
) -> None:
    gateway = world.enrol()
    assert receipts(world, gateway) == [0]
    world.database.close()
    database = PostgresDatabase(postgres.url(), NAMESPACE, SCHEMA, patience=0.3)
    world.database = database
    world.intake = Intake(database, founding.load_keys(world.folder), world.clock)
    (backend,) = database.row("SELECT pg_backend_pid()") or (0,)
    os.kill(backend, signal.SIGSTOP)
    try:
        assert code_of(world, gateway) == "hub.database-slow"
    finally:
        os.kill(backend, signal.SIGCONT)
    assert receipts(world, gateway) == [1]


def test_a_gateway_that_somebody_holds_too_long_is_a_named_state(
    world: HubWorld, postgres: Postgres
) -> None:
    gateway = world.enrol()
    assert receipts(world, gateway) == [0]
    world.database.run("SELECT set_config('lock_timeout', '50ms', false)")
    with psycopg.connect(postgres.url()) as other:
        other.execute("SELECT 1 FROM lamppost_hub.gateways FOR UPDATE")
        assert code_of(world, gateway) == "hub.database-slow"
    assert receipts(world, gateway) == [1]


def test_a_connection_lost_in_a_transaction_books_nothing(
    world: HubWorld, postgres: Postgres
) -> None:
    gateway = world.enrol()
    with pytest.raises(StoreError), world.database.transaction():
        world.intake.take([gateway.next()])
        (backend,) = world.database.row("SELECT pg_backend_pid()") or (0,)
        with psycopg.connect(postgres.url()) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (backend,))
        world.database.run("SELECT 1")
    assert Ledger(world.database).streams() == []
    assert world.intake.take([gateway.again(0)]).new == 1


def test_a_server_that_may_forget_or_refuses_us_is_named(postgres: Postgres) -> None:
    def code(url: str) -> str:
        with pytest.raises(StoreError) as refused:
            PostgresDatabase(url, NAMESPACE, SCHEMA).row("SELECT 1")
        return refused.value.code

    assert code(postgres.url() + "?user=nobody-we-know") == "hub.database-refused"
    assert code(postgres.url().replace("/postgres", "/nowhere")) == "hub.database-refused"
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        try:
            for _ in range(1000):  # the reload is a signal
                if connection.execute("SHOW fsync").fetchone() == ("off",):
                    break
            assert code(postgres.url()) == "hub.database-unsafe"
        finally:
            connection.execute("ALTER SYSTEM RESET fsync")
            connection.execute("SELECT pg_reload_conf()")


def test_who_waits_behind_a_vain_connection_hears_the_same_at_once() -> None:
    database = PostgresDatabase(f"postgresql://x@127.0.0.1:{free_port()}/x", NAMESPACE, SCHEMA)
    clock = database._clock = FrozenClock()  # type: ignore[assignment]

    def error() -> StoreError:
        with pytest.raises(StoreError) as refused:
            database.row("SELECT 1")
        return refused.value

    first = error()
    assert first.code == "hub.database-unreachable"
    assert error() is first
    clock.ns += 10**9
    assert error() is not first  # tried again


def test_a_newer_database_is_refused(world: HubWorld, postgres: Postgres) -> None:
    world.database.run("UPDATE format SET version = 99")
    with pytest.raises(StoreError) as refused:
        PostgresDatabase(postgres.url(), NAMESPACE, SCHEMA).row("SELECT 1")
    assert refused.value.code == "hub.store-newer"


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:secret@db/city",
        "postgresql://me@db/city?password=secret",
        "mysql://db/city",
        "postgresql://db/city?sllmode=require",
        "postgresql://db/ci ty",
        "postgresql://db/'",
    ],
)
def test_an_address_that_cannot_be_or_tells_a_secret(address: str, tmp_path: Path) -> None:
    with pytest.raises(SiteError) as refused:
        founding.found(HubFolder(tmp_path), Settings("hub.x", "h", 1, address), FrozenClock())
    assert refused.value.code == "hub.settings"
    assert "secret" not in str(refused.value)


def test_the_password_comes_from_a_file_and_other_machines_are_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parts(url: str) -> dict[str, object]:
        database = PostgresDatabase(url, "x", SCHEMA, password_file=tmp_path / "pgpass")
        return dict(psycopg.conninfo.conninfo_to_dict(database._conninfo))

    assert "passfile" not in parts("postgresql://me@db/city")
    (tmp_path / "pgpass").write_text("")
    assert parts("postgresql://me@db/city")["passfile"] == str(tmp_path / "pgpass")
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "pgpass").write_text("")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "service"))
    assert parts("postgresql://me@db/city")["passfile"] == str(tmp_path / "service" / "pgpass")
    assert parts("postgresql://me@db/city")["sslmode"] == "verify-full"
    assert parts("postgresql://me@localhost/city")["sslmode"] == "prefer"
    assert parts("postgresql://me@db/city?sslmode=require")["sslmode"] == "require"


def test_receivers_book_one_gateway_at_once_and_write_nothing_twice(
    world: HubWorld, postgres: Postgres
) -> None:
    """Three intakes get the same shuffled batches of three gateways, until every batch has its receipt."""
    gateways = [world.enrol(f"gw-{n}") for n in range(3)]
    sent = {(g.name, seq): g.next() for g in gateways for seq in range(25)}
    proved: dict[tuple[str, int], Receipt] = {}
    broken: list[BaseException] = []
    by_topic = {f"lamppost/{g.name}/down": g for g in gateways}

    def receiver(seed: int) -> None:
        choose = random.Random(seed)
        database = founding.open_database(world.folder)
        intake = Intake(database, founding.load_keys(world.folder), world.clock)
        try:
            while missing := [key for key in sent if key not in proved]:
                group = choose.sample(missing[:20], k=min(len(missing[:20]), choose.randint(1, 8)))
                for answer in intake.take([sent[key] for key in group]).answers:
                    gateway = by_topic[answer.topic]
                    said = gateway.read(answer)
                    if isinstance(said, Receipt):
                        assert proved.setdefault((gateway.name, said.seq), said) == said
        except BaseException as error:
            broken.append(error)
            raise
        finally:
            database.close()

    threads = [threading.Thread(target=receiver, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broken == []
    assert [(s.gateway, s.size, s.readings) for s in Ledger(world.database).streams()] == [
        (g.name, 25, 250) for g in gateways
    ]
    rows = world.database.rows(
        "SELECT s.gateway, e.seq, e.body FROM entries e JOIN streams s ON s.number = e.stream"
    )
    assert len(rows) == len({row[:2] for row in rows}) == len(sent)


def test_a_token_is_spent_once_by_two_who_ask_at_once(world: HubWorld) -> None:
    token = Tokens(world.database).make("gw-1", START)
    other = founding.open_database(world.folder)
    spent: list[Token | None] = []

    def late() -> None:
        with other.transaction():
            spent.append(Tokens(other).spend("gw-1", token, START))

    thread = threading.Thread(target=late)
    with world.database.transaction():
        spent.append(Tokens(world.database).spend("gw-1", token, START))
        thread.start()
        for _ in range(1000):  # until the other one waits for our lock
            world.database.row("SELECT pg_stat_clear_snapshot()")
            (waiting,) = world.database.row(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            ) or (0,)
            if waiting:
                break
    thread.join()
    other.close()
    assert [token is not None for token in spent] == [True, False]


def test_what_one_forwarder_has_claimed_no_other_gets(world: HubWorld) -> None:
    gateways = [world.enrol(f"gw-{n}") for n in range(4)]
    world.intake.take([g.next() for g in gateways])
    other = founding.open_database(world.folder)
    first, second = Queue(world.database), Queue(other)
    assert first.claim("sink", "a", 0) == []
    with world.database.transaction():  # not yet committed: the other neither waits nor takes them
        mine = first.claim("sink", "a", 2)
        theirs = second.claim("sink", "b", 9)
    assert sorted(mine + theirs) == sorted(g.name for g in gateways)
    assert len(mine) == 2
    assert second.claim("sink", "b", 9) == theirs
    assert not second.renew("sink", mine[0], "b")
    assert first.renew("sink", mine[0], "a")
    world.database.run("UPDATE cursors SET lease = lease - ? WHERE owner = 'a'", LEASE + 1)  # died
    assert sorted(second.claim("sink", "b", 9)) == sorted(mine + theirs)
    assert not first.renew("sink", mine[0], "a")
    other.close()


def test_a_foreign_topic_cannot_stop_the_receiver(world: HubWorld) -> None:
    """PostgreSQL's text has no NUL: such a topic must be refused, not tried again for ever."""
    gateway = world.enrol()
    odd = replace(gateway.next(), topic="lamppost/gw\0/up")
    taken = world.intake.take([odd, gateway.again(0)])
    assert taken.new == 1


def test_no_command_shows_a_stack_trace_when_the_server_is_down(
    world: HubWorld, postgres: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    from lamppost_hub.cli import main

    postgres.stop()
    try:
        with pytest.raises(SystemExit) as ended:
            main(["fleet", "show", str(world.folder.root)])
    finally:
        postgres.start()
    assert ended.value.code == 1
    assert "PROBLEM hub.database-unreachable" in capsys.readouterr().out
    assert issubclass(StoreError, LamppostError)
