"""What the embedded stack takes from resources.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local import template
from infra.local.config import RESOURCES

SAMPLE = """
Parameters:
  Size: {Type: Number, Default: 1}
Resources:
  Table: {Type: 'AWS::DynamoDB::Table', Properties: {TableName: !Sub 'jobs-${AWS::Region}', N: !Ref Size}}
  Alarm: {Type: 'AWS::CloudWatch::Alarm', Properties: {Function: !Ref Outbox, Table: !Ref Table}}
  Board: {Type: 'AWS::CloudWatch::Dashboard', DependsOn: Alarm, Properties: {}}
  Named: {Type: 'AWS::SQS::Queue', Properties: {Name: !Sub ['${Here}-${Table.Arn}', {Here: !Ref Size}]}}
  Outbox:
    Properties:
      Events:
        OutboxDynamodbEventSource:
          Properties: {Stream: !GetAtt Table.StreamArn, MaximumRetryAttempts: 5}
  Uploads:
    Properties:
      Events: {UploadsSqsEventSource: {Properties: {Queue: !GetAtt Named.Arn, BatchSize: 5}}}
  RestAPI:
    Properties:
      GatewayResponses: {UNAUTHORIZED: {StatusCode: 401}}
Outputs:
  TableName: {Value: !Ref Table}
  Function: {Value: !GetAtt Outbox.Arn}
"""


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    file = tmp_path / "resources.yaml"
    file.write_text(SAMPLE)
    return file


def test_patches_and_what_refers_to_them_stay_out(sample: Path) -> None:
    body = template.standalone(template.read(sample))
    assert sorted(body["Resources"]) == ["Named", "Table"]
    assert sorted(body["Outputs"]) == ["TableName"]
    assert body["Parameters"] == {"Size": {"Type": "Number", "Default": 1}}


def test_short_tags_are_written_out(sample: Path) -> None:
    resources = template.read(sample)["Resources"]
    assert resources["Table"]["Properties"] == {
        "TableName": {"Fn::Sub": "jobs-${AWS::Region}"},
        "N": {"Ref": "Size"},
    }
    assert resources["Named"]["Properties"]["Name"] == {
        "Fn::Sub": ["${Here}-${Table.Arn}", {"Here": {"Ref": "Size"}}]
    }


def test_the_streams_mapping_and_the_gateways_answers_are_found(sample: Path) -> None:
    body = template.read(sample)
    assert template.stream_mapping(body, "Outbox")["MaximumRetryAttempts"] == 5
    assert template.stream_mapping(body, "RestAPI") == {}
    assert template.gateway_responses(body) == {"UNAUTHORIZED": {"StatusCode": 401}}


def test_a_queues_mapping_is_found(sample: Path) -> None:
    body = template.read(sample)
    expected = {"Queue": {"Fn::GetAtt": ["Named", "Arn"]}, "BatchSize": 5}
    assert template.queue_mapping(body, "Uploads") == expected
    assert template.queue_mapping(body, "Outbox") == {}


def test_the_real_file_gives_a_table_with_a_stream() -> None:
    body = template.standalone(template.read(RESOURCES))
    tables = [r for r in body["Resources"].values() if r["Type"] == "AWS::DynamoDB::Table"]
    assert len(tables) == 1
    assert "StreamSpecification" in tables[0]["Properties"]
