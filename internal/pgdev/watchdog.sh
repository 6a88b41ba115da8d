# The watchdog of one private PostgreSQL server. Its arguments are the private
# directory and the token that its marker file must contain.
#
# It creates the directory itself, so that the directory never exists without a
# watchdog to delete it. If that fails, the error goes to standard output, which
# is closed afterwards in either case.
#
# Standard input is a pipe whose other end only the starting process holds.
# Nothing is ever written to it. It closes when that process ends or asks for
# the cleanup. Then this script stops the server and deletes the directory.
dir=$1
token=$2

# A signal that ends the starting process, for example from a cancelled CI job,
# must not end the watchdog before its cleanup.
trap '' HUP INT QUIT TERM

umask 077
exec 2>&1
mkdir "$dir" || exit 1
printf '%s\n' "$token" >"$dir/lumin-ingest-pgdev" || { rm -rf "$dir"; exit 1; }
exec >/dev/null 2>&1

while read -r _; do :; done

owns_dir() {
	[ -n "$token" ] && [ -d "$dir" ] && [ ! -L "$dir" ] && [ "$(cat "$dir/lumin-ingest-pgdev" 2>/dev/null)" = "$token" ]
}

# Sets pid to the process id of the server's main process, or to the empty
# string. While initdb runs, the file has a negative number, which is not the
# process id of a server.
find_server() {
	pid=
	{ read -r pid <"$dir/data/postmaster.pid"; } 2>/dev/null
	case $pid in 0 | 1 | *[!0-9]*) pid= ;; esac
	[ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || pid=
}

# A killed server leaves a small System V shared memory segment behind, and
# systems allow only a few of them (macOS: 32). The seventh line of its
# postmaster.pid contains the id of the segment.
free_memory() {
	for file in "$dir/crashed.pid" "$dir/data/postmaster.pid"; do
		segment=$(sed -n '7s/^ *[0-9][0-9]* *\([0-9][0-9]*\).*/\1/p' "$file" 2>/dev/null)
		[ -n "$segment" ] && ipcrm -m "$segment" 2>/dev/null
	done
}

# Twenty tries take a second. PostgreSQL kills processes that have not ended
# five seconds after SIGQUIT. After ten seconds, this script kills the main one.
tries=0
while owns_dir && [ "$tries" -lt 400 ]; do
	find_server
	if [ -z "$pid" ] || [ "$tries" -gt 200 ]; then
		free_memory
		# This fails while initdb still creates files. The data goes first, so
		# that the next try still finds the marker.
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
