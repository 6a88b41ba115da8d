#!/bin/sh
# Checks the model in this folder: the correct version must have no violation,
# and each broken version must have one. It needs spin and a C compiler.
set -eu
cd "$(dirname "$0")"
if ! command -v spin >/dev/null || ! command -v "${CC:-cc}" >/dev/null; then
	echo "spin (a Debian package) or a C compiler is missing: the model is NOT checked" >&2
	exit 0
fi
model=$PWD/claim.pml
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# search WANT WHAT "SPIN FLAGS" "C FLAGS" "SEARCH FLAGS"
search() {
	# shellcheck disable=SC2086 # each holds several flags
	{ spin $3 -a "$model" >/dev/null && "${CC:-cc}" -O2 -w $4 -o pan pan.c && ./pan $5 -m10000 -b >result; } || { cat result; exit 1; }
	errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' result)
	states=$(sed -n 's/ *\([0-9.e+]*\) states, stored.*/\1/p' result)
	case "$1 $errors" in
	"correct 0") echo "$2: no violation in $states states" ;;
	"broken 1") echo "$2: a violation was found after $states states, as it must" ;;
	*)
		cat result
		echo "$2: $errors errors, although the model is $1" >&2
		exit 1
		;;
	esac
}

search correct "2 workers, 2 replays, 2 crashes" "" "-DSAFETY -DNOCLAIM" ""
search correct "settled in the end, 1 replay, 1 crash" "-DREPLAYS=1 -DCRASHES=1" "-DNFAIR=3" "-a -f"
search broken "a claim without the lock" "-DBROKEN_LOCK" "-DSAFETY -DNOCLAIM" ""
search broken "an act without the replay id" "-DBROKEN_FENCE" "-DSAFETY -DNOCLAIM" ""
