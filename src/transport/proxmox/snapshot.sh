# Snapshot $N of container $ID: made, with description $M; or with $R removed.
has() {
  tool pct listsnapshot "$ID" || fail
  sed 's/^[ `>-]*//' "$w/out" | grep -q "^$N "
}
if [ -n "$R" ]; then
  ! has || change pct delsnapshot "$ID" "$N" || fail
elif ! has; then
  change pct snapshot "$ID" "$N" --description "$M" || fail
fi
echo "done"
