"""Amazon's own client, for what tests look at behind the backend's back."""

from __future__ import annotations

from typing import Any, NamedTuple

import boto3
import botocore
from botocore.exceptions import BotoCoreError, ClientError

from pegasus_toolkit.transfer.errors import NotFound


class Object(NamedTuple):
    """What stands at a key."""

    size: int
    etag: str


class Client:
    """One service with one identity. What is not there raises ``NotFound``."""

    wrong = (BotoCoreError, ClientError)

    def __init__(self, endpoint: str, access: str, secret: str, ca_file: str = "") -> None:
        config = botocore.config.Config(
            s3={"addressing_style": "path"}, retries={"max_attempts": 0}, connect_timeout=5, read_timeout=30
        )
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            verify=ca_file or None,
            config=config,
        )

    def make_bucket(self, bucket: str) -> None:
        """Content if it is there."""
        if not self.has_bucket(bucket):
            self.client.create_bucket(Bucket=bucket)

    def has_bucket(self, bucket: str) -> bool:
        try:
            self._call("head_bucket", Bucket=bucket)
        except NotFound:
            return False
        return True

    def drop_bucket(self, bucket: str) -> None:
        self._call("delete_bucket", Bucket=bucket)

    def list(self, bucket: str, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    def read(self, bucket: str, key: str) -> bytes:
        found: bytes = self._call("get_object", Bucket=bucket, Key=key)["Body"].read()
        return found

    def write(self, bucket: str, key: str, content: bytes) -> None:
        self._call("put_object", Bucket=bucket, Key=key, Body=content, ChecksumAlgorithm="SHA256")

    def head(self, bucket: str, key: str) -> Object:
        found = self._call("head_object", Bucket=bucket, Key=key)
        return Object(found["ContentLength"], found["ETag"])

    def delete(self, bucket: str, keys: list[str]) -> None:
        for key in keys:
            self._call("delete_object", Bucket=bucket, Key=key)

    def uploads(self, bucket: str) -> list[str]:
        """Keys of uploads that were neither finished nor given up."""
        return [one["Key"] for one in self._call("list_multipart_uploads", Bucket=bucket).get("Uploads", ())]

    def close(self) -> None:
        self.client.close()

    def _call(self, method: str, **arguments: Any) -> Any:
        try:
            return getattr(self.client, method)(**arguments)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise NotFound("nothing there") from None
            raise
