#!/bin/sh
# Restart a unit whose probe fails three times in a row. The probes are those of `ao up`.
# The counts lie in a folder of their own that only root writes.
set -u
state="${HANG_CHECK_STATE:-/run/ao-hang-check}"
systemctl="${HANG_CHECK_SYSTEMCTL:-systemctl}"
exporter="${HANG_CHECK_EXPORTER:-http://127.0.0.1:8711}"
webserver="${HANG_CHECK_WEBSERVER:-http://127.0.0.1:3000}"
health_check="${HANG_CHECK_GRPC:-/opt/ao/.venv/bin/dagster api grpc-health-check -p 8712}"
mkdir -p "$state"

judge() { # unit, verdict (0 alive, 1 not, 2 unknown)
    count=$(cat "$state/$1" 2>/dev/null || echo 0)
    case "$2" in
        0) count=0 ;;
        1) count=$((count + 1)) ;;
    esac
    if [ "$count" -ge 3 ]; then
        echo "hang_check.restart unit=$1"
        "$systemctl" restart "$1.service"
        count=0
    fi
    echo "$count" >"$state/$1"
}

# The exporter: 503 is an answer about the engine; the exporter that gives it works.
health=$(curl -s -m 5 "$exporter/health")
case "$health" in
    *'"status"'*) judge ao-exporter 0 ;;
    *) judge ao-exporter 1 ;;
esac

# The daemon: the age of its heartbeats, which only the exporter knows.
age=$(printf '%s' "$health" | sed -n 's/.*"daemon_heartbeat_age_seconds":\([0-9]*\).*/\1/p')
if [ -z "$age" ]; then
    judge ao-daemon 2
elif [ "$age" -le 120 ]; then
    judge ao-daemon 0
else
    judge ao-daemon 1
fi

# The UI answers 200 to any unknown path, so only this one tells.
if curl -s -f -m 5 -o /dev/null "$webserver/server_info"; then judge ao-webserver 0; else judge ao-webserver 1; fi

# The code server. The command is split into words on purpose.
# shellcheck disable=SC2086
if timeout 30 $health_check >/dev/null 2>&1; then judge ao-code-server 0; else judge ao-code-server 1; fi
