"""Workers as a scheduler sees them, hundreds in one process: they speak its protocol, and wait where others would work.

A read is a wait, whose seconds are drawn (log-normal, seeded by the item); so many go on at once as a worker has slots,
the others of its tasks wait in order of priority, and may be stolen. An embedding takes no time. Of a write, the data
of the items is said to have been fetched, and the chunk is written into the store, each item with numbers that tell it.
Heartbeats are sent as often as the scheduler asks for them. What workers send each other is left out: it costs them
and the network, not the scheduler.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import pickle
import random
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import count

import numpy as np
from distributed.batched import BatchedSend
from distributed.comm import connect
from distributed.core import Server, Status as State
from distributed.protocol import to_serialize
from distributed.versions import get_versions

from rs_embed_dask.engine.report import ChunkReceipt
from rs_embed_dask.store import ChunkResult, Status, Store

DIM = 16
LABEL = "rcf"
MODEL = {"id": LABEL, "options": {"features": DIM // 2}}
SIGMA = 0.5
BYTES = {"read": 4_000, "embed": 500, "write": 500}
METRICS = {
    "memory": 2**28,
    "cpu": 50.0,
    "task_counts": {},
    "bandwidth": {"total": 1e8, "workers": {}, "types": {}},
    "digests_total_since_heartbeat": {},
    "managed_bytes": 0,
    "spilled_bytes": {"memory": 0, "disk": 0},
    "transfer": {},
    "event_loop_interval": 0.02,
}


def vectors(rows):
    """What the model gives for some items."""
    return np.asarray(rows, "float32")[:, None] + np.arange(DIM, dtype="float32") / DIM


def read_seconds(item, mean):
    """How long an item's read takes; over many items the mean is `mean`."""
    return random.Random(item).lognormvariate(math.log(mean) - SIGMA**2 / 2, SIGMA)


class Farm(Server):
    """What all workers of a process share: the door at which data and calls are asked for, the store, and a clock."""

    def __init__(self, out, *, slots, read_s):
        calls = {"get_data": self.get_data, "run": self.run, "plugin-add": self.plugin_add}
        super().__init__(calls, needs_workdir=False, connection_limit=10_000)
        self.out, self.slots, self.read_s = out, slots, read_s
        self.data, self.versions = {}, get_versions()
        self.writers = ThreadPoolExecutor(2)

    async def get_data(self, comm, keys, **_):
        """Give the driver what a write returned, and wait until it says that it has it."""
        await comm.write({"status": "OK", "data": {key: to_serialize(self.data[key]) for key in keys}})
        assert await comm.read() == "OK"
        return State.dont_reply

    async def run(self, comm, **_):  # noqa: ARG002
        """Answer a call to all workers: no model is here, and none is to be loaded."""
        return {"status": "OK", "result": to_serialize(None)}

    async def plugin_add(self, comm, **_):  # noqa: ARG002
        """Take a plugin, for which there is nothing to do."""
        return {"status": "OK"}

    async def write(self, chunk):
        """Write a chunk, each item with its own numbers."""
        return await asyncio.get_running_loop().run_in_executor(self.writers, self.write_now, chunk)

    @cached_property
    def store(self):
        """The store, which is there once there is something to write."""
        return Store.open(self.out, "r+")

    def write_now(self, chunk):
        store = self.store
        span = store.span(chunk)
        rows = np.arange(*span)
        result = ChunkResult(
            rows=rows - span[0],
            status=np.full(len(rows), Status.OK, "uint8"),
            embedding=list(vectors(rows)),
            keys=store.values("items", "key", span),
        )
        store.finish_chunk(chunk, LABEL, result)
        return ChunkReceipt(chunk, {LABEL: Counter({Status.OK: len(rows)})})


class SimulatedWorker:
    """One worker: its connection to the scheduler, its reads in hand, and the tasks that wait for a slot."""

    def __init__(self, farm, scheduler, address):
        self.farm, self.scheduler, self.address = farm, scheduler, address
        self.waiting, self.gone, self.order, self.reading = [], set(), count(), 0
        self.stream = BatchedSend(interval="2ms")
        self.handlers = defaultdict(lambda: lambda **_: None)  # of what is no matter here, such as replicas
        self.handlers |= {"compute-task": self.compute, "free-keys": self.free, "steal-request": self.steal}

    async def register(self):
        """Tell the scheduler who is there, and listen to it."""
        self.comm = await connect(self.scheduler, deserialize=False)
        about = {
            "op": "register-worker",
            "reply": False,
            "address": self.address,
            "status": "running",
            "nthreads": self.farm.slots + 1,
            "name": self.address,
            "now": time.time(),
            "resources": {"FETCH": self.farm.slots, "EMBED": 1},
            "memory_limit": 2**33,
            "local_directory": "",
            "services": {},
            "nanny": None,
            "versions": self.farm.versions,
            "metrics": METRICS,
            "extra": {},
            "stimulus_id": f"worker-connect-{time.time()}",
            "server_id": self.address,
        }
        await self.comm.write(about, serializers=["msgpack"])
        answer = await self.comm.read()
        assert answer["status"] == "OK", answer
        self.stream.start(self.comm)
        self.tasks = [asyncio.create_task(each) for each in (self.listen(), self.beat(answer["heartbeat-interval"]))]

    async def beat(self, seconds):
        """Say every now and then that it is there."""
        while True:
            await asyncio.sleep(seconds)
            about = {"op": "heartbeat_worker", "address": self.address, "now": time.time(), "metrics": METRICS}
            comm = await self.farm.rpc.connect(self.scheduler)
            await comm.write(about | {"executing": {}, "extensions": {}, "reply": True})
            seconds = (await comm.read())["heartbeat-interval"]
            self.farm.rpc.reuse(self.scheduler, comm)

    async def listen(self):
        """Do what the scheduler says, until it is gone."""
        while True:
            for message in await self.comm.read():
                self.handlers[message.pop("op")](**message)

    def compute(self, *, key, run_id, priority, who_has, **_):
        """Begin a task: a read once a slot is free, all else at once."""
        stage = key[0].split("-")[1]
        if stage == "read":
            heapq.heappush(self.waiting, (priority, next(self.order), key, run_id))
            self.gone.discard(key)
            self.read_next()
        elif stage == "embed":
            self.finish(key, run_id, stage)
        else:
            asyncio.get_running_loop().create_task(self.write(key, run_id, who_has))

    def read_next(self):
        """Begin to read while a slot is free."""
        while self.waiting and self.reading < self.farm.slots:
            _, _, key, run_id = heapq.heappop(self.waiting)
            if key in self.gone:
                self.gone.discard(key)
                continue
            self.reading += 1
            seconds = read_seconds(key[-2], self.farm.read_s)
            asyncio.get_running_loop().call_later(seconds, self.read_ended, key, run_id, seconds)

    def read_ended(self, key, run_id, seconds):
        """Give the slot to the next read."""
        self.reading -= 1
        self.finish(key, run_id, "read", seconds)
        self.read_next()

    async def write(self, key, run_id, who_has):
        """Write a chunk for which the data of all items has come from the workers that have it."""
        fetched = [one for one, where in who_has.items() if self.address not in where]
        if fetched:
            self.stream.send({"op": "add-keys", "keys": fetched, "stimulus_id": f"gather-dep-{time.time()}"})
        began = time.time()
        self.farm.data[key] = await self.farm.write(key[1])
        self.finish(key, run_id, "write", time.time() - began)

    def finish(self, key, run_id, stage, seconds=1e-3):
        """Tell the scheduler that a task has ended."""
        now = time.time()
        self.stream.send(
            {
                "op": "task-finished",
                "status": "OK",
                "key": key,
                "run_id": run_id,
                "nbytes": BYTES[stage],
                "type": pickle.dumps(list),
                "typename": "list",
                "metadata": {},
                "thread": 1,
                "startstops": [{"action": "compute", "start": now - seconds, "stop": now}],
                "stimulus_id": f"task-finished-{now}",
            }
        )

    def free(self, *, keys, **_):
        """Forget results, and tasks that wait."""
        waiting = {key for _, _, key, _ in self.waiting} if any("-read-" in key[0] for key in keys) else set()
        for key in keys:
            self.farm.data.pop(key, None)
            if key in waiting:
                self.gone.add(key)

    def steal(self, *, key, stimulus_id, **_):
        """Give up a read that waits; say so if it has begun."""
        is_waiting = key not in self.gone and any(one == key for _, _, one, _ in self.waiting)
        if is_waiting:
            self.gone.add(key)
        state = "ready" if is_waiting else "executing"
        self.stream.send({"op": "steal-response", "key": key, "state": state, "stimulus_id": stimulus_id})


async def serve(options):
    """Be so many workers of a scheduler, each at an address of its own on one port, until the process ends."""
    farm = Farm(options.folder, slots=options.slots, read_s=options.read_s)
    await farm
    await farm.listen("tcp://0.0.0.0:0")
    hosts = (f"127.0.{number // 250 + 1}.{number % 250 + 1}" for number in range(options.farm))
    workers = [SimulatedWorker(farm, options.address, f"tcp://{host}:{farm.port}") for host in hosts]
    for worker in workers:
        await worker.register()
    print("ready", flush=True)
    await asyncio.gather(*(task for worker in workers for task in worker.tasks))
