"""The training-v1 dialect: `/api/v1/training/jobs`, as docs/contracts/training-v1.md has it."""

from __future__ import annotations

from chalice.app import Blueprint, Response

from chalicelib.api import logs
from chalicelib.api import training_v1_schemas as schemas
from chalicelib.api.auth import authorizer
from chalicelib.api.creation import create
from chalicelib.api.messages import say
from chalicelib.api.requests import Call, job_id
from chalicelib.api.responses import answer, answering, no_content
from chalicelib.api.training_v1_schemas import DIALECT, success
from chalicelib.bootstrap import container
from chalicelib.services.logs import Ask
from chalicelib.services.submission import Rendered

JOBS = "/api/v1/training/jobs"
JOB = JOBS + "/{job}"
ANY_TYPE = ["*/*"]  # so that Chalice leaves a wrong Content-Type to us and our envelope

bp = Blueprint(__name__)
endpoint = answering(bp, DIALECT)


@bp.route(JOBS, methods=["POST"], authorizer=authorizer, content_types=ANY_TYPE)
@endpoint
def training_v1_create(call: Call) -> Response:
    call.caller.require_write()
    wanted = schemas.creation(call.json(), container().settings)
    made = create(call, container().submission, wanted, DIALECT)
    if isinstance(made, Rendered):
        data = {"dry_run": True, "manifests": made.manifests}
        return answer(success(say("dry_run", call.language), data=data))
    return answer(success(say("created", call.language), data=schemas.created(made)), 201)


@bp.route(JOBS, methods=["GET"], authorizer=authorizer, content_types=ANY_TYPE)
@endpoint
def training_v1_list(call: Call) -> Response:
    query = call.query(schemas.ListParameters).list_query()
    page = container().jobs.list(call.caller, query)
    return answer(success(say("success", call.language), data=schemas.listed(page, query)))


@bp.route(JOB, methods=["GET"], authorizer=authorizer, content_types=ANY_TYPE)
@endpoint
def training_v1_detail(call: Call, job: str) -> Response:
    call.nothing()
    found = container().jobs.get(call.caller, job_id(job))
    return answer(success(say("success", call.language), data=schemas.detail(found)))


@bp.route(JOB + "/stop", methods=["POST"], authorizer=authorizer, content_types=ANY_TYPE)
@endpoint
def training_v1_stop(call: Call, job: str) -> Response:
    call.nothing()
    container().jobs.stop(call.caller, job_id(job))
    return answer(success(say("training_v1.stopping", call.language)))


@bp.route(JOB, methods=["DELETE"], authorizer=authorizer, content_types=ANY_TYPE)
@endpoint
def training_v1_delete(call: Call, job: str) -> Response:
    call.nothing()
    container().jobs.delete(call.caller, job_id(job))
    if not call.wants_representation:
        return no_content()
    applied = {"Preference-Applied": "return=representation"}
    return answer(success(say("training_v1.deleted", call.language)), headers=applied)


@bp.route(JOB + "/logs", methods=["GET"], authorizer=authorizer, content_types=ANY_TYPE)
@endpoint
def training_v1_logs(call: Call, job: str) -> Response:
    wanted = call.query(schemas.LogParameters)
    page = logs.read(call, Ask(call.caller, job_id(job)), wanted, wanted.lines, tail=100)
    if call.wants_events:
        return logs.events(call, page)
    data = {"logs": logs.texts(page), **logs.about(page)}
    return answer(success(say("success", call.language), data=data))
