#!/bin/sh
# A Python environment with grpcio, the independent xDS client of the tests; prints its interpreter's path.
set -eu
. "$(dirname "$0")/env.sh"
python_with grpcio 1.85.1 grpc
