"""Every sentence that callers read, in Chinese (the contracts' own words, the default) and in English."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from chalicelib.api.strict_json import BadNumber
from chalicelib.errors import FieldError

MAX_SHOWN = 80  # characters of a value that an error shows
MAX_NAMED = 20  # fields that an error's message names; its details have more


class Language(StrEnum):
    """The languages of the catalogue."""

    ZH = "zh"
    EN = "en"


# key: (zh, en)
MESSAGES: Mapping[str, tuple[str, str]] = {
    "success": ("success", "success"),
    "created": ("训练任务创建成功", "Training job created"),
    "training_v1.stopping": ("训练任务停止中", "Training job is stopping"),
    "training_v1.deleted": ("训练任务删除成功", "Training job deleted"),
    "jobs.stopped": ("任务已停止", "Job stopped"),
    "jobs.deleted": ("任务已删除", "Job deleted"),
    "dry_run": ("校验通过，未创建任务", "The request is valid; nothing was created"),
    "separator": ("；", "; "),
    "got": ("{field} {problem}（收到 {value}）", "{field} {problem} (got {value})"),
    "lacks": ("{field} {problem}", "{field} {problem}"),
    "more": ("另有 {count} 处错误", "and {count} more"),
}

ERRORS: Mapping[str, tuple[str, str]] = {
    "InvalidRequest": ("请求参数错误：{problems}", "Invalid request: {problems}"),
    "PayloadTooLarge": ("请求体不能超过 {limit} 字节", "The request body may have at most {limit} bytes"),
    "UnsupportedMediaType": (
        "请求体必须是 application/json（UTF-8），收到 {content_type}",
        "The request body must be application/json (UTF-8), not {content_type}",
    ),
    "Unauthorized": ("未认证或令牌无效", "The request has no valid token"),
    "Forbidden": ("权限不足，需要角色 {role}", "This needs the role {role}"),
    "TicketInvalid": ("终端凭证无效", "The terminal's ticket is not valid"),
    "TicketExpired": ("终端凭证已过期，请重新获取", "The terminal's ticket has expired; ask for a new one"),
    "OriginForbidden": (
        "不允许来自 {origin} 的页面打开终端",
        "A page of {origin} may not open terminals",
    ),
    "NotFound": ("资源不存在", "There is no such resource"),
    "JobNotFound": ("任务 {job_id} 不存在", "There is no job {job_id}"),
    "PodNotFound": ("任务没有名为 {pod} 的 Pod", "The job has no pod {pod}"),
    "Conflict": ("请求与当前状态冲突", "The request conflicts with the current state"),
    "JobFinished": ("任务已结束，状态为 {status}", "The job has already ended; its status is {status}"),
    "IdempotencyConflict": (
        "幂等键 {key} 已用于另一个请求，或其任务已被删除",
        "The idempotency key {key} belongs to another request, or its job has been deleted",
    ),
    "PodNotRunning": ("Pod {pod} 未在运行：{why}", "The pod {pod} is not running: {why}"),
    "NoShell": ("Pod {pod} 中无法启动 shell：{why}", "No shell could be started in the pod {pod}: {why}"),
    "TicketUsed": (
        "终端凭证已被使用，请重新获取",
        "The terminal's ticket has been used already; ask for a new one",
    ),
    "TerminalsNotSetUp": (
        "此环境未启用 Web Terminal，请联系管理员",
        "Web terminals are not set up here; ask an administrator",
    ),
    "TerminalsBusy": (
        "打开的终端过多或服务正在重启，请稍后重试",
        "Too many terminals are open, or the service restarts; try again",
    ),
    "StaleRecord": ("任务同时被修改，请重试", "The job was changed at the same time; try again"),
    "ServiceUnavailable": ("服务暂时不可用，请稍后重试", "The service is not available right now; try again"),
    "LogsUnavailable": (
        "日志服务暂时不可用，请稍后重试",
        "The log service is not available right now; try again",
    ),
    "ClusterUnavailable": ("集群暂时不可用，请稍后重试", "The cluster is not answering right now; try again"),
    "ClusterRejected": ("集群拒绝了该请求", "The cluster refused the request"),
    "ClusterForbids": (
        "集群暂时拒绝访问（配额或权限不足），请联系管理员",
        "The cluster forbids this for now (quota or permission); ask an administrator",
    ),
    "NamespaceMissing": (
        "集群中没有命名空间 {namespace}，请联系管理员",
        "The cluster has no namespace {namespace}; ask an administrator",
    ),
    "PoolMissing": (
        "资源池 {pool_id} 已不再配置，请联系管理员",
        "The resource pool {pool_id} is no longer configured; ask an administrator",
    ),
    "InternalError": ("服务器内部错误", "Internal error"),
}

# What is wrong with one field; `allowed` of the FieldError fills it in.
PROBLEMS: Mapping[str, tuple[str, str]] = {
    "missing": ("是必填项", "is required"),
    "unknown": ("不存在，可选值：{allowed}", "is not known (known: {allowed})"),
    "unknown_field": ("不是可识别的字段", "is not a known field"),
    "misspelt_field": ("不是可识别的字段，是否应为 {near}？", "is not a known field, did you mean {near}?"),
    "object": ("必须是 JSON 对象", "must be a JSON object"),
    "list": ("必须是 JSON 数组", "must be a JSON array"),
    "too_many": ("最多 {high} 项", "may have at most {high} entries"),
    "empty": ("至少需要 1 项", "must have at least 1 entry"),
    "integer": ("必须是 {low} 到 {high} 的整数", "must be an integer from {low} to {high}"),
    "text": ("必须是 {low} 到 {high} 个字符的字符串", "must be a string of {low} to {high} characters"),
    "control_character": ("不能包含控制字符", "must not contain control characters"),
    "outer_space": ("首尾不能有空白字符", "must not begin or end with white space"),
    "flag": ("必须是 true 或 false", "must be true or false"),
    "one_of": ("必须是以下之一：{words}", "must be one of: {words}"),
    "script_path": (
        "必须是规范的绝对路径，不能包含 .、.. 或空路径段",
        "must be a normalised absolute path, without '.', '..' or empty segments",
    ),
    "image": (
        "必须是合法的镜像名，如 registry/image:tag",
        "must be an image reference such as registry/image:tag",
    ),
    "word": (
        "必须是不超过 {bytes} 字节且不含 NUL 的字符串",
        "must be a string of at most {bytes} bytes without NUL",
    ),
    "program": ("第一项必须是程序名", "must begin with the program to run"),
    "too_large": ("合计不能超过 {bytes} 字节", "may have at most {bytes} bytes in all"),
    "env_name": (
        "变量名必须匹配 [A-Za-z_][A-Za-z0-9_]*，最多 128 个字符",
        "must be named [A-Za-z_][A-Za-z0-9_]*, at most 128 characters",
    ),
    "env_reserved": ("是保留的变量名（{words}）", "is a reserved name ({words})"),
    "label_key": (
        "必须是合法的 Kubernetes 标签键（[前缀/]名称，名称最多 63 个字符）",
        "must be a Kubernetes label key ([prefix/]name, the name at most 63 characters)",
    ),
    "label_value": (
        "必须是合法的 Kubernetes 标签值（最多 63 个字符）",
        "must be a Kubernetes label value (at most 63 characters)",
    ),
    "label_reserved": ("是保留的标签键（{words}）", "is a reserved key ({words})"),
    "token": ("必须是 1 到 128 个可见 ASCII 字符", "must be 1 to 128 visible ASCII characters"),
    "token_twice": ("与请求体中的 {other} 不一致", "differs from {other} in the body"),
    "given_twice": ("与 {other} 重复，只能给出一处", "repeats {other}; give one of them"),
    "time": (
        "必须是带时区的 RFC 3339 时间，如 2026-01-26T10:00:00Z",
        "must be an RFC 3339 time with its zone, such as 2026-01-26T10:00:00Z",
    ),
    "time_order": ("不能早于 {other}", "must not be before {other}"),
    "page_depth": (
        "过深：页码 × 每页数量不能超过 {high}，请用过滤条件缩小范围",
        "is too deep: page × page size may be at most {high}; narrow the list by a filter",
    ),
    "cursor": (
        "不是此任务列表返回的游标，去掉它即可从头开始",
        "is not a cursor that this job's list gave; leave it out to begin anew",
    ),
    "repeated": ("只能出现一次", "may be given only once"),
    "log_cursor": (
        "不是该任务日志接口返回的 cursor；从头读取请用 start",
        "is no cursor that this job's log has given; 'start' reads from the beginning",
    ),
    "only_with": ("只能与 {other} 一起使用", "is for {other} only"),
    "json_not_object": ("必须是 JSON 对象", "must be a JSON object"),
    "json_syntax": (
        "不是合法的 JSON（第 {line} 行第 {column} 列）",
        "is not JSON (line {line}, column {column})",
    ),
    "json_encoding": ("不是合法的 UTF-8（第 {offset} 字节）", "is not UTF-8 (byte {offset})"),
    "json_depth": ("嵌套不能超过 {high} 层", "may be nested at most {high} levels deep"),
    "json_repeated_key": ("重复出现", "is given more than once"),
    "json_not_a_number": ("不是 JSON 数字", "is not a JSON number"),
    "json_too_big": ("数字超出范围", "is a number too big to be kept"),
    "yaml_syntax": (
        "不是合法的 YAML（第 {line} 行第 {column} 列：{why}）",
        "is not YAML (line {line}, column {column}: {why})",
    ),
    "yaml_key": ("第 {line} 行的键必须是字符串", "has a key on line {line} that is no string"),
    "yaml_tag": ("第 {line} 行的标签 {tag} 不受支持", "has a tag on line {line} that is not known: {tag}"),
    "yaml_merge": ("{path} 中的 << 必须引用映射", "has a << in {path} that names no mapping"),
    "too_many_values": ("展开后不能超过 {high} 个值", "may have at most {high} values, aliases written out"),
    "file_jobs": ("必须包含 1 到 {high} 个任务", "must be one job, or a list of 1 to {high}"),
    "upload_gone": ("在读取之前已被删除或替换", "was deleted or replaced before it was read"),
    "upload_late": (
        "上传超过 {days} 天后才被处理，请重新上传",
        "was uploaded more than {days} days ago; upload it again",
    ),
    "upload_tenant": (
        "中 submissions/ 之后必须是租户名（最多 40 个字符的 DNS 标签）",
        "must have a tenant's name (a DNS label of at most 40 characters) after submissions/",
    ),
    "bundle_name": (
        "必须是同一目录中以 {endings} 结尾的文件名",
        "must be the name of a file in the same folder that ends in {endings}",
    ),
    "bundle_missing": (
        "不存在：{uri}；请先上传代码包，再上传任务文件",
        "is not there: {uri}; upload the archive first, then this file again",
    ),
    "bundle_too_large": ("不能超过 {bytes} 字节", "may have at most {bytes} bytes"),
    "bundle_or_workspace": (
        "不能与 workspace_id 同时使用：两者都是 /workspace",
        "cannot go with a workspace id: both would be /workspace",
    ),
    "token_used": (
        "已用于另一个请求，或其任务已被删除",
        "belongs to another request, or its job has been deleted",
    ),
    "job_deleted": ("已被删除", "has been deleted"),
    "json_surrogate": ("包含不成对的代理字符", "contains a lone surrogate"),
}


def language_of(accept: str) -> Language:
    """The language that an Accept-Language header likes best; Chinese unless it says otherwise."""
    best, weight = Language.ZH, 0.0
    for part in accept.lower().split(","):
        tag, _, parameter = part.strip().partition(";")
        match = re.fullmatch(r"\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*", parameter)
        quality = float(match[1]) if match else 1.0
        primary = tag.strip().partition("-")[0]
        if primary in set(Language) and quality > weight:
            best, weight = Language(primary), quality
    return best


def say(key: str, language: Language, **values: Any) -> str:
    """A sentence of the catalogue."""
    return _pick(MESSAGES[key], language).format(**values)


def error_text(code: str, language: Language, values: Mapping[str, Any]) -> str:
    """The sentence of an error; `values` are printable already."""
    return _pick(ERRORS[code], language).format(**values)


def problem_text(error: FieldError, language: Language) -> str:
    """What is wrong with one field, without its name and value."""
    allowed = error.allowed
    if isinstance(allowed, Mapping):
        return _pick(PROBLEMS[error.problem], language).format(**allowed)
    listed = ", ".join(map(str, allowed)) if isinstance(allowed, list | tuple) else allowed
    return _pick(PROBLEMS[error.problem], language).format(allowed=listed or "-")


def problems_text(errors: list[FieldError], language: Language) -> str:
    """All that is wrong, in one line."""
    parts = []
    for error in errors[:MAX_NAMED]:
        key = "lacks" if error.value is None else "got"
        problem, value = problem_text(error, language), show_json(error.value)
        parts.append(say(key, language, field=show(error.field), problem=problem, value=value))
    if len(errors) > MAX_NAMED:
        parts.append(say("more", language, count=len(errors) - MAX_NAMED))
    return say("separator", language).join(parts)


def show(text: str) -> str:
    """Text that a caller sent, safe to print: cut short, anything unprintable escaped."""
    cut = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in cut)


def show_json(value: Any) -> str:
    """A value that a caller sent, as JSON, safe to print and cut short."""
    if isinstance(value, BadNumber):
        return show(value.text)
    return show(json.dumps(value, ensure_ascii=False, default=str))


def _pick(pair: tuple[str, str], language: Language) -> str:
    return pair[0] if language is Language.ZH else pair[1]
