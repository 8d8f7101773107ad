# Backs container $ID up into storage $G in mode $O, noted as $M, and says which archive came of it.
change vzdump "$ID" --mode "$O" --storage "$G" --remove 0 --notes-template "$M" || fail
echo "note $M"
h=$(hostname)
h=${h%%.*}
tool pct config "$ID" || fail
sed 's/^/config /' "$w/out"
tool pvesh get "/nodes/$h/storage/$G/content" --content backup --vmid "$ID" --output-format json || fail
printf 'archives %s\n' "$(tr -d '\n' < "$w/out")"
echo "done"
