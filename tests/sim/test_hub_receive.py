"""The receiver as its own process against Debian's Mosquitto, with gateways that seal for real."""

from __future__ import annotations

import json
import queue
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.hub_stage import PATIENCE, Stage
from fakes.mosquitto import program
from lamppost.envelope.receipt import Statement
from lamppost.model import Receipt
from unit.hub.world import EPOCH, SealingGateway

pytestmark = pytest.mark.broker


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    program()
    stage = Stage(tmp_path)
    try:
        yield stage
    finally:
        stage.close()


@pytest.fixture
def running(stage: Stage) -> Stage:
    stage.start_broker()
    stage.start_receiver("--sink", "embedded", "--sink", "jsonl:out.jsonl")
    return stage


def lines_of(stage: Stage) -> list[tuple[str, int]]:
    text = (stage.hub / "out.jsonl").read_text()
    return [(row["gateway"], row["seq"]) for row in map(json.loads, text.splitlines())]


def test_batches_are_proved_and_forwarded_and_a_replay_is_forwarded_once(running: Stage) -> None:
    line = running.line(gateway := running.enrol("gw-1"))
    receipts = [line.ask(gateway.next()) for _ in range(5)]
    assert [r.seq for r in receipts if isinstance(r, Receipt)] == [0, 1, 2, 3, 4]
    assert line.ask(gateway.again(2)) == receipts[2]
    found = running.fleet(lambda f: len(f["queues"]) == 2)
    (shown,) = found["gateways"]
    assert (shown["batches"], shown["readings"], shown["duplicates"]) == (5, 50, 1)
    assert shown["refused"] == {}
    assert found["ok"]
    assert lines_of(running) == [("gw-1", seq) for seq in range(5)]
    code, rest = running.end_receiver(signal.SIGTERM)
    assert (code, rest) == (0, "OK stopped\n")


def test_every_forgery_is_refused_with_its_own_code_and_counted(running: Stage) -> None:
    line = running.line(gateway := running.enrol("gw-1"))
    other = running.enrol("gw-2")
    whole = gateway.next()
    body = bytearray(whole.payload)
    body[len(body) // 2] ^= 1  # in the ciphertext
    foreign = gateway.forge(replace(gateway.header(), aud="hub.other"))
    elsewhere = SealingGateway(other.identity, EPOCH, "lamppost/gw-2/up").next()
    own_topic_other_signer = SealingGateway(other.identity, EPOCH, "lamppost/gw-1/up").next()
    forgeries = {
        "envelope.decrypt": [bytes(body), elsewhere.payload],
        "envelope.malformed": [whole.payload[:-9]],
        "envelope.audience": [foreign.message],
        "envelope.topic": [own_topic_other_signer.payload],
    }
    for code, payloads in forgeries.items():
        for payload in payloads:
            assert line.ask(replace(whole, payload=payload)) == Statement("refused", code)
    assert line.put(replace(elsewhere, topic="lamppost/gw-2/up")) == 0x87  # by the broker
    assert isinstance(line.ask(whole), Receipt)
    shown = running.fleet()["gateways"][0]
    assert shown["refused"] == {code: len(payloads) for code, payloads in forgeries.items()}
    assert shown["batches"] == 1
    listed = json.loads(running.raw("dead-letter", "list", running.hub, "--json"))
    assert len(listed["messages"]) == 5


def test_a_revoked_gateway_is_refused_on_its_open_session(running: Stage) -> None:
    line = running.line(gateway := running.enrol("gw-1"))
    assert isinstance(line.ask(gateway.next()), Receipt)
    running.command("enrol", "revoke", running.hub, "gw-1")
    said = line.ask(gateway.next())
    assert said == Statement("refused", "registry.revoked", EPOCH, 1)
    assert line.ask(gateway.again(0)) == Statement("refused", "registry.revoked", EPOCH, 0)
    assert running.fleet()["gateways"][0]["refused"] == {"registry.revoked": 2}


def test_kill_9_of_the_receiver_loses_nothing_and_repeats_nothing(running: Stage) -> None:
    line = running.line(gateway := running.enrol("gw-1"))
    proved: dict[int, Receipt] = {}
    sent = [gateway.next() for _ in range(60)]
    for end in (20, 40, 60):
        for message in sent[end - 20 : end]:
            line.put(message)
        first = line.answers.get(timeout=PATIENCE)
        running.end_receiver(signal.SIGKILL)  # in the middle: most answers are still to come
        running.start_receiver("--sink", "embedded", "--sink", "jsonl:out.jsonl")
        answers = [first]
        while len(proved) < end:
            missing = [seq for seq in range(end) if seq not in proved]
            try:
                answers.append(line.answers.get(timeout=2.0))
            except queue.Empty:
                for seq in missing:  # as a gateway does whose receipt does not come
                    line.put(sent[seq])
            for said in answers:
                if isinstance(said, Receipt):
                    assert proved.setdefault(said.seq, said) == said
            answers.clear()
    found = running.fleet(lambda f: len(f["queues"]) == 2)
    assert found["gateways"][0]["batches"] == 60
    assert found["gateways"][0]["readings"] == 600
    assert lines_of(running) == [("gw-1", seq) for seq in range(60)]


def test_the_receiver_starts_without_a_broker_and_survives_its_death(stage: Stage) -> None:
    gateway = stage.enrol("gw-1")
    threading.Timer(1.0, stage.start_broker).start()
    stage.start_receiver()
    line = stage.line(gateway)
    assert isinstance(line.ask(gateway.next()), Receipt)
    stage.kill_broker()
    stage.start_broker()
    line = stage.line(gateway)
    assert isinstance(line.insist(gateway.next()), Receipt)
    assert stage.receiver is not None
    assert stage.receiver.poll() is None


def test_a_second_receiver_shares_the_messages_and_writes_nothing_twice(running: Stage) -> None:
    running.end_receiver(signal.SIGTERM)
    running.start_receiver("--group", "city", "--sink", "jsonl:out.jsonl")
    first = running.receiver
    assert first is not None
    running.start_receiver("--group", "city", "--receiver", "2", "--sink", "jsonl:out.jsonl")
    try:
        line = running.line(gateway := running.enrol("gw-1"))
        proved: set[int] = set()
        sent = [gateway.next() for _ in range(20)]
        for message in sent:
            line.put(message)
        while len(proved) < 20:
            try:
                said = line.answers.get(timeout=2.0)
            except queue.Empty:
                for seq in set(range(20)) - proved:
                    line.put(sent[seq])
                continue
            if isinstance(said, Receipt):
                proved.add(said.seq)
            elif said.kind == "resend":
                line.put(sent[said.next])
        running.fleet(lambda f: "jsonl:out.jsonl" in f["queues"])
        assert lines_of(running) == [("gw-1", seq) for seq in range(20)]
    finally:
        first.kill()
        first.communicate()
