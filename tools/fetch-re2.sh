#!/bin/sh
# A Python environment with RE2 itself, the oracle of our validator; prints its interpreter's path.
set -eu
. "$(dirname "$0")/env.sh"
python_with google-re2 1.1.20251105 re2
