#!/usr/bin/env bash
# Drill: kill the primary while deliveries arrive, and promote its standby. Then
# compare the database with the deliveries that were acknowledged:
#
#   docs/drills/failover.sh                          a synchronous standby: nothing may be lost
#   SYNC=off ROUNDS=20 docs/drills/failover.sh       an asynchronous standby, 20 failovers: shows how much is lost
#   SYNC=off LAG=0.1 docs/drills/failover.sh         the standby is 0.1 s behind when the primary is killed
#
# It starts its own servers, and touches no others. RATE (50) is the number of new
# events per second. SEED (1) decides what they are. PG_BIN names the folder of
# PostgreSQL's programs.
. "$(dirname "$0")/lib.sh"
SYNC="${SYNC:-on}" ROUNDS="${ROUNDS:-1}" LAG="${LAG:-0}"

# add_standby NAME PORT makes a standby of the current server.
add_standby() {
	as_server pg_basebackup --pgdata "$WORK/$1" --checkpoint fast --write-recovery-conf \
		--dbname "application_name=standby"
	start "$1" "$2"
	await 30 "SELECT count(*) = 1 FROM pg_stat_replication WHERE application_name = 'standby' AND state = 'streaming'"
	if [ "$SYNC" = on ]; then
		sql "ALTER SYSTEM SET synchronous_standby_names = 'standby'"
		sql "SELECT pg_reload_conf()" >/dev/null
		await 30 "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
	fi
}

say "A primary"
new_server node0
start node0 "$PORT"
create_database
URL="$(url "$PORT" "$PORT_2")" # the program knows both servers
start_program "$URL"

files=()
for round in $(seq "$ROUNDS"); do
	standby_port="$PORT_2"
	[ "$PGPORT" = "$PORT" ] || standby_port="$PORT"
	say "Round $round: a standby, deliveries, and the primary is lost"
	add_standby "node$round" "$standby_port"
	start_sender "round$round" -once
	sleep "$((1 + RANDOM % 2)).$((RANDOM % 10))"
	if [ "$LAG" != 0 ]; then
		kill -STOP "$(sql "SELECT pid FROM pg_stat_replication")" # from now on, no WAL reaches the standby
		sleep "$LAG"
	fi
	crash "node$((round - 1))"

	# Promote only after the old primary is certainly gone.
	as_server pg_ctl promote --pgdata "$WORK/node$round" --wait --silent
	export PGPORT="$standby_port"
	# Otherwise commits would wait until there is another standby.
	sql "ALTER SYSTEM RESET synchronous_standby_names"
	sql "SELECT pg_reload_conf()" >/dev/null
	sleep 1
	stop_sender
	rm -rf "$WORK/node$((round - 1))"
	files+=("$WORK/round$round.jsonl")
done

say "Compare: $ROUNDS failovers, synchronous replication $SYNC, $RATE events per second, a lag of $LAG s"
# Effects that had not reached the standby are lost, although their jobs may be
# marked as done on the new primary. Their runs end as failed; replay them.
await 180 "SELECT NOT EXISTS (SELECT FROM lumin.runs WHERE state = 'pending')"
"${CLEAN[@]}" DATABASE_URL="$URL" "$WORK/drills" program replay --failed --reason 'failover drill'
may_lose=nothing
[ "$SYNC" = on ] || may_lose=everything
"$WORK/drills" compare -may-lose "$may_lose" "$(url "$PGPORT")" "${files[@]}" | tee "$WORK/report"
sed -n 's/^lost of round.*: \([0-9]*\) .*/\1/p' "$WORK/report" | sort --numeric-sort | awk '
	{ lost[NR] = $1; sum += $1; if ($1 > 0) some++ }
	END { printf "lost in a failover: median %d, at most %d; %d in all, in %d of %d failovers\n",
		lost[int((NR + 1) / 2)], lost[NR], sum, some, NR }'
