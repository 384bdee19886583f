"""Calls a function with boto3, unmodified, and prints what came of it."""
import json
import os
import sys

import boto3
import botocore.exceptions
from botocore.config import Config

client = boto3.client("lambda", region_name="eu-west-1", endpoint_url=os.environ["AWS_ENDPOINT_URL"], config=Config(retries={"max_attempts": 2}))
name = sys.argv[1]
answer = client.invoke(FunctionName=name, Payload=json.dumps({"n": 1, "text": "ü"}, ensure_ascii=False).encode(), LogType="Tail")
print("answer", answer["Payload"].read().decode(), answer["StatusCode"], answer["ExecutedVersion"])
print("event", client.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")["StatusCode"])
print("dry", client.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"])
stream = client.invoke_with_response_stream(FunctionName=name, Payload=b'"streamed"')
print("stream", b"".join(e["PayloadChunk"]["Payload"] for e in stream["EventStream"] if "PayloadChunk" in e).decode())
print("list", " ".join(f["FunctionName"] for page in client.get_paginator("list_functions").paginate() for f in page["Functions"]))
for wrong in [{"FunctionName": "nobody"}, {"FunctionName": name, "Payload": b"{"}]:
    try:
        client.invoke(**wrong)
    except botocore.exceptions.ClientError as e:
        print("error", e.response["Error"]["Code"], e.response["ResponseMetadata"]["RetryAttempts"])
