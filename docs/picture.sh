#!/usr/bin/env bash
# Draws the dashboard with sample data, in both themes: docs/dashboard-light.png
# and docs/dashboard-dark.png. Usage: docs/picture.sh BINARY
set -euo pipefail
cd "$(dirname "$0")/.."

browser="$(command -v chromium || command -v chromium-browser || command -v google-chrome)" ||
	{ echo "Chromium is missing: install it (apt install chromium)" >&2; exit 1; }
work="$(mktemp -d)"
"$1" dev >"$work/out" 2>&1 &
program=$!
trap 'kill "$program" 2>/dev/null; wait "$program" 2>/dev/null || true; rm -rf "$work"' EXIT

for ((i = 0; i < 180; i++)); do
	grep -q 'Serving until' "$work/out" && break
	kill -0 "$program" 2>/dev/null || { cat "$work/out" >&2; exit 1; }
	sleep 1
done
address="$(sed -n 's|^ *\(http://[^ ]*/\) *the dashboard.*|\1|p' "$work/out")"
[ -n "$address" ] || { cat "$work/out" >&2; exit 1; }
# A busy machine may be slow at first, and the charts show what happened a few
# seconds ago. The sample data has a delivery that was refused.
answers() {
	for ((i = 0; i < 60; i++)); do
		page="$(curl -fsS "$address")" && [[ "$page" == *refused* ]] && return
		sleep 1
	done
	echo "$address does not answer with the overview" >&2
	return 1
}

for theme in light dark; do
	answers
	scheme=1
	[ "$theme" = dark ] && scheme=0
	"$browser" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$work/profile" \
		--blink-settings=preferredColorScheme="$scheme" --window-size=1280,1020 \
		--screenshot="$PWD/docs/dashboard-$theme.png" "$address" >/dev/null 2>&1
	echo "docs/dashboard-$theme.png: $(wc -c <"docs/dashboard-$theme.png") bytes"
done
