# What all scripts for a Proxmox node begin with. POSIX sh. Results go to stdout as lines of a word and its value; what
# the tools say goes to stderr, which is the attempt's log.
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
w=$(mktemp -d) || exit 4
trap 'rm -rf "$w"' EXIT
trap 'exit 143' HUP INT TERM
now() { date +%s; }
# Says what the last tool said, and ends.
fail() {
  cat "$w/out" "$w/err" | tail -n 40 | sed 's/^/said /'
  echo failed
  exit 5
}
# Runs a tool: stdout and stderr into files.
tool() {
  if ! command -v "$1" > /dev/null 2>&1; then
    echo "there is no $1" > "$w/err"
    : > "$w/out"
    fail
  fi
  "$@" > "$w/out" 2> "$w/err" < /dev/null
}
# Runs a tool that works: what it says is seen at once, and kept.
work() {
  command -v "$1" > /dev/null 2>&1 || tool "$1"
  { "$@" 2> "$w/err" < /dev/null; echo $? > "$w/code"; } | tee "$w/out" >&2
  cat "$w/err" >&2
  return "$(cat "$w/code")"
}
# The same; while somebody else holds the guest (a backup at night) it is waited for, $W seconds in all.
change() {
  until=$(($(now) + W))
  nap=1
  while :; do
    work "$@" && return 0
    grep -Eq "is locked \((backup|snapshot|snapshot-delete|disk|fstrim)\)|can't lock file" "$w/out" "$w/err" || return 1
    [ "$(now)" -lt "$until" ] || return 1
    sleep "$nap"
    [ "$nap" -ge 15 ] || nap=$((nap * 2))
  done
}
