"""A gRPC client that finds its servers through xDS: calls a method some times and prints the answers.

usage: grpc_client.py TARGET METHOD COUNT      (GRPC_XDS_BOOTSTRAP_CONFIG names the xDS server)
Requests and answers are raw bytes; stdin, if any, is the request.
"""

import json
import sys

import grpc


def main():
    target, method, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    raw = lambda message: message
    answers = []
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(method, request_serializer=raw, response_deserializer=raw)
        for _ in range(count):
            try:
                answers.append({"ok": call(b"", timeout=20, wait_for_ready=True).decode("latin-1")})
            except grpc.RpcError as error:
                answers.append({"error": error.code().name, "details": error.details()})
    json.dump(answers, sys.stdout)


main()
