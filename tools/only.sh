#!/bin/sh
# Cargo's runner for `make test`: runs a test if its package is one of $ONLY. All tests are built with one set of
# features that way; each `--package` of its own would build most of the dependencies again.
case " $ONLY " in
*" $CARGO_PKG_NAME "*) exec "$@" ;;
esac
