#!/usr/bin/env bash
# The whole set on one machine, without containers: PostgreSQL, Prefect server, an S3-compatible
# store for trying out, workers, deployments and automations.
#   deploy/local.sh start [RUN.yaml]   without a run file: the built-in sample works, to be tried
#   deploy/local.sh stop
#   deploy/local.sh status
# Settings, all from the environment:
#   EPA_STATE           folder of database, logs and process numbers
#                       (~/.local/state/epa; of root /var/lib/epa)
#   EPA_SERVER_PORT     of Prefect's API and pages                     (4200)
#   EPA_DB_PORT         of PostgreSQL                                  (5442)
#   EPA_STORE           moto: a store in memory, EMPTY AFTER EVERY STOP, for trying out;
#                       off: none, for folders and stores of your own  (moto)
#   EPA_STORE_PORT      of that store                                  (9010)
#   EPA_WORKERS         workers of pool epa (whole runs)               (1)
#   EPA_SHARD_WORKERS   workers of pool epa-gpu (shards), one for each GPU, or one   (by nvidia-smi)
#   EPA_WEBHOOK         address that is told of failed and crashed runs (none)
#   PREFECT_SERVER_API_AUTH_STRING   user:password of the server       (none)
# Everything listens on 127.0.0.1 only. What runs already keeps its ports, whatever they say.
set -euo pipefail
set -m # every service gets a process group of its own, and Ctrl-C here does not reach it

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "$(id -u)" = 0 ]; then # whose home the database's user cannot enter
    STATE=${EPA_STATE:-/var/lib/epa}
else
    STATE=${EPA_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/epa}
fi
SERVER_PORT=${EPA_SERVER_PORT:-4200} DB_PORT=${EPA_DB_PORT:-5442} STORE_PORT=${EPA_STORE_PORT:-9010}
STORE=${EPA_STORE:-moto} WORKERS=${EPA_WORKERS:-1}
PYTHON=${EPA_PYTHON:-$HERE/../.venv/bin/python}
[ -x "$PYTHON" ] || PYTHON=$(command -v python3 || true)
BUCKET=epa

die() {
    echo "local.sh: $*" >&2
    exit 1
}

say() { echo "$*"; }

# -- processes: STATE/NAME.pid holds a number and when that process began, so that a number which
# -- belongs to somebody else by now is left alone

began() { ps -o lstart= -p "$1" 2>/dev/null | tr -s ' ' || true; }

pid_of() {
    local pid since
    { read -r pid && read -r since; } 2>/dev/null <"$STATE/$1.pid" || return 1
    [ -n "$pid" ] && [ "$(began "$pid" | sed 's/^ *//; s/ *$//')" = "$since" ] || return 1
    # A container whose first process collects no dead ones keeps them as zombies.
    [ -n "$(alive "$pid")" ] || return 1
    echo "$pid"
}

background() { # NAME COMMAND...: start it, keep its number, its output in STATE/NAME.log
    local name=$1
    shift
    nohup "$@" >>"$STATE/$name.log" 2>&1 </dev/null &
    local pid=$!
    printf '%s\n%s\n' "$pid" "$(began "$pid" | sed 's/^ *//; s/ *$//')" >"$STATE/$name.pid"
    disown "$pid"
}

family() { # the process and all that it started, whatever group they are in
    local pid=$1 child
    echo "$pid"
    for child in $(ps -eo pid=,ppid= | awk -v parent="$pid" '$2 == parent {print $1}'); do
        family "$child"
    done
}

alive() { # those of the processes that live; a zombie does not
    local pid
    for pid in "$@"; do
        case $(ps -o stat= -p "$pid" 2>/dev/null) in '' | Z*) ;; *) echo "$pid" ;; esac
    done
}

end() { # NAME [SECONDS]: ask it to end, then end it and all that it started
    local name=$1 patience=${2:-20} pid all left
    if ! pid=$(pid_of "$name"); then
        rm -f "$STATE/$name.pid"
        return 0
    fi
    all=$(family "$pid")
    kill -TERM -- "-$pid" 2>/dev/null || true
    for ((i = 0; i < patience * 5; i++)); do
        # shellcheck disable=SC2086 # numbers
        left=$(alive $all)
        [ -n "$left" ] || break
        sleep 0.2
    done
    # shellcheck disable=SC2086
    [ -z "$left" ] || kill -KILL $left 2>/dev/null || true
    rm -f "$STATE/$name.pid"
    say "$name: stopped"
}

waiting_for() { # NAME SECONDS COMMAND...: until the command succeeds or the service died
    local name=$1 seconds=$2
    shift 2
    for ((i = 0; i < seconds * 2; i++)); do
        "$@" >/dev/null 2>&1 && return 0
        pid_of "$name" >/dev/null || die "$name ended at once; see $STATE/$name.log"
        sleep 0.5
    done
    die "$name does not answer after $seconds seconds; see $STATE/$name.log"
}

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

refuse_taken() { # NAME VARIABLE PORT
    ! taken "$3" || die "port $3 is taken by somebody else; set $2 to another one for $1"
}

answers() { "$PYTHON" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=2)' "$1"; }

keep_ports() { # of what runs already
    local name value
    { database_runs || [ -n "$(running)" ]; } && [ -f "$STATE/ports" ] || return 0
    while IFS='=' read -r name value; do
        case $name=$value in *[!0-9A-Z_=]*) continue ;; esac
        printf -v "$name" %s "$value"
    done <"$STATE/ports"
}

write_ports() {
    printf '%s=%s\n' SERVER_PORT "$SERVER_PORT" DB_PORT "$DB_PORT" STORE_PORT "$STORE_PORT" \
        >"$STATE/ports"
}

services() { # that were started and not stopped
    local file
    for file in "$STATE"/*.pid; do
        [ ! -e "$file" ] || basename "$file" .pid
    done
}

running() {
    local name
    for name in $(services); do
        ! pid_of "$name" >/dev/null || echo "$name"
    done
}

# -- PostgreSQL

DATA=$STATE/postgres

postgres_bin() {
    local folder
    for folder in /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin; do
        [ -x "$folder/initdb" ] && BIN=$folder
    done
    [ -n "${BIN:-}" ] || ! command -v initdb >/dev/null || BIN=$(dirname "$(command -v initdb)")
    [ -n "${BIN:-}" ] || die "PostgreSQL is not installed (no initdb): apt-get install postgresql"
}

as_owner() { # PostgreSQL refuses to be root: it is then the user postgres (or nobody)
    if [ "$(id -u)" != 0 ]; then
        "$@"
    else
        local owner
        owner=$(id -un postgres 2>/dev/null || echo nobody)
        (cd / && setpriv --reuid "$owner" --regid "$(id -g "$owner")" --clear-groups -- "$@")
    fi
}

database_runs() {
    [ -f "$DATA/PG_VERSION" ] && as_owner "$BIN/pg_ctl" -D "$DATA" status >/dev/null 2>&1
}

start_database() {
    if database_runs; then
        say "database: runs already, port $DB_PORT"
        return
    fi
    refuse_taken "the database" EPA_DB_PORT "$DB_PORT"
    if [ ! -f "$DATA/PG_VERSION" ]; then
        mkdir -p "$DATA"
        # The password is for processes of this machine; only their owner can read it.
        [ -s "$STATE/database-password" ] ||
            (umask 077 && "$PYTHON" -c 'import secrets; print(secrets.token_hex(24))' \
                >"$STATE/database-password")
        local passwords=$DATA.password
        (umask 077 && cp "$STATE/database-password" "$passwords")
        if [ "$(id -u)" = 0 ]; then
            chown "$(id -un postgres 2>/dev/null || echo nobody)" "$DATA" "$passwords"
            as_owner test -x "$DATA" ||
                die "EPA_STATE = $STATE: the user of the database cannot enter it; name a folder" \
                    "below which everybody may go, or do not be root"
        fi
        as_owner "$BIN/initdb" -D "$DATA" -U epa --pwfile "$passwords" -A scram-sha-256 -E UTF8 \
            --locale C >"$STATE/database.log" 2>&1 ||
            die "the database cannot be made; see $STATE/database.log"
        rm -f "$passwords"
    fi
    local options="-p $DB_PORT -c listen_addresses=127.0.0.1 -c unix_socket_directories="
    as_owner "$BIN/pg_ctl" -D "$DATA" -w -t 60 -o "$options" -l "$DATA/server.log" start \
        >>"$STATE/database.log" 2>&1 || die "the database does not start; see $DATA/server.log"
    database psql -d postgres -tAc "select 1 from pg_database where datname = 'prefect'" |
        grep -q 1 || database createdb prefect
    say "database: PostgreSQL on port $DB_PORT"
}

database() { # a PostgreSQL client, with the password
    local tool=$1
    shift
    PGPASSWORD=$(cat "$STATE/database-password") "$BIN/$tool" -h 127.0.0.1 -p "$DB_PORT" -U epa "$@"
}

stop_database() {
    database_runs || return 0
    as_owner "$BIN/pg_ctl" -D "$DATA" -w -m fast stop >>"$STATE/database.log" 2>&1 ||
        as_owner "$BIN/pg_ctl" -D "$DATA" -w -m immediate stop >>"$STATE/database.log" 2>&1 ||
        die "the database does not stop; see $DATA/server.log"
    say "database: stopped"
}

# -- the rest

prefect() { "$PYTHON" -m prefect "$@"; }

environment() { # of everything that is started from here on
    export PREFECT_HOME=$STATE/prefect PREFECT_API_URL=http://127.0.0.1:$SERVER_PORT/api
    export PREFECT_SERVER_API_PORT=$SERVER_PORT
    [ -z "${PREFECT_SERVER_API_AUTH_STRING:-}" ] ||
        export PREFECT_API_AUTH_STRING=$PREFECT_SERVER_API_AUTH_STRING
    if [ "$STORE" = moto ]; then
        export AWS_ENDPOINT_URL=http://127.0.0.1:$STORE_PORT AWS_DEFAULT_REGION=us-east-1
        export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_EC2_METADATA_DISABLED=true
    fi
    set -a
    # shellcheck source=worker.env
    . "$HERE/worker.env"
    set +a
}

start_server() {
    if pid_of server >/dev/null; then
        say "server: runs already, port $SERVER_PORT"
        return
    fi
    refuse_taken "the server" EPA_SERVER_PORT "$SERVER_PORT"
    (
        set -m
        set -a
        # shellcheck source=server.env
        . "$HERE/server.env"
        set +a
        local password
        password=$(cat "$STATE/database-password")
        export PREFECT_SERVER_DATABASE_CONNECTION_URL
        PREFECT_SERVER_DATABASE_CONNECTION_URL=postgresql+asyncpg://epa:$password@127.0.0.1:$DB_PORT/prefect
        unset PREFECT_API_URL
        background server "$PYTHON" -m prefect server start --host 127.0.0.1
    )
    waiting_for server 180 answers "http://127.0.0.1:$SERVER_PORT/api/health"
    say "server: http://127.0.0.1:$SERVER_PORT"
}

start_store() {
    case $STORE in
    off) return ;;
    moto) ;;
    *) die "EPA_STORE = $STORE: moto or off are allowed" ;;
    esac
    if pid_of store >/dev/null; then
        say "store: runs already, port $STORE_PORT"
        return
    fi
    "$PYTHON" -c 'import moto.server' 2>/dev/null ||
        die "moto is not installed: pip install 'moto[server]', or set EPA_STORE=off"
    refuse_taken "the store" EPA_STORE_PORT "$STORE_PORT"
    background store "$PYTHON" -c 'from moto.server import main; main()' \
        -H 127.0.0.1 -p "$STORE_PORT"
    waiting_for store 60 answers "http://127.0.0.1:$STORE_PORT/moto-api/"
    "$PYTHON" -c "import boto3; boto3.client('s3').create_bucket(Bucket='$BUCKET')"
    say "store: s3://$BUCKET at http://127.0.0.1:$STORE_PORT (in memory, for trying out:" \
        "it is empty after a stop)"
}

worker() { # NAME POOL [GPU]: and again, should it die
    if pid_of "$1" >/dev/null; then
        say "$1: runs already"
        return
    fi
    # shellcheck disable=SC2016 # expanded by the inner shell
    background "$1" env ${3:+CUDA_VISIBLE_DEVICES="$3"} bash -c \
        'while true; do "$0" -m prefect worker start --pool "$1" --name "$2" --limit 1 \
            --no-create-pool-if-not-found; sleep 5; done' "$PYTHON" "$2" "$1"
    say "$1: a worker of pool $2${3:+, GPU $3}"
}

gpus() { nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null || true; }

start_workers() {
    local count gpu names
    for ((i = 0; i < WORKERS; i++)); do worker "worker-$i" epa; done
    names=$(gpus)
    count=$(printf '%s' "$names" | grep -c . || true)
    count=${EPA_SHARD_WORKERS:-$((count > 0 ? count : 1))}
    for ((i = 0; i < count; i++)); do
        gpu=$(printf '%s\n' "$names" | sed -n "$((i + 1))p")
        worker "shard-worker-$i" epa-gpu "$gpu"
    done
}

sample() { # a run file over the built-in sample works
    RUN=$STATE/sample/RUN.yaml
    mkdir -p "$STATE/sample"
    "$PYTHON" -c 'import sys; from catalogs.sample import write_sample; write_sample(sys.argv[1])' \
        "$STATE/sample/paintings"
    local output=animated
    [ "$STORE" = off ] || output=s3://$BUCKET/sample
    printf 'catalog: paintings\noutput: %s\ntitle: Sample works\n' "$output" >"$RUN"
}

check_number() { # VARIABLE VALUE
    case $2 in '' | *[!0-9]*) die "$1 = '$2': a whole number is allowed" ;; esac
}

start() {
    RUN=${1:-}
    [ -z "$RUN" ] || [ -f "$RUN" ] || [[ $RUN == *://* ]] || die "there is no run file $RUN"
    check_number EPA_SERVER_PORT "$SERVER_PORT"
    check_number EPA_DB_PORT "$DB_PORT"
    check_number EPA_STORE_PORT "$STORE_PORT"
    check_number EPA_WORKERS "$WORKERS"
    check_number EPA_SHARD_WORKERS "${EPA_SHARD_WORKERS:-1}"
    # shellcheck disable=SC2015 # the right side ends the script
    [ -n "$PYTHON" ] && "$PYTHON" -c 'import prefect, asyncpg, catalogs' 2>/dev/null ||
        die "$PYTHON cannot import epa: run make demo first, or set EPA_PYTHON"
    # shellcheck disable=SC2015
    mkdir -p "$STATE" 2>/dev/null && [ -w "$STATE" ] ||
        die "EPA_STATE = $STATE cannot be written; name another folder"
    STATE=$(cd "$STATE" && pwd)
    DATA=$STATE/postgres
    keep_ports
    write_ports
    environment
    start_database
    start_server
    start_store
    [ -n "$RUN" ] || sample
    "$PYTHON" -c 'from flows.cli import main; main()' deploy "$RUN" ||
        die "the deployments could not be applied; see above"
    start_workers
    say "Run it now: PREFECT_API_URL=$PREFECT_API_URL $(dirname "$PYTHON")/prefect deployment run" \
        "animate-collection/animate-collection"
}

stop() {
    [ -d "$STATE" ] || return 0
    local name
    # Workers first, so that their runs still have a store to give their leases back to.
    for name in $(services | grep worker); do end "$name" 30; done
    for name in server store; do end "$name" 20; done
    stop_database
}

status() {
    local name ok=0 found=
    for name in $(services); do
        found=1
        if pid_of "$name" >/dev/null; then
            say "$name: runs"
        else
            say "$name: DIED; see $STATE/$name.log"
            ok=1
        fi
    done
    if database_runs; then
        say "database: runs"
    elif [ -n "$found" ]; then
        say "database: DOES NOT RUN"
        ok=1
    else
        say "nothing runs"
        ok=1
    fi
    return $ok
}

case ${1:-} in start | stop | status) postgres_bin ;; esac
case ${1:-} in
start) start "${2:-}" ;;
stop) stop ;;
status) status ;;
*)
    sed -n '2,6p' "${BASH_SOURCE[0]}" | sed 's/^# *//' >&2
    exit 2
    ;;
esac
