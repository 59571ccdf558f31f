"""Talks to servers without a pause until its input ends; says what became of every connection.

    python -I -S talkers.py LONG PACE ADDRESS,PORT [ADDRESS,PORT …]

To each target LONG connections stay open and ask a line every PACE seconds, and as often one
is opened anew, asked once and closed. Every 50 ms, and last, a line of JSON says how far it is:

    answers   lines that came back, of all connections
    opened    new connections that were answered
    broken    what became of those that were not, a sentence each (at most 20)
    silence   the longest that a line was waited for, in seconds

The servers are the lab's echo servers, which answer a line with who they are and the line. A
long connection whose answers come from another server than its first is broken, too.
Standard library only: it is started in network namespaces.
"""

from __future__ import annotations

import asyncio
import json
import sys

PATIENCE = 30.0
MOST_BROKEN = 20


class Talkers:
    """Everyone who talks, and what became of it."""

    def __init__(self, pace: float) -> None:
        self.pace = pace
        self.answers = self.opened = 0
        self.broken: list[str] = []
        self.silence = 0.0

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """One line there and back: who answered. Raises OSError."""
        began = asyncio.get_running_loop().time()
        writer.write(b"hello\n")
        answer = (await asyncio.wait_for(reader.readline(), PATIENCE)).decode()
        if not answer.endswith("hello\n"):
            raise ConnectionError("it was closed")
        self.answers += 1
        self.silence = max(self.silence, asyncio.get_running_loop().time() - began)
        return answer.split()[0]

    async def stay(self, address: str, port: int) -> None:
        """One connection, for ever."""
        first = ""
        try:
            reader, writer = await self.open(address, port)
            while True:
                who = await self.ask(reader, writer)
                first = first or who
                if who != first:
                    raise ConnectionError(f"{who} answers in place of {first}")
                await asyncio.sleep(self.pace)
        except OSError as error:
            self.fail(f"an old one to {address} {port} ({first}): {error!r}")

    async def come_and_go(self, address: str, port: int) -> None:
        """One new connection after another."""
        while True:
            try:
                began = asyncio.get_running_loop().time()
                reader, writer = await self.open(address, port)
                took = asyncio.get_running_loop().time() - began
                self.silence = max(self.silence, took)
                await self.ask(reader, writer)
                self.opened += 1
                writer.close()
                await writer.wait_closed()
            except OSError as error:
                self.fail(f"a new one to {address} {port}: {error!r}")
            await asyncio.sleep(self.pace)

    @staticmethod
    async def open(address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection. Raises OSError."""
        return await asyncio.wait_for(asyncio.open_connection(address, port), PATIENCE)

    def fail(self, sentence: str) -> None:
        """Remember what broke."""
        if len(self.broken) < MOST_BROKEN:
            self.broken.append(sentence)

    def tell(self) -> None:
        """How far it is, to whoever started us."""
        print(json.dumps(vars(self)), flush=True)


async def main(long: int, pace: float, targets: list[tuple[str, int]]) -> None:
    """See the module's docstring."""
    talkers, ended = Talkers(pace), asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    tasks = [asyncio.create_task(talkers.stay(*each)) for each in targets for _ in range(long)]
    tasks += [asyncio.create_task(talkers.come_and_go(*each)) for each in targets]
    while not ended.is_set():
        talkers.tell()
        await asyncio.wait([asyncio.create_task(ended.wait())], timeout=0.05)
    for task in tasks:
        task.cancel()
    talkers.tell()


if __name__ == "__main__":
    rows = [each.rpartition(",") for each in sys.argv[3:]]
    targets = [(address, int(port)) for address, _, port in rows]
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), targets))
