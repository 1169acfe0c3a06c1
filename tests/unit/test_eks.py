"""Signing in to EKS: tokens that the cluster's authenticator takes, and as few calls of AWS as can be."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError
from botocore.stub import Stubber

from chalicelib.aws import hasty_client
from chalicelib.aws_session import AwsSession
from chalicelib.eks import ROLE_LASTS, SESSION, TOKEN_LASTS, Connect, EksSignIn
from chalicelib.errors import ClusterForbids, ClusterUnavailable, SignInFailed
from chalicelib.kept import FAILURE_LASTS
from tests.iam_authenticator import NotKnown, check, decoded
from tests.unit.store.support import Clock

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
CA = b64encode(PEM.encode()).decode()
HOST = "https://ABC.gr7.eu-west-1.eks.amazonaws.com"
ROLE = "arn:aws:iam::222222222222:role/trainyard-clusters"
HERE = {"eks": "prod", "region": "eu-west-1", "endpoint": HOST, "certificate_authority": CA}
LOOKED_UP = {"eks": "prod", "region": "eu-west-1"}
SECRETS = {"AKIDOWN": "own/secret+key"}
A_MOMENT = timedelta(microseconds=1)


@pytest.fixture(autouse=True)
def own_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOWN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS["AKIDOWN"])


class Aws:
    """EKS and STS, whose answers a test writes down before."""

    def __init__(self, connect: Connect) -> None:
        self.connected: list[tuple[str, Mapping[str, Any]]] = []
        self._clients = {name: connect(name, region_name="eu-west-1") for name in ("eks", "sts")}
        self.eks, self.sts = (Stubber(client) for client in self._clients.values())
        self.eks.activate()
        self.sts.activate()

    def __call__(self, service: str, **options: Any) -> Any:
        self.connected.append((service, options))
        return self._clients[service]

    def tells(self, status: str = "ACTIVE", host: str = HOST, ca: str = CA) -> None:
        told = {"name": "prod", "status": status, "endpoint": host, "certificateAuthority": {"data": ca}}
        self.eks.add_response("describe_cluster", {"cluster": told}, {"name": "prod"})

    def lends(self, number: int) -> None:
        lent = {
            "AccessKeyId": f"ASIAROLE{number:08}",
            "SecretAccessKey": f"secret{number}",
            "SessionToken": f"session/{number}+=",
            "Expiration": datetime(2040, 1, 1, tzinfo=UTC),
        }
        said = {"RoleArn": ROLE, "RoleSessionName": SESSION}
        self.sts.add_response("assume_role", {"Credentials": lent}, said)

    def nothing_is_left(self) -> None:
        self.eks.assert_no_pending_responses()
        self.sts.assert_no_pending_responses()


@pytest.fixture(scope="module")
def session() -> Any:
    return botocore.session.get_session()


@pytest.fixture
def aws(session: Any) -> Aws:
    return Aws(session.create_client)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def now() -> datetime:
    return datetime.now(UTC)


def test_the_token_is_the_signed_request_that_eks_documents(aws: Aws, clock: Clock) -> None:
    token = EksSignIn(HERE, clock, AwsSession(), aws)().token()
    assert token.startswith("k8s-aws-v1.") and "=" not in token
    assert not set(token) & set("+/")
    told = decoded(token)
    assert told.url.startswith(
        "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&"
    )
    assert told.query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert told.query["X-Amz-Credential"] == f"AKIDOWN/{told.signed_at:%Y%m%d}/eu-west-1/sts/aws4_request"
    assert told.query["X-Amz-SignedHeaders"] == "host;x-k8s-aws-id"
    assert told.query["X-Amz-Expires"] == "60"
    assert abs(told.signed_at - now()) < timedelta(minutes=1)
    assert check(token, "prod", "eu-west-1", SECRETS, now()) == "AKIDOWN"
    assert aws.connected == [], "it takes no call"


@pytest.mark.parametrize(
    ("region", "suffix"),
    [
        ("us-east-1", "amazonaws.com"),
        ("cn-north-1", "amazonaws.com.cn"),
        ("us-gov-west-1", "amazonaws.com"),
        ("eu-future-9", "amazonaws.com"),
    ],
)
def test_the_token_is_for_the_region_s_own_sts(clock: Clock, aws: Aws, region: str, suffix: str) -> None:
    token = EksSignIn({**HERE, "region": region}, clock, AwsSession(), aws)().token()
    assert check(token, "prod", region, SECRETS, now(), suffix) == "AKIDOWN"


def test_the_token_carries_the_session_of_a_lambda_s_role(
    aws: Aws, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a/session+token==")
    token = EksSignIn(HERE, clock, AwsSession(), aws)().token()
    assert decoded(token).query["X-Amz-Security-Token"] == "a/session+token=="
    assert check(token, "prod", "eu-west-1", SECRETS, now()) == "AKIDOWN"


@pytest.mark.parametrize(
    ("cluster", "secrets", "age", "why"),
    [
        ("staging", SECRETS, timedelta(0), "another signature"),
        ("prod", {"AKIDOWN": "another"}, timedelta(0), "another signature"),
        ("prod", {}, timedelta(0), "no access key"),
        ("prod", SECRETS, timedelta(minutes=16), "expired"),
    ],
    ids=["of another cluster", "signed with another secret", "of a stranger", "too old"],
)
def test_a_token_opens_one_cluster_for_a_quarter_of_an_hour(
    aws: Aws, clock: Clock, cluster: str, secrets: Mapping[str, str], age: timedelta, why: str
) -> None:
    token = EksSignIn(HERE, clock, AwsSession(), aws)().token()
    with pytest.raises(NotKnown, match=why):
        check(token, cluster, "eu-west-1", secrets, now() + age)


def test_the_region_is_the_function_s_own_where_the_cluster_names_none(
    aws: Aws, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    cluster = {name: text for name, text in HERE.items() if name != "region"}
    token = EksSignIn(cluster, clock, AwsSession(), aws)().token()
    assert decoded(token).host == "sts.ap-south-1.amazonaws.com"


def test_the_address_is_looked_up_once_and_again_only_for_a_new_sign_in_a_minute_later(
    aws: Aws, clock: Clock
) -> None:
    sign_in = EksSignIn(LOOKED_UP, clock, AwsSession(), aws)
    aws.tells()
    for _ in range(3):
        one = sign_in()
        assert (one.host, one.certificate_authority) == (HOST, PEM)
        one.token()
    assert aws.connected == [("eks", {"region_name": "eu-west-1"})]
    clock.move(60)
    aws.tells(host="https://made.anew")
    assert sign_in().host == "https://made.anew"
    aws.nothing_is_left()


def test_a_cluster_whose_address_is_configured_is_not_looked_up(aws: Aws, clock: Clock) -> None:
    one = EksSignIn(HERE, clock, AwsSession(), aws)()
    assert (one.host, one.certificate_authority) == (HOST, PEM)
    assert aws.connected == []


def test_a_cluster_that_is_being_updated_goes_on(aws: Aws, clock: Clock) -> None:
    aws.tells("UPDATING")
    assert EksSignIn(LOOKED_UP, clock, AwsSession(), aws)().host == HOST


def test_a_role_of_another_account_signs_and_looks_up(aws: Aws, clock: Clock) -> None:
    sign_in = EksSignIn({**LOOKED_UP, "role_arn": ROLE}, clock, AwsSession(), aws)
    aws.lends(1)
    aws.tells()
    token = sign_in().token()
    assert check(token, "prod", "eu-west-1", {"ASIAROLE00000001": "secret1"}, now()) == "ASIAROLE00000001"
    assert decoded(token).query["X-Amz-Security-Token"] == "session/1+="
    role = {
        "aws_access_key_id": "ASIAROLE00000001",
        "aws_secret_access_key": "secret1",
        "aws_session_token": "session/1+=",
    }
    assert aws.connected == [
        ("sts", {"region_name": "eu-west-1"}),
        ("eks", {"region_name": "eu-west-1", **role}),
    ]


def test_a_role_is_assumed_again_while_it_is_good_for_one_more_token(aws: Aws, clock: Clock) -> None:
    sign_in = EksSignIn({**HERE, "role_arn": ROLE}, clock, AwsSession(), aws)
    aws.lends(1)
    assert decoded(sign_in().token()).access_key == "ASIAROLE00000001"
    clock.now += ROLE_LASTS - A_MOMENT
    assert decoded(sign_in().token()).access_key == "ASIAROLE00000001"
    clock.now += A_MOMENT
    aws.lends(2)
    assert decoded(sign_in().token()).access_key == "ASIAROLE00000002"
    assert timedelta(hours=1) - ROLE_LASTS > TOKEN_LASTS
    aws.nothing_is_left()


def test_a_token_is_kept_until_a_minute_before_it_expires(aws: Aws, clock: Clock) -> None:
    """Its keys tell: those of the role are others by then."""
    sign_in = EksSignIn({**HERE, "role_arn": ROLE}, clock, AwsSession(), aws)
    aws.lends(1)
    sign_in().token()
    clock.now += ROLE_LASTS - A_MOMENT
    token = sign_in().token
    assert decoded(token()).access_key == "ASIAROLE00000001"
    clock.now += TOKEN_LASTS - A_MOMENT
    assert decoded(token()).access_key == "ASIAROLE00000001"
    clock.now += A_MOMENT
    aws.lends(2)
    assert decoded(token()).access_key == "ASIAROLE00000002"


SIGN_INS = [
    ("ResourceNotFoundException", SignInFailed, "there is no EKS cluster 'prod' in eu-west-1"),
    ("AccessDeniedException", ClusterForbids, r"eks:DescribeCluster\): a permission is missing"),
    ("ThrottlingException", SignInFailed, "AWS throttles"),
    ("TooManyRequestsException", SignInFailed, "AWS throttles"),
    ("ExpiredTokenException", SignInFailed, "does not know our credentials"),
    ("UnrecognizedClientException", SignInFailed, "does not know our credentials"),
    ("ServerException", SignInFailed, "ServerException"),
]


@pytest.mark.parametrize(("code", "error", "words"), SIGN_INS, ids=[code for code, *_ in SIGN_INS])
def test_what_eks_refuses_is_said_in_words_that_name_no_account(
    aws: Aws, clock: Clock, code: str, error: type[ClusterUnavailable], words: str
) -> None:
    aws.eks.add_client_error("describe_cluster", code, f"User: {ROLE} is not authorized")
    with pytest.raises(error, match=words) as raised:
        EksSignIn(LOOKED_UP, clock, AwsSession(), aws)()
    assert type(raised.value) is error
    assert "222222222222" not in str(raised.value)


def test_a_role_that_may_not_be_assumed_is_a_permission_that_is_missing(aws: Aws, clock: Clock) -> None:
    aws.sts.add_client_error("assume_role", "AccessDenied", f"not authorized: {ROLE}")
    with pytest.raises(ClusterForbids, match=r"sts:AssumeRole\): a permission is missing") as raised:
        EksSignIn({**HERE, "role_arn": ROLE}, clock, AwsSession(), aws)().token()
    assert ROLE not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("CREATING", "is still being created"),
        ("PENDING", "is not created yet"),
        ("DELETING", "is being deleted"),
        ("FAILED", "could not be created"),
        ("NEW", "is in state NEW"),
    ],
)
def test_a_cluster_that_is_not_active_says_so(aws: Aws, clock: Clock, status: str, words: str) -> None:
    aws.tells(status)
    with pytest.raises(SignInFailed, match=f"^EKS cluster 'prod' {words}$"):
        EksSignIn(LOOKED_UP, clock, AwsSession(), aws)()


def test_a_certificate_authority_that_is_none_says_so(aws: Aws, clock: Clock) -> None:
    aws.tells(ca="no base64!")
    with pytest.raises(SignInFailed, match="certificate authority cannot be read"):
        EksSignIn(LOOKED_UP, clock, AwsSession(), aws)()


@pytest.mark.parametrize(
    "error",
    [EndpointConnectionError(endpoint_url="https://eks"), ConnectTimeoutError(endpoint_url="https://eks")],
)
def test_an_aws_that_does_not_answer_says_what_a_vpc_needs(clock: Clock, error: Exception) -> None:
    def silent(service: str, **_: Any) -> Any:
        assert service == "eks"
        raise error

    with pytest.raises(SignInFailed, match="does not answer; in a VPC, that takes a NAT gateway"):
        EksSignIn(LOOKED_UP, clock, AwsSession(), silent)()


def test_a_real_client_gives_up_on_an_address_where_nobody_is(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_EKS", "http://127.0.0.1:1")
    own = AwsSession()
    with pytest.raises(SignInFailed, match="AWS does not answer"):
        EksSignIn(LOOKED_UP, clock, own, partial(hasty_client, own))()


@pytest.mark.parametrize(
    ("gone", "cluster", "words"),
    [
        ("AWS_ACCESS_KEY_ID", HERE, "there are no AWS credentials"),
        ("AWS_SECRET_ACCESS_KEY", HERE, "PartialCredentialsError"),
        ("AWS_DEFAULT_REGION", {k: v for k, v in HERE.items() if k != "region"}, "its region is not set"),
        ("AWS_DEFAULT_REGION", {**HERE, "region": "mars-one"}, "there is no AWS region 'mars-one'"),
    ],
    ids=["no credentials", "half of them", "no region", "a region that is none"],
)
def test_what_a_signature_takes_and_is_not_there_is_named(
    aws: Aws,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    gone: str,
    cluster: Mapping[str, str],
    words: str,
) -> None:
    monkeypatch.delenv(gone, raising=False)
    with pytest.raises(SignInFailed, match=words):
        EksSignIn(cluster, clock, AwsSession(), aws)().token()


def test_what_failed_is_not_tried_again_for_a_moment_and_then_is(aws: Aws, clock: Clock) -> None:
    sign_in = EksSignIn(LOOKED_UP, clock, AwsSession(), aws)
    aws.eks.add_client_error("describe_cluster", "ThrottlingException")
    for _ in range(3):
        with pytest.raises(SignInFailed, match="throttles"):
            sign_in()
    assert len(aws.connected) == 1
    clock.now += FAILURE_LASTS
    aws.tells()
    assert sign_in().host == HOST


def test_a_new_sign_in_does_not_bring_the_old_token_again(aws: Aws, clock: Clock) -> None:
    sign_in = EksSignIn(HERE, clock, AwsSession(), aws)
    before, after = sign_in(), sign_in()
    assert before.token is not after.token
    assert before.token() == before.token()
