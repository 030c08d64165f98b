"""What ends TLS before a Kafka broker and passes everything on in clear, as it is but for the address of the broker, which becomes
its own wherever the broker names it.

    terminator.py NAME BROKER LOG     listens anywhere on this host, and says where

CERTIFICATE and KEY are files. It logs nothing.
"""

import asyncio
import os
import ssl
import sys

BROKER = sys.argv[2].split(":")


def named(host, port):
    """An address in answers of Kafka: a string without its length, and a number of four bytes."""
    return host.encode() + int(port).to_bytes(4, "big")


async def asks(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def answers(reader, writer, own):
    try:
        while True:
            size = await reader.readexactly(4)
            answer = await reader.readexactly(int.from_bytes(size, "big"))
            writer.write(size + answer.replace(named(*BROKER), own))
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()


async def main():
    async def passes(reader, writer):
        from_broker, to_broker = await asyncio.open_connection(*BROKER)
        await asyncio.gather(asks(reader, to_broker), answers(from_broker, writer, own), return_exceptions=True)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.environ["CERTIFICATE"], os.environ["KEY"])
    server = await asyncio.start_server(passes, BROKER[0], 0, ssl=context)
    host, port = server.sockets[0].getsockname()
    own = named(host, port)
    print("ready", f"{host}:{port}", sep="\n", flush=True)
    await server.serve_forever()


asyncio.run(main())
