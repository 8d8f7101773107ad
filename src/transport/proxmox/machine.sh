# Looks at virtual machine $ID: its state, its configuration, and whether its guest agent answers.
if ! tool qm status "$ID"; then
  grep -q "Configuration file 'nodes/.*' does not exist" "$w/err" || fail
  tool pvesh get /cluster/resources --type vm --output-format json && printf 'cluster %s\n' "$(tr -d '\n' < "$w/out")"
  echo absent
  exit 0
fi
sed 's/^/status /' "$w/out"
tool qm config "$ID" || fail
sed 's/^/config /' "$w/out"
if tool qm guest cmd "$ID" ping; then echo "agent answers"
else sed 's/^/agent /' "$w/err" | head -n 1
fi
echo present
