#!/bin/sh
# Runs a test program with a temporary folder of its own, so that tests that run side by side do not share files.
TMPDIR=$(mktemp -d) || exit 1
export TMPDIR
"$@"
code=$?
rm -rf "$TMPDIR"
exit $code
