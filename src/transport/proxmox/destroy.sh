# Destroys container $ID, unless it is another one than was looked at: $C is its configuration then.
tool pct config "$ID" || fail
if [ "$(cat "$w/out")" != "$C" ]; then
  echo "the configuration has changed since it was looked at" > "$w/err"
  : > "$w/out"
  fail
fi
if [ -n "$P" ]; then change pct destroy "$ID" --purge 1 || fail
else change pct destroy "$ID" || fail
fi
echo "done"
