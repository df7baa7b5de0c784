"""What an application does with the SDK, run in both encodings against a real node."""

import asyncio
import itertools
import json
import time
import unittest

from cable import Cable
from centrifuge import CentrifugeError, Client, ClientState, ReplyError, StreamPosition
from happenings import ClientHappenings, SubscriptionHappenings
from node import Node, in_seconds, token

FORCE_RECONNECT = 3011
FORCE_DISCONNECT = 3503
numbers = itertools.count(1)


def fresh(kind):
    """A name for each test, so that none sees the channel or the user of another."""
    return f"{kind}-{next(numbers)}"


class Suite:
    use_protobuf = False

    @classmethod
    def setUpClass(cls):
        cls.node = Node()

    @classmethod
    def tearDownClass(cls):
        cls.node.stop()

    def encode(self, value):
        return json.dumps(value).encode() if self.use_protobuf else value

    def decode(self, data):
        return json.loads(data) if self.use_protobuf else data

    def client(self, address=None, **options):
        if "get_token" not in options:
            options.setdefault("token", token(sub=options.pop("user", fresh("user"))))
        happenings = ClientHappenings()
        client = Client(
            f"ws://{address or self.node.address}/connection/websocket",
            events=happenings,
            use_protobuf=self.use_protobuf,
            **{"min_reconnect_delay": 0.05, "max_reconnect_delay": 0.2, **options},
        )
        client.happenings = happenings
        self.addAsyncCleanup(client.disconnect)
        return client

    async def connected(self, **options):
        client = self.client(**options)
        await client.connect()
        client.context = await client.happenings.next("connected")
        return client

    async def subscription(self, client, channel, **options):
        happenings = SubscriptionHappenings()
        sub = client.new_subscription(channel, events=happenings, max_resubscribe_delay=0.2, **options)
        sub.happenings = happenings
        await sub.subscribe()
        return sub

    async def subscribed(self, client, channel, **options):
        sub = await self.subscription(client, channel, **options)
        sub.context = await sub.happenings.next("subscribed")
        return sub

    async def cable(self):
        cable = await Cable.lay(self.node.address)
        self.addAsyncCleanup(cable.remove)
        return cable

    async def receives(self, sub, values, first=1):
        """As many publications as there are values, in this order and with offsets that leave none out."""
        for offset, value in enumerate(values, first):
            publication = (await sub.happenings.next("publication")).pub
            self.assertEqual(self.decode(publication.data), value)
            self.assertEqual(publication.offset, offset)
        self.assertEqual(sub.happenings.left("publication"), [])

    async def assert_refused(self, code, call):
        with self.assertRaises(ReplyError) as caught:
            await call
        self.assertEqual(caught.exception.code, code)

    async def eventually(self, check):
        until = time.monotonic() + 20
        while not check():
            self.assertLess(time.monotonic(), until)
            await asyncio.sleep(0.05)

    async def test_connects_with_a_token_and_is_told_its_client_id(self):
        client = await self.connected()
        self.assertRegex(client.context.client, "^[0-9a-f-]{36}$")

    async def test_is_refused_for_good_with_a_token_that_somebody_else_signed(self):
        client = self.client(token=token(sub="eve")[:-6] + "AAAAAA")
        await client.connect()
        self.assertEqual((await client.happenings.next("disconnected")).code, 3500)
        self.assertEqual(client.state, ClientState.DISCONNECTED)

    async def test_subscribes_and_receives_what_is_published_over_http_in_order(self):
        channel = fresh("news")
        sub = await self.subscribed(await self.connected(), channel)
        values = [{"n": n, "text": f'ä\n"{n}"'} for n in range(100)]
        for value in values:
            await self.node.publish(channel, value)
        await self.receives(sub, values)

    async def test_publishes_from_the_client_with_the_publishers_name_on_it(self):
        channel = fresh("chat")
        of = await self.subscribed(await self.connected(user="alice"), channel)
        to = await self.subscribed(await self.connected(user="bob"), channel)
        await of.publish(self.encode({"text": "hello"}))
        publication = (await to.happenings.next("publication")).pub
        self.assertEqual(self.decode(publication.data), {"text": "hello"})
        self.assertEqual(publication.info.user, "alice")
        await self.receives(of, [{"text": "hello"}])

    async def test_asks_who_is_present(self):
        channel = fresh("room")
        sub = await self.subscribed(await self.connected(user="alice"), channel)
        await self.subscribed(await self.connected(user="bob"), channel)
        clients = (await sub.presence()).clients
        self.assertEqual(sorted(info.user for info in clients.values()), ["alice", "bob"])
        stats = await sub.presence_stats()
        self.assertEqual((stats.num_clients, stats.num_users), (2, 2))

    async def test_hears_joins_and_leaves(self):
        channel = fresh("room")
        sub = await self.subscribed(await self.connected(user="alice"), channel, join_leave=True)
        self.assertEqual((await sub.happenings.next("join")).info.user, "alice")
        other = await self.subscribed(await self.connected(user="bob"), channel)
        self.assertEqual((await sub.happenings.next("join")).info.user, "bob")
        await other.unsubscribe()
        self.assertEqual((await sub.happenings.next("leave")).info.user, "bob")

    async def test_reads_the_history_both_ways_and_from_a_position(self):
        channel = fresh("news")
        sub = await self.subscribed(await self.connected(), channel)
        for n in (1, 2, 3):
            await self.node.publish(channel, {"n": n})
        epoch = (await sub.history()).epoch

        async def read(**options):
            history = await sub.history(**options)
            self.assertEqual(history.offset, 3)
            return [self.decode(publication.data)["n"] for publication in history.publications]

        self.assertEqual(await read(limit=0), [])
        self.assertEqual(await read(limit=2), [1, 2])
        self.assertEqual(await read(limit=2, reverse=True), [3, 2])
        self.assertEqual(await read(limit=10, since=StreamPosition(1, epoch)), [2, 3])
        await self.assert_refused(112, sub.history(limit=1, since=StreamPosition(1, "other")))

    async def test_catches_up_after_the_path_was_cut(self):
        channel, path = fresh("news"), await self.cable()
        client = await self.connected(address=path.address)
        sub = await self.subscribed(client, channel)
        await self.node.publish(channel, {"n": 1})
        await self.receives(sub, [{"n": 1}])
        path.cut()
        await sub.happenings.next("subscribing")
        for n in (2, 3, 4):
            await self.node.publish(channel, {"n": n})
        path.mend()
        context = await sub.happenings.next("subscribed")
        self.assertEqual((context.was_recovering, context.recovered), (True, True))
        await self.receives(sub, [{"n": 2}, {"n": 3}, {"n": 4}], 2)
        await self.node.publish(channel, {"n": 5})
        await self.receives(sub, [{"n": 5}], 5)

    async def test_catches_up_after_the_node_sent_it_away_to_come_back(self):
        channel, user = fresh("news"), fresh("user")
        client = await self.connected(user=user, min_reconnect_delay=0.5, max_reconnect_delay=0.6)
        sub = await self.subscribed(client, channel)
        disconnect = {"code": FORCE_RECONNECT, "reason": "force reconnect"}
        await self.node.api("disconnect", user=user, disconnect=disconnect)
        self.assertEqual((await client.happenings.next("connecting")).code, FORCE_RECONNECT)
        await self.node.publish(channel, {"n": 1})
        self.assertTrue((await sub.happenings.next("subscribed")).recovered)
        await self.receives(sub, [{"n": 1}])

    async def test_is_told_when_it_cannot_catch_up(self):
        channel, path = fresh("short:news"), await self.cable()
        client = await self.connected(address=path.address)
        sub = await self.subscribed(client, channel)
        path.cut()
        await sub.happenings.next("subscribing")
        for n in (1, 2, 3):
            await self.node.publish(channel, {"n": n})
        path.mend()
        context = await sub.happenings.next("subscribed")
        self.assertEqual((context.was_recovering, context.recovered), (True, False))
        await self.node.publish(channel, {"n": 4})
        await self.receives(sub, [{"n": 4}], 4)

    async def test_receives_nothing_once_it_has_unsubscribed_and_again_after_it_subscribed_again(self):
        channel = fresh("news")
        sub = await self.subscribed(await self.connected(), channel)
        await sub.unsubscribe()
        await sub.happenings.next("unsubscribed")
        await self.node.publish(channel, {"n": 1})
        await sub.subscribe()
        await sub.happenings.next("subscribed")
        await self.receives(sub, [{"n": 1}])
        await self.node.publish(channel, {"n": 2})
        await self.receives(sub, [{"n": 2}], 2)

    async def test_is_unsubscribed_by_the_server(self):
        channel, user = fresh("news"), fresh("user")
        sub = await self.subscribed(await self.connected(user=user), channel)
        await self.node.api("unsubscribe", user=user, channel=channel)
        self.assertEqual((await sub.happenings.next("unsubscribed")).code, 2000)

    async def test_is_sent_away_for_good_by_the_server(self):
        user = fresh("user")
        client = await self.connected(user=user)
        await self.node.api("disconnect", user=user)
        self.assertEqual((await client.happenings.next("disconnected")).code, FORCE_DISCONNECT)
        self.assertEqual(client.state, ClientState.DISCONNECTED)

    async def test_receives_through_the_subscriptions_that_its_token_names(self):
        channel = fresh("inbox")
        client = self.client(token=token(sub="reader", channels=[channel]))
        await client.connect()
        self.assertEqual((await client.happenings.next("subscribed")).channel, channel)
        await self.node.publish(channel, {"text": "for you"})
        context = await client.happenings.next("publication")
        self.assertEqual((context.channel, self.decode(context.pub.data)), (channel, {"text": "for you"}))

    async def test_fetches_a_token_when_the_one_it_has_is_expired(self):
        tokens = [token(sub="late", exp=in_seconds(-5)), token(sub="late")]

        async def get_token():
            return tokens.pop(0)

        client = await self.connected(get_token=get_token)
        self.assertEqual(tokens, [])
        self.assertEqual(client.state, ClientState.CONNECTED)

    async def test_refreshes_its_token_and_stays_connected_answering_pings_meanwhile(self):
        fetched = []

        async def get_token():
            fetched.append(token(sub="busy", exp=in_seconds(2)))
            return fetched[-1]

        client = await self.connected(get_token=get_token)
        await self.eventually(lambda: len(fetched) >= 4)
        self.assertEqual(client.happenings.left("connecting") + client.happenings.left("error"), [])
        self.assertEqual(client.state, ClientState.CONNECTED)

    async def test_subscribes_with_a_token_where_nobody_may_without_and_refreshes_it(self):
        channel, user = fresh("closed:room"), fresh("user")
        fetched = []

        async def get_token(channel):
            fetched.append(token(sub=user, channel=channel, exp=in_seconds(2)))
            return fetched[-1]

        sub = await self.subscribed(await self.connected(user=user), channel, get_token=get_token)
        await self.eventually(lambda: len(fetched) >= 3)
        self.assertEqual(sub.happenings.left("subscribing") + sub.happenings.left("error"), [])
        await self.node.publish(channel, {"text": "still here"})
        await self.receives(sub, [{"text": "still here"}])

    async def test_subscribes_to_a_private_channel_with_a_token_and_not_without_one(self):
        channel, user = f"${fresh('private')}", fresh("user")
        client = await self.connected(user=user)
        refused = await self.subscription(client, channel)
        self.assertEqual((await refused.happenings.next("unsubscribed")).code, 103)
        client.remove_subscription(refused)
        await self.subscribed(client, channel, token=token(sub=user, channel=channel))

    async def test_learns_by_its_code_why_something_is_refused(self):
        client = await self.connected()
        for channel, code in ((fresh("closed:room"), 103), ("unknown:room", 102), ("x" * 256, 107)):
            sub = await self.subscription(client, channel)
            self.assertEqual((await sub.happenings.next("unsubscribed")).code, code)
        await self.assert_refused(103, client.publish("news", self.encode({})))
        await self.assert_refused(103, client.presence("news"))
        await self.assert_refused(108, client.presence("plain:news"))
        await self.assert_refused(108, client.presence_stats("plain:news"))
        await self.assert_refused(108, client.history("plain:news"))
        await self.assert_refused(108, client.rpc("anything", self.encode({})))
        self.assertEqual(client.state, ClientState.CONNECTED)

    async def test_goes_without_history_and_recovery_where_nothing_is_kept(self):
        channel = fresh("plain:news")
        sub = await self.subscribed(await self.connected(), channel)
        self.assertEqual((sub.context.recoverable, sub.context.positioned), (False, False))
        await self.node.publish(channel, {"n": 1})
        publication = (await sub.happenings.next("publication")).pub
        self.assertEqual(self.decode(publication.data), {"n": 1})

    async def test_may_not_use_a_client_that_is_disconnected(self):
        client = await self.connected()
        await client.disconnect()
        with self.assertRaises(CentrifugeError):
            await client.publish(fresh("news"), self.encode({}))


class JsonSuite(Suite, unittest.IsolatedAsyncioTestCase):
    use_protobuf = False


class ProtobufSuite(Suite, unittest.IsolatedAsyncioTestCase):
    use_protobuf = True


if __name__ == "__main__":
    unittest.main(verbosity=2)
