"""An `org.bluez` of our own on a private bus, for unchanged bleak: scans, connections, GATT, and what goes wrong.

`with PrivateBus(folder) as bus, Bluez(bus.address) as bluez: bluez.advertise(Advertisement("CB:B8:33:4C:88:4F", ...))`
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from dbus_fast import BusType, Message, MessageType, NameFlag, Variant
from dbus_fast.aio import MessageBus

from hwsim.ble_bus import PrivateBus
from hwsim.ble_objects import (
    ADAPTER,
    CHARACTERISTIC,
    DEVICE,
    HCI0,
    MANAGER,
    MONITOR,
    OBJECTS,
    PROPERTIES,
    SERVICE,
    Advertisement,
    Characteristic,
    Interfaces,
    Tree,
    adapter_properties,
    device_path,
    device_properties,
)

__all__ = ["Advertisement", "Bluez", "Characteristic", "PrivateBus"]

_BURST, _PAUSE = 20, 0.005
_Result = TypeVar("_Result")


class Bluez:
    """BlueZ with one adapter, in a thread of its own; its methods may be called from any other thread."""

    def __init__(self, address: str, *, experimental: bool = False) -> None:
        """`experimental`: bluetoothd runs with --experimental, so that clients may scan passively."""
        self._address = address
        self._experimental = experimental
        self._monitors: dict[tuple[str, str], list[tuple[int, int, bytes]]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bluez", daemon=True)
        self._bus: MessageBus | None = None
        self._tree = Tree(self._send)
        self._scanners: set[str] = set()
        self._services: dict[str, Mapping[str, Mapping[str, Characteristic]]] = {}
        self._characteristics: dict[str, Characteristic] = {}
        self._failures: dict[str, tuple[str, str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread.start()
        self.restart()

    def close(self) -> None:
        """Leave the bus."""
        if self._loop.is_closed():
            return
        self.crash()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Bluez:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the radio

    @property
    def scanning(self) -> bool:
        """Whether any client scans; without one, BlueZ shows no advertisement."""
        return bool(self._scanners or self._monitors)

    @property
    def asks(self) -> bool:
        """Whether the radio sends scan requests: some client scans actively."""
        return bool(self._scanners)

    def advertise(self, seen: Advertisement) -> bool:
        """A packet is received; False if nobody scans and it is lost."""
        return self._do(lambda: self._receive(seen))

    def replay(self, packets: Iterable[Advertisement], pause: float = _PAUSE) -> int:
        """Receive many, 20 at a time with a pause (faster, and a D-Bus client falls behind); returns how many."""
        return self._run(self._replay(list(packets), pause))

    def peripheral(
        self, address: str, services: Mapping[str, Mapping[str, Characteristic]]
    ) -> None:
        """What a device shows once connected: service UUID to characteristic UUID to characteristic."""
        self._services[device_path(address)] = services

    def notify(self, address: str, uuid: str, value: bytes) -> bool:
        """A connected device sends a notification; False if nobody subscribed."""
        return self._do(lambda: self._notify(device_path(address), uuid, value))

    def drop(self, address: str) -> None:
        """The link to a device breaks."""
        self._do(lambda: self._disconnected(device_path(address)))

    # --- what goes wrong

    def fail(self, member: str, name: str = "org.bluez.Error.Failed", text: str = "") -> None:
        """From now on this method fails, such as Connect or StartDiscovery; `name` "" ends it."""
        if name:
            self._failures[member] = (name, text)
        else:
            self._failures.pop(member, None)

    def power(self, on: bool) -> None:
        """Switch the adapter on or off (rfkill)."""
        self._do(lambda: self._tree.change(HCI0, ADAPTER, {"Powered": Variant("b", on)}))

    def crash(self) -> None:
        """bluetoothd dies: the name vanishes without a word to its clients."""
        self._run(self._leave())

    def restart(self) -> None:
        """And comes back, without its devices and scans."""
        self._run(self._join())

    # --- on the loop

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _do(self, act: Callable[[], _Result]) -> _Result:
        async def work() -> _Result:
            return act()

        return self._run(work())

    async def _join(self) -> None:
        self._bus = MessageBus(bus_address=self._address, bus_type=BusType.SYSTEM)
        await self._bus.connect()
        self._bus.add_message_handler(self._handle)
        await self._bus.request_name("org.bluez", NameFlag.NONE)
        self._tree = Tree(self._send)
        self._tree.add("/org/bluez", {"org.bluez.AgentManager1": {}})
        shown: Interfaces = {ADAPTER: adapter_properties()}
        if self._experimental:
            shown[MANAGER] = {"SupportedMonitorTypes": Variant("as", ["or_patterns"])}
        self._tree.add(HCI0, shown)

    async def _leave(self) -> None:
        bus, self._bus = self._bus, None
        self._scanners.clear()
        self._monitors.clear()
        for task in self._tasks:
            task.cancel()
        if bus is not None and bus.connected:
            bus.disconnect()
            await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    def _send(self, message: Message) -> None:
        if self._bus is not None:
            self._bus.send(message)

    async def _replay(self, packets: list[Advertisement], pause: float) -> int:
        shown = 0
        for number, packet in enumerate(packets, 1):
            shown += self._receive(packet)
            if number % _BURST == 0:
                await asyncio.sleep(pause)
        return shown

    def _receive(self, seen: Advertisement) -> bool:
        if not self._scanners and not self._is_watched(seen):
            return False
        path = device_path(seen.address)
        if path not in self._tree.objects:
            self._tree.add(path, {DEVICE: device_properties(seen)})
            return True
        # With DuplicateData BlueZ tells payloads each time, all else only when it changed.
        before = self._tree.objects[path][DEVICE]
        always = ("ManufacturerData", "ServiceData")
        changed = {
            key: value
            for key, value in seen.properties().items()
            if key in always or before.get(key) != value
        }
        if changed:
            self._tree.change(path, DEVICE, changed)
        return True

    def _is_watched(self, seen: Advertisement) -> bool:
        structures = seen.structures()
        return any(
            kind == wanted and data[at : at + len(content)] == content
            for patterns in self._monitors.values()
            for at, wanted, content in patterns
            for kind, data in structures
        )

    async def _watch(self, client: str, path: str) -> None:
        """Ask a client what its monitor looks for, once it has shown it, and tell it that it is in use."""
        call = Message(
            destination=client,
            path=path,
            interface=PROPERTIES,
            member="Get",
            signature="ss",
            body=[MONITOR, "Patterns"],
        )
        for _ in range(100):
            bus = self._bus
            reply = None if bus is None else await bus.call(call)
            if bus is None:
                return
            if reply is not None and reply.message_type is MessageType.METHOD_RETURN:
                found = [(at, kind, bytes(data)) for at, kind, data in reply.body[0].value]
                self._monitors[client, path] = found
                await bus.call(
                    Message(destination=client, path=path, interface=MONITOR, member="Activate")
                )
                return
            await asyncio.sleep(0.02)

    async def _connect(self, call: Message) -> None:
        path = str(call.path)
        self._tree.change(path, DEVICE, {"Connected": Variant("b", True)})
        handle = 10
        for service, characteristics in self._services.get(path, {}).items():
            below = f"{path}/service{handle:04x}"
            shown = {
                "UUID": Variant("s", service),
                "Device": Variant("o", path),
                "Primary": Variant("b", True),
            }
            self._tree.add(below, {SERVICE: {**shown, "Includes": Variant("ao", [])}})
            for uuid, characteristic in characteristics.items():
                handle += 2
                self._show(f"{below}/char{handle:04x}", below, uuid, characteristic)
            handle += 2
        self._send(Message.new_method_return(call))
        await asyncio.sleep(0.02)
        self._tree.change(path, DEVICE, {"ServicesResolved": Variant("b", True)})

    def _show(self, path: str, service: str, uuid: str, characteristic: Characteristic) -> None:
        self._characteristics[path] = characteristic
        shown = {
            "UUID": Variant("s", uuid),
            "Service": Variant("o", service),
            "Value": Variant("ay", characteristic.value),
            "Notifying": Variant("b", False),
            "Flags": Variant("as", list(characteristic.flags)),
            "MTU": Variant("q", 247),
        }
        self._tree.add(path, {CHARACTERISTIC: shown})

    def _disconnected(self, path: str) -> None:
        below = f"{path}/service"
        for service in [
            at
            for at, shown in self._tree.objects.items()
            if at.startswith(below) and SERVICE in shown
        ]:
            self._tree.remove(service)
        self._characteristics = {
            at: c for at, c in self._characteristics.items() if not at.startswith(below)
        }
        self._tree.change(path, DEVICE, {"ServicesResolved": Variant("b", False)})
        self._tree.change(path, DEVICE, {"Connected": Variant("b", False)})

    def _notify(self, device: str, uuid: str, value: bytes) -> bool:
        for path in self._characteristics:
            shown = self._tree.objects[path][CHARACTERISTIC]
            mine = path.startswith(device) and shown["UUID"].value == uuid
            if mine and shown["Notifying"].value:
                self._tree.change(path, CHARACTERISTIC, {"Value": Variant("ay", value)})
                return True
        return False

    # --- D-Bus

    def _handle(self, call: Message) -> Message | bool | None:
        path = call.path or ""
        if call.message_type != MessageType.METHOD_CALL or not (
            path == "/" or path.startswith("/org/bluez")
        ):
            return None
        if call.member in self._failures:
            return Message.new_error(call, *self._failures[call.member])
        if call.interface == OBJECTS and call.member == "GetManagedObjects":
            return Message.new_method_return(call, "a{oa{sa{sv}}}", [self._tree.objects])
        if path not in self._tree.objects:
            return Message.new_error(
                call, "org.freedesktop.DBus.Error.UnknownObject", f"no object {path}"
            )
        answers = {
            PROPERTIES: self._on_properties,
            ADAPTER: self._on_adapter,
            MANAGER: self._on_monitors,
            DEVICE: self._on_device,
            CHARACTERISTIC: self._on_characteristic,
        }
        answer = answers[call.interface](call) if call.interface in answers else None
        text = f"{call.interface}.{call.member}"
        return answer or Message.new_error(call, "org.freedesktop.DBus.Error.UnknownMethod", text)

    def _on_properties(self, call: Message) -> Message | None:
        shown = self._tree.objects[str(call.path)].get(call.body[0], {})
        if call.member == "GetAll":
            return Message.new_method_return(call, "a{sv}", [shown])
        if call.member == "Get" and call.body[1] in shown:
            return Message.new_method_return(call, "v", [shown[call.body[1]]])
        return None

    def _on_adapter(self, call: Message) -> Message | None:
        if call.member == "StartDiscovery":
            if not self._tree.objects[HCI0][ADAPTER]["Powered"].value:
                return Message.new_error(call, "org.bluez.Error.NotReady", "Resource Not Ready")
            self._scanners.add(str(call.sender))
            self._tree.change(HCI0, ADAPTER, {"Discovering": Variant("b", True)})
        elif call.member == "StopDiscovery":
            self._scanners.discard(str(call.sender))
            self._tree.change(HCI0, ADAPTER, {"Discovering": Variant("b", bool(self._scanners))})
        elif call.member == "RemoveDevice":
            self._tree.remove(call.body[0])
        elif call.member != "SetDiscoveryFilter":
            return None
        return Message.new_method_return(call)

    def _on_monitors(self, call: Message) -> Message | None:
        if not self._experimental:
            return None
        client, path = str(call.sender), str(call.body[0])
        if call.member == "RegisterMonitor":
            task = asyncio.get_running_loop().create_task(self._watch(client, path))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif call.member == "UnregisterMonitor":
            self._monitors.pop((client, path), None)
        else:
            return None
        return Message.new_method_return(call)

    def _on_device(self, call: Message) -> Message | bool | None:
        if call.member == "Connect":
            task = asyncio.get_running_loop().create_task(self._connect(call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return True  # answered when the link stands
        if call.member == "Disconnect":
            self._disconnected(str(call.path))
            return Message.new_method_return(call)
        return None

    def _on_characteristic(self, call: Message) -> Message | None:
        characteristic = self._characteristics[str(call.path)]
        if call.member == "ReadValue":
            return Message.new_method_return(call, "ay", [characteristic.value])
        if call.member == "WriteValue":
            characteristic.written.append(bytes(call.body[0]))
        elif call.member in ("StartNotify", "StopNotify"):
            on = Variant("b", call.member == "StartNotify")
            self._tree.change(str(call.path), CHARACTERISTIC, {"Notifying": on})
        else:
            return None
        return Message.new_method_return(call)
