#!/usr/bin/env bash
# Drill: kill a server while deliveries arrive. Restore it from a base backup and
# WAL, to a point in time or to the end of the archive. Then compare the database
# with the deliveries that were acknowledged. It takes about half a minute:
#
#   docs/drills/restore.sh                     a point in time, 4 s before the server is killed
#   TARGET=end docs/drills/restore.sh          the end of the archive
#   TARGET=end SYNC=on docs/drills/restore.sh  the same, with commits that wait for the archive
#
# It starts its own servers, and touches no others. RATE (50) is the number of new
# events per second. SEED (1) decides what they are. PG_BIN names the folder of
# PostgreSQL's programs.
. "$(dirname "$0")/lib.sh"
TARGET="${TARGET:-time}"

say "A server whose WAL is archived as it is written"
new_server primary
start primary "$PORT"
create_database
as_server mkdir "$WORK/archive"
as_server pg_receivewal --directory "$WORK/archive" --slot archive --create-slot
as_server pg_receivewal --directory "$WORK/archive" --slot archive --synchronous --no-loop 2>"$WORK/archive.log" &
RECEIVER=$!
await 30 "SELECT count(*) = 1 FROM pg_stat_replication WHERE application_name = 'pg_receivewal' AND state = 'streaming'"
if [ "${SYNC:-off}" = on ]; then
	sql "ALTER SYSTEM SET synchronous_standby_names = 'pg_receivewal'"
	sql "SELECT pg_reload_conf()" >/dev/null
	await 30 "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
fi

say "Deliveries, and a base backup while they arrive"
start_program "$(url "$PORT")"
start_sender before -drain 0s
sleep 3
as_server pg_basebackup --pgdata "$WORK/base" --checkpoint fast
sleep 2
moment="$(sql "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"+00:00\"')")"
echo "the point in time is $moment"
sleep 4

say "The server is lost"
crash primary
stop_sender
# Stop every program before you restore: PostgreSQL gives out ids of jobs a second
# time.
kill -TERM "$PROGRAM"
wait "$PROGRAM" || true
wait "$RECEIVER" || true
PROGRAM='' RECEIVER=''

say "Restore"
began="$(date +%s%N)"
as_server cp --archive "$WORK/base" "$WORK/restored"
# The last segment is incomplete, so its name ends in .partial.
as_server tee --append "$WORK/restored/postgresql.auto.conf" >/dev/null <<-CONF
	restore_command = 'cp "$WORK/archive/%f" "%p" || cp "$WORK/archive/%f.partial" "%p"'
	synchronous_standby_names = ''
CONF
if [ "$TARGET" = time ]; then
	as_server tee --append "$WORK/restored/postgresql.auto.conf" >/dev/null <<-CONF
		recovery_target_time = '$moment'
		recovery_target_action = 'promote'
	CONF
fi
as_server touch "$WORK/restored/recovery.signal"
start restored "$PORT"
await 60 'SELECT NOT pg_is_in_recovery()'
echo "restored within $((($(date +%s%N) - began) / 1000000)) ms"

say "The program continues, and the sender repeats what was not acknowledged"
start_program "$(url "$PORT")"
start_sender after -again "$WORK/before.jsonl"
sleep 3
stop_sender

say "Compare"
case "$TARGET,${SYNC:-off}" in
time,*) may_lose="$moment" ;;
*,on) may_lose=nothing ;;
*) may_lose=everything ;;
esac
"$WORK/drills" compare -may-lose "$may_lose" "$(url "$PORT")" "$WORK/before.jsonl" "$WORK/after.jsonl"
