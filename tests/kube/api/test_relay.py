"""A network that cuts and stalls whatever it carries, between us and the real API server."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from stagedoor.kube.cluster import KubeCluster
from stagedoor.kube.pace import Limits, WatchLimits
from stagedoor.model.cluster import ClusterError, Kind
from stagedoor.shells.kubernetes.live.mirror import Mirror, ObjectKey
from tests.kube.api.conftest import Connect
from tests.kube.api.lone import LoneApi
from tests.kube.api.objects import config_map

pytestmark = pytest.mark.timeout(300)  # the first of a process starts an API server

HOW = WatchLimits(
    answer_s=1,
    length_s=3,
    silence_s=1,
    late_s=1,
    first_wait_s=0.02,
    longest_wait_s=0.2,
    settled_s=1,
)
ENOUGH = 5
NAMES = [f"map-{number}" for number in range(12)]


class Relay:
    """Carries bytes to the API server, badly while `bad`."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self.bad = True
        self.cuts = 0
        self.stalls = 0
        self.port = 0
        self._to = port
        self._chance = chance
        self._tasks: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward: asyncio.StreamWriter | None = None
        try:
            back, onward = await asyncio.open_connection("127.0.0.1", self._to)
            ways = (
                asyncio.create_task(self._one_way(reader, onward)),
                asyncio.create_task(self._one_way(back, writer)),
            )
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            for stream in (writer, onward):
                if stream is not None:
                    stream.transport.abort()

    async def _one_way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A handshake takes some 3 KiB: some connections do not get so far.
        left = self._chance.randint(0, 40_000)
        with suppress(ConnectionError):
            while data := await reader.read(16_384):
                if self.bad and len(data) > left:
                    writer.write(data[:left])
                    await writer.drain()
                    if self._chance.random() < 0.3:
                        self.stalls += 1
                        await asyncio.sleep(3600)  # it stays open, and nothing comes any more
                    self.cuts += 1
                    return
                left -= len(data)
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def relay(api: LoneApi, chance: random.Random) -> AsyncIterator[Relay]:
    new_relay = Relay(api.port, chance)
    server = await asyncio.start_server(new_relay.connected, "127.0.0.1", 0)
    new_relay.port = server.sockets[0].getsockname()[1]
    try:
        yield new_relay
    finally:
        server.close()
        await new_relay.close()


def through(api: LoneApi, port: int) -> Path:
    path = api.kubeconfig()
    content = json.loads(path.read_text())
    content["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_the_network_does_the_mirror_is_right_in_the_end(
    api: LoneApi, connect: Connect, cluster: KubeCluster, namespace: str, seed: int
) -> None:
    chance = random.Random(seed)
    async with relay(api, chance) as network:
        behind = connect(
            kubeconfig=through(api, network.port), limits=Limits(request_s=1, list_s=1, watch=HOW)
        )
        mirror = Mirror(behind, Kind.CONFIG_MAP, [namespace], "")
        followed: dict[str, str] = {}
        news = asyncio.Event()

        def heard(keys: Collection[ObjectKey]) -> None:
            for _, name in keys:
                followed.pop(name, None)
                if (found := mirror.get(namespace, name)) is not None:
                    followed[name] = found["data"]["a"]
            news.set()

        mirror.listen(heard)
        task = asyncio.create_task(mirror.run())
        try:
            truth: dict[str, str] = {}
            number = 0
            # A stall lasts as long as the watch waits for a word: how many cuts 400 changes meet is chance.
            while number < 400 or network.cuts <= ENOUGH:
                number += 1
                assert number < 20_000, f"only {network.cuts} cuts"
                name = chance.choice(NAMES)
                if chance.random() < 0.3:
                    await cluster.delete(Kind.CONFIG_MAP, namespace, name)
                    truth.pop(name, None)
                else:
                    truth[name] = f"{number} {'x' * chance.randint(0, 3000)}"
                    await cluster.apply(config_map(namespace, name, a=truth[name]))
                await asyncio.sleep(0.01)
            network.bad = False
            async with asyncio.timeout(60):
                while followed != truth:
                    news.clear()
                    await news.wait()
            known = mirror.list_objects(namespace)
            assert {name: item["data"]["a"] for name, item in known.items()} == truth
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_each_call_through_it_is_done_or_one_error(
    api: LoneApi, connect: Connect, cluster: KubeCluster, namespace: str
) -> None:
    chance = random.Random(7)
    async with relay(api, chance) as network:
        behind = connect(
            kubeconfig=through(api, network.port), limits=Limits(request_s=1, list_s=1)
        )
        done = failed = 0
        final: list[str] = []

        async def one(number: int) -> None:
            nonlocal done, failed
            name = f"map-{number}"
            try:
                await behind.apply(config_map(namespace, name, a="x" * 2000))
                resource = await behind.get(Kind.CONFIG_MAP, namespace, name)
                assert resource is not None
                done += 1
            except ClusterError as error:
                failed += 1
                final.extend([] if error.retry else [error.message])

        for _ in range(15):
            await asyncio.gather(*(one(number) for number in range(8)))
        assert done
        assert failed
        network.bad = False
        # All are done as soon as no old connection is left, and the machine takes less than a second.
        async with asyncio.timeout(60):
            before = -1
            while failed != before:
                before = failed
                await asyncio.gather(*(one(number) for number in range(8)))
        assert final == []
