"""A TCP path to the node that can be cut, as a tunnel or a train does it: no close frame, and nobody gets through."""

import asyncio


class Cable:
    @classmethod
    async def lay(cls, target):
        cable = cls()
        cable.up = True
        cable.writers = set()
        cable.carrying = set()
        cable.target = target.split(":")
        cable.server = await asyncio.start_server(cable._carry, "127.0.0.1", 0)
        cable.address = "127.0.0.1:{}".format(cable.server.sockets[0].getsockname()[1])
        return cable

    def cut(self):
        self.up = False
        for writer in self.writers:
            writer.transport.abort()

    def mend(self):
        self.up = True

    async def remove(self):
        self.cut()
        self.server.close()
        await asyncio.gather(*self.carrying)

    async def _carry(self, near_reader, near):
        if not self.up:
            near.transport.abort()
            return
        self.carrying.add(asyncio.current_task())
        far_reader, far = await asyncio.open_connection(*self.target)
        self.writers |= {near, far}
        await asyncio.gather(self._copy(near_reader, far), self._copy(far_reader, near))
        self.writers -= {near, far}
        self.carrying.discard(asyncio.current_task())

    @staticmethod
    async def _copy(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()
