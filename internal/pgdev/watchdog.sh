# The watchdog of one private PostgreSQL server. Arguments: the private directory, and the token that its marker file must hold.
#
# It makes the directory itself, so that whenever there is one, there is also somebody to delete it. Standard output says what went
# wrong with that, and is closed when it is done.
#
# Standard input is a pipe whose other end only the starting process holds. It never says anything: its end means that the process
# has ended, or asks for it. Then the server is stopped and the directory deleted.
dir=$1
token=$2

# What ends the starting process, such as a cancelled CI job, must not end the watchdog before it has done its work.
trap '' HUP INT QUIT TERM

umask 077
exec 2>&1
mkdir "$dir" || exit 1
printf '%s\n' "$token" >"$dir/lumin-ingest-pgdev" || { rm -rf "$dir"; exit 1; }
exec >/dev/null 2>&1

while read -r _; do :; done

ours() {
	[ -n "$token" ] && [ -d "$dir" ] && [ ! -L "$dir" ] && [ "$(cat "$dir/lumin-ingest-pgdev" 2>/dev/null)" = "$token" ]
}

# Sets pid to the server's main process, or to nothing. While initdb runs the number is negative and no server's.
find_server() {
	pid=
	{ read -r pid <"$dir/data/postmaster.pid"; } 2>/dev/null
	case $pid in 0 | 1 | *[!0-9]*) pid= ;; esac
	[ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || pid=
}

# A server that was killed leaves a small System V segment behind, and systems have room for few (macOS: 32). The seventh line of
# its postmaster.pid names it.
free_memory() {
	for file in "$dir/crashed.pid" "$dir/data/postmaster.pid"; do
		segment=$(sed -n '7s/^ *[0-9][0-9]* *\([0-9][0-9]*\).*/\1/p' "$file" 2>/dev/null)
		[ -n "$segment" ] && ipcrm -m "$segment" 2>/dev/null
	done
}

# Twenty tries are a second. PostgreSQL itself kills what has not ended five seconds after SIGQUIT; after ten it is killed here.
tries=0
while ours && [ "$tries" -lt 400 ]; do
	find_server
	if [ -z "$pid" ] || [ "$tries" -gt 200 ]; then
		free_memory
		# Fails while initdb still creates files. The marker goes last, so that the next try knows the directory.
		rm -rf "$dir/data" 2>/dev/null && rm -rf "$dir" && exit 0
	elif [ "$tries" -eq 200 ]; then
		kill -s KILL "$pid"
	else
		kill -s QUIT "$pid"
		kill -s CONT "$pid" # a paused server would not see the signal
	fi
	tries=$((tries + 1))
	sleep 0.05 2>/dev/null || sleep 1
done
[ ! -e "$dir" ]
