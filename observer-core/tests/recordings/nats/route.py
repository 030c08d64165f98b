"""Sends messages from one server of a cluster to another: route.py PORT ROUTE

Starts a server with a route to ROUTE, behind which the server of the clients' PORT listens, and has clients of both send each other
messages. Prints nothing: what servers say to each other is no work of anybody.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys

import nats


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


async def until(condition) -> None:
    while not await condition():
        await asyncio.sleep(0.05)


async def main(port: str, route: str) -> None:
    other = free_port()
    server = subprocess.Popen([
        "nats-server", "-a", "127.0.0.1", "-p", str(other), "-cluster", f"nats://127.0.0.1:{free_port()}", "-cluster_name", "shop",
        "-routes", f"nats://127.0.0.1:{route}"], stderr=subprocess.DEVNULL)
    try:
        clients = []

        async def connect() -> bool:
            with contextlib.suppress(OSError, nats.errors.Error):
                clients.append(await nats.connect(f"nats://127.0.0.1:{other}", allow_reconnect=False))
            return bool(clients)

        await until(connect)
        clients.append(await nats.connect(f"nats://127.0.0.1:{port}"))
        received = [asyncio.Queue(), asyncio.Queue()]
        for client, queue in zip(clients, received):
            await client.subscribe("orders.new", cb=queue.put)
        for sender, queue in [(0, received[1]), (1, received[0])]:

            async def arrives() -> bool:
                await clients[sender].publish("orders.new", b"value", headers={"traceparent": f"00-{1:032x}-{1:016x}-01"})
                await clients[sender].publish("orders.new", b"value")
                await clients[sender].flush()
                with contextlib.suppress(asyncio.TimeoutError):
                    return bool(await asyncio.wait_for(queue.get(), 0.2))
                return False

            await until(arrives)
        for client in clients:
            await client.close()
    finally:
        server.terminate()
        server.wait()


asyncio.run(main(*sys.argv[1:]))
