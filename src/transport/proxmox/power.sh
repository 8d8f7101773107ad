# Brings container $ID to status $S (running, stopped, keep) and its `onboot` to $B: no (off, however it is written), yes,
# unset, 0, 1; empty: as it is. A clean shutdown has $T seconds; with $K it is killed after that.
status() {
  tool pct status "$ID" || fail
  s=$(sed -n 's/^status: *//p' "$w/out")
}
reached() {
  end=$(($(now) + T + 10))
  status
  while [ "$s" != "$S" ] && [ "$(now)" -lt "$end" ]; do
    sleep 1
    status
  done
  [ "$s" = "$S" ]
}
status
if [ "$S" != keep ] && [ "$s" != "$S" ]; then
  if [ "$S" = running ]; then change pct start "$ID"
  elif [ -n "$K" ]; then change pct shutdown "$ID" --timeout "$T" --forceStop 1
  else change pct shutdown "$ID" --timeout "$T"
  fi
  code=$?
  cp "$w/out" "$w/out.was"
  cp "$w/err" "$w/err.was"
  if [ "$code" = 0 ]; then
    # The HA stack only takes a request and answers at once.
    reached || { echo "is still $s" >> "$w/out.was"; code=1; }
  else
    status
    [ "$s" != "$S" ] || code=0
  fi
  if [ "$code" != 0 ]; then
    mv "$w/out.was" "$w/out"
    mv "$w/err.was" "$w/err"
    fail
  fi
fi
if [ -n "$B" ]; then
  tool pct config "$ID" || fail
  b=$(sed -n 's/^onboot: *//p' "$w/out")
  case $B in
    no) [ "$b" = 0 ] || [ -z "$b" ] || change pct set "$ID" --onboot 0 || fail ;;
    yes) [ "$b" = 1 ] || change pct set "$ID" --onboot 1 || fail ;;
    unset) [ -z "$b" ] || change pct set "$ID" --delete onboot || fail ;;
    *) [ "$b" = "$B" ] || change pct set "$ID" --onboot "$B" || fail ;;
  esac
fi
h=$(hostname)
tool pvesh get "/nodes/${h%%.*}/lxc/$ID/config" --output-format json || fail
printf 'digest %s\n' "$(tr -d '\n' < "$w/out")"
echo "done"
