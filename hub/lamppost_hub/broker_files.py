"""Mosquitto's configuration and access list for one hub, as the wire format asks (docs/formats, MQTT)."""

from __future__ import annotations

import pwd
from os import getuid
from pathlib import Path

from lamppost_hub.ca import alert_receiver, receiver_name
from lamppost_hub.files import durable_write, private_folder
from lamppost_hub.folder import HubFolder

MAX_PACKET = (1 << 20) + 1024  # bytes: the largest envelope, its topic and properties
MAX_RECEIVERS = 16

_GATEWAY = (
    "pattern write lamppost/%u/up",
    "pattern write lamppost/%u/state",
    "pattern write lamppost/%u/alert",
    "pattern read lamppost/%u/down",
)
_RECEIVER = (
    "topic read lamppost/+/up",
    "topic read lamppost/+/state",
    "topic read lamppost/+/alert",
    "topic write lamppost/+/down",
)
_ALERT_RECEIVER = (
    "topic read lamppost/+/alert",
    "topic read lamppost/+/state",
    "topic write lamppost/+/down",
)


def write_broker_files(folder: HubFolder, port: int, bind: str) -> Path:
    """Write broker/mosquitto.conf and broker/acl; returns the configuration's path.

    Paths in it are absolute, because Mosquitto resolves them from where it was started.
    """
    broker = private_folder(folder.broker.resolve())
    private_folder(broker / "persistence")
    durable_write(broker / "acl", _acl().encode(), mode=0o600)
    durable_write(
        broker / "mosquitto.conf", _configuration(folder, broker, port, bind).encode(), mode=0o600
    )
    return broker / "mosquitto.conf"


def _acl() -> str:
    # Mosquitto 2.0.11: general patterns first, then users; a gateway is never called hub (ca.check_gateway_id).
    lines = list(_GATEWAY)
    for number in range(1, MAX_RECEIVERS + 1):
        lines += ["", f"user {receiver_name(number)}", *_RECEIVER]
        lines += ["", f"user {receiver_name(alert_receiver(number))}", *_ALERT_RECEIVER]
    return "\n".join(lines) + "\n"


def _configuration(folder: HubFolder, broker: Path, port: int, bind: str) -> str:
    ca, tls = folder.ca.resolve(), folder.tls.resolve()
    lines = [
        "# Written by lamppost-hub broker-config; run it again instead of editing.",
        "per_listener_settings true",
        # Started by root Mosquitto would become the user mosquitto, who cannot read these files.
        f"user {pwd.getpwuid(getuid()).pw_name}",
        "persistence true",
        f"persistence_location {broker}/persistence/",
        "autosave_interval 60",
        "persistent_client_expiration 14d",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages true",
        # What waits for a receiver that is away; the gateways hold everything anyway until they have a receipt.
        "max_queued_messages 1000",
        "max_queued_bytes 67108864",
        "max_inflight_messages 100",
        f"max_packet_size {MAX_PACKET}",
        "set_tcp_nodelay true",
        "",
        f"listener {port} {bind}",
        "allow_anonymous false",
        f"cafile {ca}/device-root.pem",
        f"certfile {tls}/server.pem",
        f"keyfile {tls}/server.key",
        "tls_version tlsv1.3",
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        f"acl_file {broker}/acl",
    ]
    return "\n".join(lines) + "\n"
