#!/bin/sh
# What tests start of Debian's packages (apt.txt): installed where we may, named where we may not. Without them the
# tests that need one are skipped; with TRADING_CI set they fail.
set -eu
wanted=$(grep -v '^#' "$(dirname "$0")/apt.txt")
missing=
for package in $wanted; do
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "not installed:$missing; tests that need them are skipped (on Debian and Ubuntu: sudo apt install$missing)"
    exit 0
fi
echo "installing$missing (once; about a minute)"
apt-get -qq update
# Run level 1: no package starts a service of its own.
# shellcheck disable=SC2086
RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null
