# Restores container $ID from archive $A onto storage $G, unless it is there; then as power.sh says for a stopped one.
if ! tool pct status "$ID"; then
  grep -q "Configuration file 'nodes/.*' does not exist" "$w/err" || fail
  change pct restore "$ID" "$A" --storage "$G" || fail
fi
