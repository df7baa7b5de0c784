"""Events of a client or a subscription in the order in which they came, to be waited for one by one."""

import asyncio

from centrifuge import ClientEventHandler, SubscriptionEventHandler

WAIT_SECONDS = 10


class Happenings:
    def __init__(self):
        self._seen = []
        self._more = asyncio.Event()

    async def next(self, name):
        """The next event of this name; others on the way are passed over."""
        return await asyncio.wait_for(self._next(name), WAIT_SECONDS)

    def left(self, name):
        """Events of this name that came and were not asked for."""
        return [context for seen, context in self._seen if seen == name]

    async def _next(self, name):
        while not self.left(name):
            self._more.clear()
            await self._more.wait()
        while True:
            seen, context = self._seen.pop(0)
            if seen == name:
                return context

    def _take(self, name, context):
        self._seen.append((name, context))
        self._more.set()


def _recording(base):
    """A handler of all the events of `base` that only writes them down."""

    def recorder(name):
        async def record(self, context):
            self._take(name.removeprefix("on_"), context)

        return record

    events = {name: recorder(name) for name in vars(base) if name.startswith("on_")}
    return type(f"Recorded{base.__name__}", (Happenings, base), events)


ClientHappenings = _recording(ClientEventHandler)
SubscriptionHappenings = _recording(SubscriptionEventHandler)
