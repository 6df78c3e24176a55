"""A network between the service and its database, which can fall silent without closing anything."""

import asyncio
from typing import Self


class Proxy:
    """Forwards the connections that are made to `port` to another port of this machine."""

    def __init__(self, database_port: int) -> None:
        self._database_port = database_port
        self._open = asyncio.Event()
        self._open.set()
        self._generation = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_database: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def freeze(self) -> int:
        """Forwards nothing any more, and lets wait who connects; returns how many connections fell silent."""
        self._open.clear()
        self._generation += 1
        return len(self._to_database)

    def thaw(self) -> None:
        """Connects those who wait. The service never hears of its old connections again; the database sees them end."""
        for writer in self._to_database:
            writer.close()
        self._to_database.clear()
        self._open.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        generation = self._generation
        try:
            database_reader, database_writer = await asyncio.open_connection("127.0.0.1", self._database_port)
        except ConnectionError:
            return
        self._to_database.add(database_writer)

        async def forward(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            data = None
            while data != b"":
                try:
                    data = await source.read(65536)
                except ConnectionError:
                    data = b""
                if generation != self._generation:
                    await asyncio.Event().wait()  # for the rest of the experiment
                target.write(data)
            target.close()

        try:
            await asyncio.gather(forward(reader, database_writer), forward(database_reader, writer))
        finally:
            self._to_database.discard(database_writer)
            database_writer.close()
