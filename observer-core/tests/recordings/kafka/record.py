"""Writes down what clients and a broker say to each other: record.py LISTEN BROKER FILE COMMAND...

Passes connections to the port LISTEN on to the port BROKER while COMMAND runs. FILE gets a line a read, in the order of time:
the number of the connection, `>` from the client or `<` from the broker, and the bytes; behind them what COMMAND printed, each
line behind a `=`.
"""

import asyncio
import sys


def escape(data: bytes) -> str:
    return "".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02x}" for b in data)


async def main(listen: str, broker: str, path: str, command: list[str]) -> int:
    lines: list[str] = []
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        number, connections = connections, connections + 1
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", int(broker))

        async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, mark: str) -> None:
            try:
                while data := await source.read(1 << 20):
                    lines.append(f"{number} {mark} {escape(data)}")
                    sink.write(data)
                    await sink.drain()
            except ConnectionError:
                pass
            sink.close()

        await asyncio.gather(pass_on(reader, broker_writer, ">"), pass_on(broker_reader, writer, "<"))

    server = await asyncio.start_server(serve, "127.0.0.1", int(listen))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    server.close()
    lines += [f"= {line}" for line in printed.decode().splitlines()]
    with open(path, "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
    return process.returncode or 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])))
