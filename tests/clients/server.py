"""grpcio as a server that xDS configures.
https://github.com/grpc/proposal/blob/master/A36-xds-for-servers.md

usage: server.py ADDRESS NAME      (GRPC_XDS_BOOTSTRAP_CONFIG names the xDS server)
Answers any unary call with NAME. Ends when its input does.
"""

import sys
from concurrent import futures

import grpc


class Named(grpc.GenericRpcHandler):
    def __init__(self, name):
        self.name = name.encode()

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self.name)


def main():
    address, name = sys.argv[1:3]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), xds=True)
    server.add_generic_rpc_handlers((Named(name),))
    credentials = grpc.xds_server_credentials(grpc.insecure_server_credentials())
    server.add_secure_port(address, credentials)
    server.start()
    print("started", flush=True)
    sys.stdin.read()
    server.stop(None)


main()
