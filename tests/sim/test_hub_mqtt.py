"""The receiver's MQTT session against Debian's Mosquitto: every gap of the client library that we close."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.hub_stage import Stage
from fakes.mosquitto import free_port, program
from lamppost.errors import LamppostError
from lamppost_hub.ca import Authority
from lamppost_hub.mqtt import BrokerAddress, MqttBroker, _Session
from lamppost_hub.transport import Incoming
from unit.hub.world import START

pytestmark = pytest.mark.broker


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    program()
    stage = Stage(tmp_path)
    try:
        stage.start_broker()
        yield stage
    finally:
        stage.close()


@pytest.fixture
def address(stage: Stage) -> BrokerAddress:
    return BrokerAddress(
        host="localhost",
        port=stage.port,
        name="hub",
        certificate=stage.hub / "tls" / "hub.pem",
        key=stage.hub / "tls" / "hub.key",
        server_ca=stage.hub / "ca" / "server-ca.pem",
    )


async def refused(address: BrokerAddress) -> str:
    async with asyncio.timeout(address.timeout - 0.5):  # never by waiting out the client's time-out
        with pytest.raises(LamppostError) as error:
            await MqttBroker(address).connect()
    assert error.value.retry
    return error.value.code


async def test_every_failure_to_connect_has_its_own_code(
    stage: Stage, address: BrokerAddress, tmp_path: Path
) -> None:
    assert await refused(replace(address, port=free_port())) == "hub.broker-unreachable"
    assert await refused(replace(address, key=tmp_path / "none")) == "hub.certificate-files"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    Authority.create(foreign, "device-ca", START).issue_receiver(foreign, 1, START)
    other_ca = replace(address, server_ca=foreign / "device-ca.pem")
    assert await refused(other_ca) == "hub.broker-tls"
    other = replace(address, certificate=foreign / "hub.pem", key=foreign / "hub.key")
    assert await refused(other) == "hub.broker-refused"


async def test_what_is_not_acknowledged_comes_again(stage: Stage, address: BrokerAddress) -> None:
    line = stage.line(gateway := stage.enrol("gw-1"))
    session = await MqttBroker(address).connect()
    for _ in range(3):
        assert line.put(gateway.next()) == 0
    got: list[Incoming] = []
    while len(got) < 3:
        got += await session.receive(10)
    session.done(got[:1])
    await session.close()
    again = await MqttBroker(address).connect()
    rest: list[Incoming] = []
    while len(rest) < 2:
        rest += await again.receive(1)
    assert [m.payload for m in rest] == [m.payload for m in got[1:]]
    await again.close()


async def test_an_answer_that_the_broker_refuses_is_named(
    stage: Stage, address: BrokerAddress, caplog: pytest.LogCaptureFixture
) -> None:
    session = await MqttBroker(address).connect()
    assert isinstance(session, _Session)
    await session.send("lamppost/gw-1/up", b"a receiver may not write here")
    async with asyncio.timeout(10):
        while session._client.unacknowledged:
            await session._change()
    assert "Not authorized" in caplog.text
    await session.close()


async def test_a_killed_broker_is_noticed_at_once_and_a_frozen_one_in_seconds(
    stage: Stage, address: BrokerAddress
) -> None:
    session = await MqttBroker(replace(address, keepalive=1)).connect()
    assert isinstance(session, _Session)
    sock = session._client._client.socket()
    assert isinstance(sock, socket.socket)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert stage.broker is not None
    stage.broker.send_signal(signal.SIGSTOP)
    async with asyncio.timeout(10):
        with pytest.raises(LamppostError) as lost:
            await session.receive(1)
    assert lost.value.code == "hub.broker-lost"
    await session.close()
    stage.broker.send_signal(signal.SIGCONT)
    session = await MqttBroker(address).connect()
    stage.kill_broker()
    async with asyncio.timeout(2):
        with pytest.raises(LamppostError) as lost:
            await session.receive(1)
    with pytest.raises(LamppostError):
        await session.send("lamppost/gw-1/down", b"")
    await session.close()


async def test_many_answers_flow_through_a_small_window(
    stage: Stage, address: BrokerAddress, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    session = await MqttBroker(address).connect()
    assert isinstance(session, _Session)
    async with asyncio.timeout(20):
        for number in range(500):
            await session.send("lamppost/gw-1/down", b"%d" % number)
            assert len(session._client.unacknowledged) <= 20
    assert caplog.text == ""
    await session.close()
