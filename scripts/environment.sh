# Sourced by every gate: it leads to the top of the repository, and has what several gates need.
#
# `timeout --foreground`: without it Ctrl-C would not reach what runs under the limit.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    printf 'FAILED: %s\n' "$1" >&2
    exit 1
}

# See that .venv has these commands, and make it or complete it if it has not.
needs() {
    local tool
    for tool in "$@"; do
        if [ ! -x ".venv/bin/$tool" ]; then
            [ -x .venv/bin/pip ] || python3 -m venv .venv
            timeout --foreground 600 .venv/bin/pip install -q -e '.[dev]'
            return
        fi
    done
}

# Make a directory that is gone when the gate ends, however it ends.
make_scratch() {
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 130' INT TERM
}

# The README and the gates cannot drift apart: what runs is what stands there, indented, in one line.
readme_command() {
    local found
    found=$(grep -m 1 -E "^    [^ ].*$1\$" README.rst) || fail "README.rst has no indented line that ends in $1"
    printf '%s\n' "${found#    }"
}
