# Looks at container $ID: its state and configuration, and whether what it names on the host is there: devices, folders,
# and the hook script without which it does not start (PVE::GuestHelpers, `check_hookscript`). $D asks for the
# digest, $L for the snapshots, $G for the archives of a storage, $A for the configuration inside an archive.
h=$(hostname)
h=${h%%.*}
echo "host $h"
if [ -n "$G" ]; then
  tool pvesh get "/nodes/$h/storage/$G/content" --content backup --vmid "$ID" --output-format json || fail
  printf 'archives %s\n' "$(tr -d '\n' < "$w/out")"
fi
if [ -n "$A" ]; then
  if tool pvesm extractconfig "$A"; then sed 's/^/archived /' "$w/out"
  else grep -q 'does not exist\|no such volume\|unable to parse' "$w/out" "$w/err" || fail
  fi
fi
if ! tool pct status "$ID" --verbose; then
  grep -q "Configuration file 'nodes/.*' does not exist" "$w/err" || fail
  tool pvesh get /cluster/resources --type vm --output-format json && printf 'cluster %s\n' "$(tr -d '\n' < "$w/out")"
  echo absent
  exit 0
fi
sed 's/^/status /' "$w/out"
if [ -n "$L" ]; then
  tool pct listsnapshot "$ID" || fail
  sed 's/^/snapshot /' "$w/out"
fi
if [ -n "$D" ]; then
  # Without it the rest is known all the same.
  tool pvesh get "/nodes/$h/lxc/$ID/config" --output-format json && printf 'digest %s\n' "$(tr -d '\n' < "$w/out")"
fi
tool pct config "$ID" || fail
sed 's/^/config /' "$w/out"
hook=$(sed -n 's/^hookscript: *//p' "$w/out")
while IFS= read -r line; do
  case $line in
    dev[0-9]*': '* | mp[0-9]*': '*)
      path=${line#*: }
      path=${path%%,*}
      path=${path#path=}
      path=${path#volume=}
      case $path in
        /*) if [ -e "$path" ]; then echo "there $path"; else echo "gone $path"; fi ;;
      esac
      ;;
  esac
done < "$w/out"
if [ -n "$hook" ]; then
  script=
  ! tool pvesm path "$hook" || script=$(cat "$w/out")
  if [ ! -f "$script" ]; then echo "gone $hook"
  elif [ ! -x "$script" ]; then echo "gone the x bit of $hook"
  else echo "there $hook"
  fi
fi
echo present
