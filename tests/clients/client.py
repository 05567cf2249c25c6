"""grpcio as a client that finds its servers through xDS; the lines it reads and writes are those of the other clients.

usage: client.py TARGET METHOD      (GRPC_XDS_BOOTSTRAP_CONFIG names the xDS server)
A line of input is a call, {"message": TEXT, "headers": {NAME: VALUE}}; a line of output its answer, {"ok": TEXT} or
{"error": TEXT}. Messages are raw bytes. A call fails after five seconds: one that was on its way to a cluster that is
taken away would else wait for good.
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
            asked = json.loads(line)
            try:
                metadata = list(asked["headers"].items())
                reply = call(asked["message"].encode(), timeout=5, wait_for_ready=True, metadata=metadata)
                answer = {"ok": reply.decode("latin-1")}
            except grpc.RpcError as error:
                answer = {"error": f"{error.code().name}: {error.details()}"}
            print(json.dumps(answer), flush=True)


main()
