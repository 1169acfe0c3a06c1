"""Reading and following the logs of jobs on a caller's behalf."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chalicelib.domain.job import Job
from chalicelib.domain.log_cursor import Cursor
from chalicelib.domain.observed import Pod
from chalicelib.domain.pools import Pool
from chalicelib.errors import ClusterRejected, ClusterUnavailable, PodNotFound
from chalicelib.services.caller import Caller
from chalicelib.services.cluster_ports import Cluster, Clusters, LogArchive, LogWatch
from chalicelib.services.job_log import JobLog, Page
from chalicelib.services.jobs import Jobs
from chalicelib.services.placement import pool_of
from chalicelib.services.pod_log import PodLog
from chalicelib.services.ports import Clock
from chalicelib.services.shared_archive import AT_THE_END

LOOK_AGAIN = timedelta(seconds=5)  # while a log is followed: for new pods and for those that ended
PAUSE = timedelta(seconds=1)  # where there is nothing to wait on, and between two reads of a record

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ask:
    """Which log: the whole job's, or one pod's."""

    caller: Caller
    job_id: str
    pod: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How the logs wait. `shipping` is how long the last lines of a pod may take to the archive."""

    shipping: timedelta
    sleep: Callable[[float], None]


class Logs:
    """The logs of the caller's jobs. Raises JobNotFound, PodNotFound and LogsUnavailable.

    A cluster that does not answer hides no log: then the archive is read alone.
    """

    def __init__(
        self,
        jobs: Jobs,
        pools: Mapping[str, Pool],
        clusters: Clusters,
        archive: LogArchive,
        clock: Clock,
        pace: Pace,
    ) -> None:
        self._jobs = jobs
        self._pools = pools
        self._clusters = clusters
        self._archive = archive
        self._clock = clock
        self._pace = pace

    def read(self, ask: Ask, cursor: Cursor | None, lines: int) -> Page:
        """The next lines behind `cursor`, at most `lines` of them; without `cursor`, the last ones."""
        return self._look(ask).page(cursor, lines)

    def follow(self, ask: Ask, cursor: Cursor | None, lines: int, wait: timedelta) -> Page:
        """The same, but if there is no line it waits for one."""
        deadline = self._clock() + wait
        view = self._look(ask)
        page = view.page(cursor, lines)
        news = False
        while not page.lines and not page.finished and (left := deadline - self._clock()) > timedelta():
            read = None
            if view.is_waiting:
                read = self._await_record(ask, view.job, min(left, LOOK_AGAIN))
            elif news:  # of lines that were rotated away and are not shipped yet
                self._pause(left)
                news = False
            else:
                news = self._await_news(view.log.pods, page.cursor, min(left, LOOK_AGAIN))
            view = self._look(ask, read)
            page = view.page(page.cursor, lines)
        return page

    def _look(self, ask: Ask, read: Job | None = None) -> _View:
        """`read` is the record, if it was read a moment ago."""
        job = read or self._jobs.get(ask.caller, ask.job_id)
        cluster, namespace, live = self._live(job)
        names = dict.fromkeys((*job.pod_names, *live))
        if not names and (cluster is None or job.is_terminal):
            names = dict.fromkeys(self._archive.pods(job.id))  # it had pods too briefly for its record
        if ask.pod is not None:
            if ask.pod not in names:
                # Without the cluster nobody knows whether it has a pod that the record does not have yet.
                raise PodNotFound(ask.pod) if cluster else ClusterUnavailable("the cluster does not answer")
            names = dict.fromkeys([ask.pod])
        shipped_until = self._clock() - self._pace.shipping - AT_THE_END
        is_over = job.finished_at is not None and (bool(names) or job.finished_at < shipped_until)
        pods = [
            PodLog(
                job_id=job.id,
                namespace=namespace,
                name=name,
                live=live.get(name),
                logs=cluster.logs if cluster else None,
                archive=self._archive,
                ended_at=_ended_at(job, name, live.get(name)),
                shipped_until=shipped_until,
            )
            for name in names
        ]
        return _View(job, live, JobLog(job.id, pods, is_final=is_over or ask.pod is not None))

    def _live(self, job: Job) -> tuple[Cluster | None, str, Mapping[str, Pod]]:
        """The job's cluster, its namespace there and its pods, oldest first; no cluster if it fails."""
        try:
            pool = pool_of(self._pools, job.spec.pool)
            cluster, namespace = self._clusters(pool), pool.namespace_of(job.tenant)
            return cluster, namespace, {pod.name: pod for pod in cluster.pods(namespace, job.id)}
        except (ClusterUnavailable, ClusterRejected) as error:
            log.warning("%s: its log is read from the archive alone: %s", job.id, error, extra=job.log_fields)
            return None, "", {}

    def _await_record(self, ask: Ask, known: Job, longest: timedelta) -> Job:
        """The record once it has changed, `longest` at most: it is told what becomes of pods, and to read it
        costs the cluster nothing."""
        until = self._clock() + longest
        job = known
        while job == known and (left := until - self._clock()) > timedelta():
            self._pause(left)
            job = self._jobs.get(ask.caller, ask.job_id)
        return job

    def _await_news(self, pods: Sequence[PodLog], cursor: Cursor, longest: timedelta) -> bool:
        """Whether a pod that runs has a line behind `cursor` by now; waits for one, `longest` at most."""
        watches = [pod.watch(cursor.of(pod.name).mark) for pod in pods if pod.is_running]
        news = _any_news(watches, longest)
        if news is False:
            self._pause(longest)
        return news is True

    def _pause(self, longest: timedelta) -> None:
        self._pace.sleep(min(longest, PAUSE).total_seconds())


@dataclass(frozen=True, slots=True)
class _View:
    """A job, its pods in the cluster, and its log, as they are at one moment."""

    job: Job
    live: Mapping[str, Pod]
    log: JobLog

    @property
    def is_waiting(self) -> bool:
        """Whether no pod has begun yet."""
        has_started = any(pod.live is None or pod.live.started_at for pod in self.log.pods)
        return not has_started and not self.job.is_terminal

    def page(self, cursor: Cursor | None, lines: int) -> Page:
        page = self.log.tail(lines) if cursor is None else self.log.after(cursor, lines)
        page = replace(page, is_shared=self.job.spec.nodes > 1)
        if page.lines or not self.is_waiting:
            return page
        return replace(page, waiting=(self.job.reason, self.job.message))


def _any_news(watches: Sequence[LogWatch], longest: timedelta) -> bool | None:
    """Whether one of them has news before all have ended; None: the time is over."""
    said: queue.SimpleQueue[bool] = queue.SimpleQueue()
    for watch in watches:
        threading.Thread(target=lambda watch=watch: said.put(watch.wait()), daemon=True).start()
    deadline = time.monotonic() + longest.total_seconds()
    try:
        return any(said.get(timeout=max(0.0, deadline - time.monotonic())) for _ in watches)
    except queue.Empty:
        return None
    finally:
        for watch in watches:
            watch.close()


def _ended_at(job: Job, name: str, live: Pod | None) -> datetime | None:
    known = [live, *(pod for pod in job.pods if pod.name == name)]
    return next((pod.finished_at for pod in known if pod and pod.finished_at), job.finished_at)
