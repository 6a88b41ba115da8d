# Functions that the drills in this folder share. A drill starts its own servers,
# program and sender in a temporary folder. At the end it stops only these, and
# removes the folder. It needs Linux.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ "$(uname)" = Linux ] || {
	echo "the drills need Linux; run them in a container" >&2
	exit 1
}

# The programs of PostgreSQL: those in PG_BIN, in PATH, or the newest of Debian.
if [ -z "${PG_BIN:-}" ] && ! command -v initdb >/dev/null; then
	PG_BIN="$({ compgen -G '/usr/lib/postgresql/*/bin' || true; } | sort --version-sort | tail -n 1)"
fi
PATH="${PG_BIN:+$PG_BIN:}$PATH"
for program in initdb pg_ctl pg_basebackup pg_receivewal psql; do
	command -v "$program" >/dev/null || {
		echo "$program is not installed; install PostgreSQL, or name the folder of its programs in PG_BIN" >&2
		exit 1
	}
done

# PostgreSQL refuses to run as root. For root, the servers run as postgres.
if [ "$(id -u)" -eq 0 ]; then
	as_server() { (cd / && runuser -u postgres -- "$@"); }
else
	as_server() { (cd / && "$@"); }
fi

free_port() {
	local port
	while port=$((20000 + RANDOM % 20000)); do
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	echo "$port"
}

WORK="$(as_server mktemp --directory)"
PORT="$(free_port)"    # of the first server
PORT_2="$(free_port)"  # of the second server
LISTEN="$(free_port)"  # of the program's public listener
unset "${!PG@}" # settings of the caller for other servers
export PGHOST=127.0.0.1 PGUSER=postgres PGPORT="$PORT"
PGPASSWORD="$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
export PGPASSWORD
PROGRAM='' SENDER='' RECEIVER=''

# The program gets the settings of the drill, and none of the caller's.
CLEAN=(env -i PATH="$PATH" HOME="${HOME:-/}")

say() { printf '\n== %s\n' "$*"; }

clean_up() {
	local status=$?
	[ -z "$SENDER" ] || kill -KILL "$SENDER" 2>/dev/null || true # on TERM, it would send on for a while
	[ -z "$PROGRAM" ] || kill -TERM "$PROGRAM" 2>/dev/null || true
	for pid in $SENDER $PROGRAM; do wait "$pid" 2>/dev/null || true; done
	for data in "$WORK"/*/postmaster.pid; do
		[ -e "$data" ] && as_server pg_ctl stop --pgdata "$(dirname "$data")" --mode immediate --silent || true
	done
	[ -z "$RECEIVER" ] || wait "$RECEIVER" || true # it ends with its server
	if [ "$status" -ne 0 ]; then
		echo "the drill failed; the last lines of the logs:" >&2
		for log in "$WORK"/*.log; do [ -e "$log" ] && tail -n 5 "$log" >&2; done
	fi
	rm -rf "$WORK"
	exit "$status"
}
trap clean_up EXIT

# new_server NAME creates a data folder with PostgreSQL's default settings, so
# commits wait for the disk.
new_server() {
	as_server bash -c "umask 077; echo '$PGPASSWORD' >'$WORK/password'"
	as_server initdb --pgdata "$WORK/$1" --username postgres --pwfile "$WORK/password" \
		--auth scram-sha-256 --encoding UTF8 --locale C >/dev/null
}

# start NAME PORT [SETTING=VALUE...] starts a server.
start() {
	local name="$1" options="-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c port=$2"
	shift 2
	for setting in "$@"; do options="$options -c $setting"; done
	as_server pg_ctl start --pgdata "$WORK/$name" --log "$WORK/$name.log" --options "$options" --wait --silent
}

# crash NAME kills every process of a server at once, like a crash of its
# machine. The postmaster is stopped first, so that it cannot react.
crash() {
	local postmaster end=$((SECONDS + 30))
	postmaster="$(head -n 1 "$WORK/$1/postmaster.pid")"
	kill -STOP "$postmaster"
	# shellcheck disable=SC2046 # one word for each process
	kill -KILL $(ps -o pid= --ppid "$postmaster") "$postmaster"
	until [[ "$(ps -o stat= --pid "$postmaster")" =~ ^(Z|$) ]]; do # a zombie has ended too
		[ "$SECONDS" -lt "$end" ] || { echo "the server $1 has not ended within 30 s" >&2; return 1; }
		sleep 0.05
	done
	rm -f "$WORK/$1/postmaster.pid"
}

# sql STATEMENT prints the result of a statement on the current server.
sql() { psql --no-psqlrc --quiet --tuples-only --no-align --dbname "${DATABASE:-lumin}" --command "$1"; }

# await SECONDS CONDITION waits until a query of the current server returns t.
await() {
	local end=$((SECONDS + $1))
	until [ "$(sql "$2" 2>/dev/null)" = t ]; do
		[ "$SECONDS" -lt "$end" ] || { echo "not within $1 s: $2" >&2; return 1; }
		sleep 0.05
	done
}

# create_database creates the database lumin, its owner, the tables of the program
# and those of the drill.
create_database() {
	DATABASE=postgres sql "CREATE ROLE lumin LOGIN PASSWORD '$PGPASSWORD'"
	DATABASE=postgres sql 'CREATE DATABASE lumin OWNER lumin'
	"${CLEAN[@]}" DATABASE_URL="$(url "$PORT")" "$WORK/drills" program migrate up | tail -n 1
	"$WORK/drills" prepare "$(url "$PORT")"
}

# url PORT [PORT] is a DATABASE_URL. With two ports, the program finds the server
# that takes writes.
url() { echo "postgres://lumin:$PGPASSWORD@127.0.0.1:$1${2:+,127.0.0.1:$2}/lumin?sslmode=disable"; }

# start_program URL starts the program, and returns when it is ready.
start_program() {
	local admin end=$((SECONDS + 60))
	admin="$(free_port)"
	"${CLEAN[@]}" DATABASE_URL="$1" LISTEN_ADDR="127.0.0.1:$LISTEN" ADMIN_LISTEN_ADDR="127.0.0.1:$admin" \
		"$WORK/drills" program serve >>"$WORK/program.log" 2>&1 &
	PROGRAM=$!
	until "${CLEAN[@]}" ADMIN_LISTEN_ADDR="127.0.0.1:$admin" "$WORK/drills" program health >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || { echo "the program was not ready within 60 s" >&2; return 1; }
		sleep 0.1
	done
}

# start_sender NAME [FLAG...] sends deliveries, and records what was acknowledged
# in NAME.jsonl.
start_sender() {
	local name="$1"
	shift
	"$WORK/drills" send -name "$WORK/$name" -rate "$RATE" -seed "$((SEED + SENT))" "$@" "http://127.0.0.1:$LISTEN" &
	SENDER=$!
	SENT=$((SENT + 1))
}

# stop_sender ends the sender, which first repeats what was not acknowledged.
stop_sender() {
	kill -TERM "$SENDER"
	wait "$SENDER"
	SENDER=''
}

RATE="${RATE:-50}" # new events per second
SEED="${SEED:-1}"
SENT=0
say "Build the program and the sender"
go build -o "$WORK/drills" ./internal/drills
chmod a+x "$WORK"
