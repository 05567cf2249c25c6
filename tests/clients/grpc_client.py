"""A gRPC client that finds its servers through xDS: a call for each line on stdin, an answer on a line for each.

usage: grpc_client.py TARGET METHOD      (GRPC_XDS_BOOTSTRAP_CONFIG names the xDS server)
A line is the request's bytes.
"""

import json
import sys

import grpc


def main():
    target, method = sys.argv[1:3]
    raw = lambda message: message
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(method, request_serializer=raw, response_deserializer=raw)
        for line in sys.stdin:
            try:
                reply = call(line.strip().encode(), timeout=20, wait_for_ready=True)
                answer = {"ok": reply.decode("latin-1")}
            except grpc.RpcError as error:
                answer = {"error": error.code().name, "details": error.details()}
            print(json.dumps(answer), flush=True)


main()
