# Replaces values of one entry in Home Assistant's storage file, all at once or not at all. The values come on stdin, so
# that they stand in no process list.
#
# $1: the awk program, $2: the storage file, $3: the entry's place in it, $4: the sum that the file must have,
# $5: where the file as it was is kept, $6: how many entries there must be.
LC_ALL=C
EDITS=$(cat)
export LC_ALL EDITS
program=$1 file=$2 place=$3 want=$4 backup=$5 count=$6
sum() {
  set -- "$(sha256sum < "$1")"
  printf '%s' "${1%% *}"
}
refuse() {
  echo "refused $1"
  exit 0
}
new=$file.runner-new.$$
trap 'rm -f "$new"' EXIT
if [ "$(sum "$file")" != "$want" ]; then
  refuse changed
fi
if [ ! -e "$backup" ]; then
  cp -p "$file" "$new" && [ "$(sum "$new")" = "$want" ] && mv "$new" "$backup" || refuse backup
fi
# A copy first: it takes owner and mode with it.
cp -p "$file" "$new" || refuse copy
awk -v mode=edit -v at="$place" "$program" "$file" > "$new" || refuse edit
awk -v mode=read "$program" "$new" | grep -qx "entries $count" || refuse proof
old_rest=$(awk -v mode=mask -v at="$place" "$program" "$file" | sha256sum)
new_rest=$(awk -v mode=mask -v at="$place" "$program" "$new" | sha256sum)
[ "$old_rest" = "$new_rest" ] || refuse proof
sync
if [ "$(sum "$file")" != "$want" ]; then
  refuse changed
fi
mv "$new" "$file" || refuse rename
sync
echo "sha256 $(sum "$file")"
