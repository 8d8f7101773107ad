# Runs "$@" in the guest of virtual machine $ID by its agent and waits for its end, $T seconds; or, with $Q, waits for
# process $Q of it. The agent is only asked for a pid at first, so that what runs is known whatever becomes of us; who ends us
# meanwhile waits for that pid.
end=$(($(now) + T))
pid=$Q
if [ -z "$pid" ]; then
  command -v qm > /dev/null 2>&1 || tool qm
  ended=
  trap 'ended=1' HUP INT TERM
  if [ -n "$I" ]; then
    (trap '' HUP INT TERM; exec qm guest exec "$ID" --synchronous 0 --pass-stdin 1 -- "$@") > "$w/out" 2> "$w/err" || fail
  else
    (trap '' HUP INT TERM; exec qm guest exec "$ID" --synchronous 0 -- "$@") > "$w/out" 2> "$w/err" < /dev/null || fail
  fi
  pid=$(sed -n 's/.*"pid" *: *\([0-9][0-9]*\).*/\1/p' "$w/out")
  [ -n "$pid" ] || fail
  echo "pid $pid"
  trap 'exit 143' HUP INT TERM
  [ -z "$ended" ] || exit 143
fi
while :; do
  if tool qm guest exec-status "$ID" "$pid"; then
    if grep -q '^ *"exited" *: *1' "$w/out"; then
      sed -n 's/^ *"\(exitcode\|signal\)" *: *\([0-9][0-9]*\).*/\1 \2/p' "$w/out"
      echo answer
      cat "$w/out"
      exit 0
    fi
  elif grep -q "does not exist\|not found" "$w/out" "$w/err"; then
    # Somebody has read its end: nobody tells it again.
    echo "lost $pid"
    fail
  fi
  if [ "$(now)" -ge "$end" ]; then
    echo "running $pid"
    exit 6
  fi
  sleep "$Z"
  [ "$Z" = 1 ] || Z=1
done
