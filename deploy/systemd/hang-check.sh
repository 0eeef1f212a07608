#!/bin/sh
# Restart a unit whose probe says three times in a row that it makes no progress. The probes are those of `ao up`.
# The counts lie in a folder of their own that only root writes.
set -u
state="${HANG_CHECK_STATE:-/run/ao-hang-check}"
systemctl="${HANG_CHECK_SYSTEMCTL:-systemctl}"
probe="${HANG_CHECK_PROBE:-/opt/ao/.venv/bin/ao probe}"
mkdir -p "$state"

judge() { # unit, subject of the probe
    # The command is split into words on purpose.
    # shellcheck disable=SC2086
    timeout 30 $probe "$2"
    verdict=$?
    count=$(cat "$state/$1" 2>/dev/null || echo 0)
    case "$verdict" in
        0) count=0 ;;
        1 | 124) count=$((count + 1)) ;;
        *) ;; # Wrong settings are no hang: a restart would not mend them.
    esac
    if [ "$count" -ge 3 ]; then
        echo "hang_check.restart unit=$1"
        "$systemctl" restart "$1.service"
        count=0
    fi
    echo "$count" >"$state/$1"
}

judge ao-exporter exporter
judge ao-code-server code
judge ao-daemon daemon
judge ao-webserver webserver
