"""Signs in to EKS clusters: where a cluster is, and tokens that say who we are.

A token is a URL: a request to STS (GetCallerIdentity) that is signed and not sent. The cluster sends it, and
STS tells it who signed. So a token costs no call and no permission. The cluster's name is signed too, so that
nobody who has seen a token gets into another cluster.
"""

from __future__ import annotations

import binascii
import logging
import re
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from botocore.credentials import Credentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
)
from botocore.model import ServiceId
from botocore.signers import RequestSigner

from chalicelib.cluster.sign_in import SignIn
from chalicelib.errors import ClusterForbids, ClusterUnavailable, SignInFailed
from chalicelib.kept import Kept
from chalicelib.services.ports import Clock

TOKEN_LASTS = timedelta(minutes=14)  # STS takes a signed URL for 15, whatever the URL says
TOKEN_PREFIX = "k8s-aws-v1."
CLUSTER_HEADER = "x-k8s-aws-id"
URL_SECONDS = 60  # what the URL says: old authenticators take no more
ROLE_LASTS = timedelta(minutes=45)  # of an hour: whoever signs in the last minute has 15 left
# A client keeps what it was told for as long as the cluster is there. This is how soon one that is not there
# is asked after again.
ADDRESS_LASTS = timedelta(minutes=1)
SESSION = "trainyard"

_THROTTLED = {"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"}
_DENIED = {"AccessDenied", "AccessDeniedException"}
_NO_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_STATES = {
    "PENDING": "is not created yet",
    "CREATING": "is still being created",
    "DELETING": "is being deleted",
    "FAILED": "could not be created",
}

log = logging.getLogger(__name__)

Connect = Callable[..., Any]  # service, options of botocore's create_client → a client


@dataclass(frozen=True, slots=True)
class _Address:
    host: str
    certificate_authority: str


class EksSignIn:
    """cluster.sign_in.MakeSignIn for the cluster that an entry of TRAINYARD_CLUSTERS names with `eks`.

    It takes 6 s at most, where AWS does not answer: domain.decide.SUBMISSION_LASTS builds on it. What failed
    is not tried again for a moment: the jobs of a batch ask one after the other.
    """

    def __init__(
        self, cluster: Mapping[str, str], clock: Clock, session: Callable[[], Any], connect: Connect
    ) -> None:
        self._cluster = cluster
        self._what = f"EKS cluster {cluster['eks']!r}"
        self._clock = clock
        self._connect = connect
        self._session = session
        self._role = Kept(self._assume_role, ROLE_LASTS, clock)
        self._address = Kept(self._look_up, ADDRESS_LASTS, clock)

    def __call__(self) -> SignIn:
        address = self._address()
        token = Kept(self._sign, TOKEN_LASTS, self._clock)
        return SignIn(address.host, address.certificate_authority, token)

    def _sign(self) -> str:
        with self._translated("its sign-in cannot be signed"):
            url = self._signed_url(self._session(), self._region())
        return TOKEN_PREFIX + urlsafe_b64encode(url.encode()).decode().rstrip("=")

    def _signed_url(self, session: Any, region: str) -> str:
        # Clusters take the names of STS' regional endpoints only, whatever ours is called here.
        suffix = self._suffix(session, region)
        request = {
            "method": "GET",
            "url": f"https://sts.{region}.{suffix}/?Action=GetCallerIdentity&Version=2011-06-15",
            "body": {},
            "headers": {CLUSTER_HEADER: self._cluster["eks"]},
            "context": {},
        }
        credentials = self._role() if "role_arn" in self._cluster else session.get_credentials()
        events = session.get_component("event_emitter")
        signer = RequestSigner(ServiceId("sts"), region, "sts", "v4", credentials, events)
        url = signer.generate_presigned_url(
            request, operation_name="", region_name=region, expires_in=URL_SECONDS
        )
        return str(url)

    def _suffix(self, session: Any, region: str) -> str:
        """What AWS' host names end in: China's are not the rest's."""
        for partition in session.get_component("data_loader").load_data("partitions")["partitions"]:
            if re.match(partition["regionRegex"], region):
                return str(partition["outputs"]["dnsSuffix"])
        raise SignInFailed(f"{self._what}: there is no AWS region {region!r}")

    def _look_up(self) -> _Address:
        known = self._cluster
        if "endpoint" in known:
            return _Address(known["endpoint"], self._certificate(known["certificate_authority"]))
        role = self._as_role() if "role_arn" in known else {}
        with self._translated("where it is cannot be looked up (eks:DescribeCluster)"):
            eks = self._connect("eks", region_name=self._region(), **role)
            told = eks.describe_cluster(name=known["eks"])["cluster"]
        state = str(told.get("status"))
        if state not in ("ACTIVE", "UPDATING"):
            raise SignInFailed(f"{self._what} {_STATES.get(state, f'is in state {state}')}")
        return _Address(told["endpoint"], self._certificate(told["certificateAuthority"]["data"]))

    def _assume_role(self) -> Credentials:
        with self._translated("its role_arn cannot be assumed (sts:AssumeRole)"):
            sts = self._connect("sts", region_name=self._region())
            told = sts.assume_role(RoleArn=self._cluster["role_arn"], RoleSessionName=SESSION)["Credentials"]
        return Credentials(told["AccessKeyId"], told["SecretAccessKey"], told["SessionToken"])

    def _as_role(self) -> dict[str, str]:
        role = self._role()
        return {
            "aws_access_key_id": role.access_key,
            "aws_secret_access_key": role.secret_key,
            "aws_session_token": role.token,
        }

    def _region(self) -> str:
        region = self._cluster.get("region") or self._session().get_config_variable("region")
        if not region:
            raise SignInFailed(f"{self._what}: its region is not set, and there is no AWS_DEFAULT_REGION")
        return str(region)

    def _certificate(self, data: str) -> str:
        try:
            return b64decode(data, validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise SignInFailed(f"{self._what}: its certificate authority cannot be read") from error

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """AWS' own words name accounts and roles. They are for the log: jobs' callers read ours."""
        try:
            yield
        except ClientError as error:
            log.warning("%s: %s: %s", self._what, what, error)
            raise self._error(what, error.response["Error"]["Code"]) from error
        except NoCredentialsError as error:
            raise SignInFailed(f"{self._what}: there are no AWS credentials to sign in with") from error
        except (ConnectionError, HTTPClientError) as error:
            hint = "in a VPC, that takes a NAT gateway or an interface endpoint"
            raise SignInFailed(f"{self._what}: {what}: AWS does not answer; {hint}") from error
        except BotoCoreError as error:
            log.warning("%s: %s: %s", self._what, what, error)
            raise SignInFailed(f"{self._what}: {what}: {type(error).__name__}") from error

    def _error(self, what: str, code: str) -> ClusterUnavailable:
        if code in _DENIED:
            return ClusterForbids(f"{self._what}: {what}: a permission is missing")
        if code == "ResourceNotFoundException":
            return SignInFailed(f"there is no {self._what} in {self._region()}")
        if code in _THROTTLED:
            return SignInFailed(f"{self._what}: {what}: AWS throttles the call; it is tried again")
        if code in _NO_CREDENTIALS:
            return SignInFailed(f"{self._what}: {what}: AWS does not know our credentials ({code})")
        return SignInFailed(f"{self._what}: {what}: {code}")
