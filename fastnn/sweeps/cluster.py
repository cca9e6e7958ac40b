"""The job on a Dask cluster: a plugin of its workers, so that each of them gets function and data once, those that join
later or are started again after a death as well.

(Scattered data are lost with the last worker that had them, and draw all trials to the workers that have them, where a
trial that kills its worker takes the blame to the others.)
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from distributed import WorkerPlugin, get_worker
from distributed.comm import get_address_host
from distributed.utils import get_ip, get_ipv6

from .job import Job
from .reports import HERE
from .shared import each, in_own_file, opened


class JobPlugin(WorkerPlugin):  # type: ignore[misc]
    """Holds the job in a worker."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def setup(self, worker: Any) -> None:
        """Maps data that come by path."""
        del worker
        self.job = opened(self.job)


class Known(NamedTuple):
    """What a trial knows the job by."""

    name: str

    def job(self) -> Job:
        """The job, on a worker."""
        job: Job = get_worker().plugins[self.name].job
        return job


@contextmanager
def known(client: Any, job: Job) -> Iterator[Known]:
    """The job on all workers, while the block lasts; memory-mapped arrays go by their paths."""
    name = f"fastnn-sweep-{uuid.uuid4().hex}"
    client.register_plugin(JobPlugin(each(job, lambda _, array: in_own_file(array))), name=name)
    try:
        yield Known(name)
    finally:
        with contextlib.suppress(Exception):  # a cluster that is gone has no plugins
            client.unregister_worker_plugin(name)


def threads(client: Any) -> int:
    """How many tasks the cluster runs at once."""
    if client.status != "running":
        raise ValueError(f"sweep(executor=...): the Dask client is {client.status}")
    found = sum(client.nthreads().values())
    if found == 0:
        raise ValueError(
            "sweep(executor=...): the Dask cluster has no workers yet: client.wait_for_workers(n) waits for n of them"
        )
    return int(found)


def host_for(client: Any) -> str:
    """Where the workers reach this process: its address on the way to the scheduler; for a scheduler that runs here,
    the machine itself."""
    address = client.scheduler.address
    host = get_address_host(address)
    if address.startswith("inproc:") or host in (HERE, "localhost", "::1"):
        return HERE
    return str(get_ipv6(host) if ":" in host else get_ip(host))
