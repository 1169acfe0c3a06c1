"""Who is calling, as their verified token says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from chalicelib.errors import Forbidden

_TENANT = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")  # it becomes part of a namespace's name


def is_tenant(name: object) -> bool:
    """Whether it can name a tenant: a DNS label of at most 40 characters."""
    return isinstance(name, str) and _TENANT.fullmatch(name) is not None


class Role(StrEnum):
    """What a token may do: read its tenant's jobs, also write them, or both for every tenant."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified token's tenant, subject and roles."""

    tenant: str
    subject: str
    roles: frozenset[Role]

    @property
    def is_admin(self) -> bool:
        return Role.ADMIN in self.roles

    @property
    def scope(self) -> str | None:
        """The tenant whose jobs the caller sees; None is every tenant."""
        return None if self.is_admin else self.tenant

    def sees(self, tenant: str) -> bool:
        return self.is_admin or tenant == self.tenant

    def require_write(self) -> None:
        """Raise Forbidden unless the caller may create, stop and delete jobs."""
        if not self.roles & {Role.MEMBER, Role.ADMIN}:
            raise Forbidden(Role.MEMBER)
