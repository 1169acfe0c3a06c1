"""The jobs dialect: `/api/jobs`, as docs/contracts/jobs.md has it."""

from __future__ import annotations

from chalice.app import Blueprint, Response

from chalicelib.api import jobs_schemas as schemas
from chalicelib.api import logs
from chalicelib.api.auth import authorizer
from chalicelib.api.creation import create
from chalicelib.api.cursors import from_cursor, to_cursor
from chalicelib.api.fields import validate
from chalicelib.api.jobs_dialect import DIALECT, success
from chalicelib.api.messages import say
from chalicelib.api.requests import Call, job_id, pod_name
from chalicelib.api.responses import answer, answering
from chalicelib.bootstrap import container
from chalicelib.services.logs import Ask
from chalicelib.services.submission import Rendered

JOBS = "/api/jobs"
JOB = JOBS + "/{job}"
ANY_TYPE = ["*/*"]  # so that Chalice leaves a wrong Content-Type to us and our envelope

bp = Blueprint(__name__)
endpoint = answering(bp, DIALECT)


@bp.route(JOBS, methods=["POST"], authorizer=authorizer, content_types=ANY_TYPE)
@endpoint
def jobs_list(call: Call) -> Response:
    query = validate(schemas.ListBody, call.json()).list_query(container().settings)
    return answer(success(data=schemas.listed(container().jobs.list(call.caller, query))))


@bp.route(JOBS + "/create", methods=["POST"], authorizer=authorizer, content_types=ANY_TYPE)
@endpoint
def jobs_create(call: Call) -> Response:
    call.caller.require_write()
    wanted = schemas.creation(call.json(), container().settings)
    made = create(call, container().submission, wanted, DIALECT)
    if isinstance(made, Rendered):
        data = {"dryRun": True, "manifests": made.manifests}
        return answer(success(data=data, message=say("dry_run", call.language)))
    data = {"jobId": made.id, "jobName": made.spec.name}
    return answer(success(data=data, message=say("created", call.language)))


@bp.route(JOB, methods=["GET"], authorizer=authorizer, content_types=ANY_TYPE)
@endpoint
def jobs_detail(call: Call, job: str) -> Response:
    call.nothing()
    return answer(success(data=schemas.detail(container().jobs.get(call.caller, job_id(job)))))


@bp.route(JOB + "/stop", methods=["POST"], authorizer=authorizer, content_types=ANY_TYPE)
@endpoint
def jobs_stop(call: Call, job: str) -> Response:
    call.nothing()
    container().jobs.stop(call.caller, job_id(job))
    return answer(success(message=say("jobs.stopped", call.language)))


@bp.route(JOB, methods=["DELETE"], authorizer=authorizer, content_types=ANY_TYPE)
@endpoint
def jobs_delete(call: Call, job: str) -> Response:
    call.nothing()
    container().jobs.delete(call.caller, job_id(job))
    return answer(success(message=say("jobs.deleted", call.language)))


@bp.route(JOB + "/pods", methods=["GET"], authorizer=authorizer, content_types=ANY_TYPE)
@endpoint
def jobs_pods(call: Call, job: str) -> Response:
    call.nothing()
    pods = container().jobs.get(call.caller, job_id(job)).pods
    by_rank = sorted(pods, key=lambda pod: pod.rank)  # and within a rank they stay oldest first
    return answer(success(data={"pods": [schemas.pod(pod) for pod in by_rank]}))


@bp.route(JOB + "/events", methods=["GET"], authorizer=authorizer, content_types=ANY_TYPE)
@endpoint
def jobs_events(call: Call, job: str) -> Response:
    wanted = call.query(schemas.EventParameters)
    after = from_cursor(job_id(job), wanted.cursor)
    page = container().events.page(call.caller, job, wanted.limit, after)
    events = [schemas.event(event) for event in page.items]
    return answer(success(data={"events": events, "nextCursor": to_cursor(job, page.last)}))


@bp.route(JOB + "/pods/{pod}/logs", methods=["GET"], authorizer=authorizer, content_types=ANY_TYPE)
@endpoint
def jobs_pod_logs(call: Call, job: str, pod: str) -> Response:
    wanted = call.query(schemas.LogParameters)
    ask = Ask(call.caller, job_id(job), pod_name(pod))
    page = logs.read(call, ask, wanted, wanted.tail_lines, tail=1000)
    if call.wants_events:
        return logs.events(call, page)
    return answer(success(data={"logs": "\n".join(logs.texts(page)), **logs.about(page)}))


@bp.route(JOB + "/pods/{pod}/webterminal", methods=["GET"], authorizer=authorizer, content_types=ANY_TYPE)
@endpoint
def jobs_pod_terminal(call: Call, job: str, pod: str) -> Response:
    call.nothing()
    url = container().terminals.url(call.caller, job_id(job), pod_name(pod))
    return answer(success(data={"webTerminalUrl": url}))
