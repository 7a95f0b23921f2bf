"""The slow truth beside the pipelines: workers as coroutines that a clock of single events moves on."""

from __future__ import annotations

import heapq
import itertools

ROOM, ARRIVED, RETURNED, AVERAGED = "room", "arrived", "returned", "averaged"


class Clock:
    """Wakes whoever waits, in order of time."""

    def __init__(self):
        self.now = 0.0
        self._events, self._order = [], itertools.count()
        self._happened, self._waiting = set(), {}

    def at(self, moment, action):
        heapq.heappush(self._events, (moment, next(self._order), action))

    def happen(self, *what):
        self._happened.add(what)
        for worker in self._waiting.pop(what, []):
            self.go_on(worker)

    def go_on(self, worker):
        for wish in worker:
            if isinstance(wish, float):
                return self.at(self.now + wish, lambda: self.go_on(worker))
            if wish not in self._happened:
                return self._waiting.setdefault(wish, []).append(worker)
        return None

    def run(self, workers):
        for worker in workers:
            self.go_on(worker)
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()


class Wire:
    """Carries one message at a time; each arrives a latency after it has left."""

    def __init__(self, clock, latency):
        self.clock, self.latency = clock, latency
        self.messages, self.idle = [], True

    def put(self, seconds, *what):
        self.messages.append((seconds, what))
        if self.idle:
            self._next()

    def _next(self):
        self.idle = not self.messages
        if self.idle:
            return
        seconds, what = self.messages.pop(0)

        def gone():
            self.clock.at(self.clock.now + self.latency, lambda: self.clock.happen(*what))
            self._next()

        self.clock.at(self.clock.now + seconds, gone)


def local_ends(stages, link, steps, queue, replicas, return_every):
    """When each stage is done with each step."""
    clock = Clock()
    outputs, returns = ([Wire(clock, link.latency) for _ in stages] for _ in range(2))
    averages = [Wire(clock, 0.0) for _ in stages]
    ends = [[0.0] * len(stages) for _ in range(steps)]

    def worker(index):
        stage, last = stages[index], index == len(stages) - 1
        for step in range(steps):
            if index:
                yield (ARRIVED, index, step)
            clock.happen(ROOM, index - 1, step)
            for place, block in enumerate(stage):
                if step and replicas > 1:
                    yield (AVERAGED, index, place, step - 1)
                yield block.forward
                if block is stage[-1] and not last:
                    if queue is not None and step >= queue:
                        yield (ROOM, index, step - queue)
                    outputs[index].put(block.output_bytes / link.bandwidth, ARRIVED, index + 1, step)
                    if step and step % return_every == 0 and block.followed_bytes:
                        yield (RETURNED, index, step - 1)
                yield block.auxiliary + block.backward + block.update
                if replicas > 1:
                    averages[index].put(link.averaging(block.trained_bytes, replicas), AVERAGED, index, place, step)
            ends[step][index] = clock.now
            if index and (step + 1) % return_every == 0:
                returns[index].put(stages[index - 1][-1].followed_bytes / link.bandwidth, RETURNED, index - 1, step)

    clock.run([worker(index) for index in range(len(stages))])
    return ends


def synchronous_ends(stages, link, orders):
    """When each stage is done with the step, without replicas."""
    clock = Clock()
    down, up = ([Wire(clock, link.latency) for _ in stages] for _ in range(2))
    ends = [0.0] * len(stages)

    def worker(index):
        stage, last = stages[index], index == len(stages) - 1
        for forward, micro in orders[index]:
            if forward:
                if index:
                    yield ("forward", index, micro)
                yield sum(block.forward for block in stage)
                if not last:
                    down[index].put(stage[-1].output_bytes / link.bandwidth, "forward", index + 1, micro)
            else:
                if not last:
                    yield ("backward", index, micro)
                yield sum(block.auxiliary + block.backward for block in stage)
                if index:
                    up[index].put(stages[index - 1][-1].output_bytes / link.bandwidth, "backward", index - 1, micro)
        yield sum(block.update for block in stage)
        ends[index] = clock.now

    clock.run([worker(index) for index in range(len(stages))])
    return ends
