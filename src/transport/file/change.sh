# Puts what comes on stdin in the place of $P by way of $T, with mode $M and owner $O where it is not empty; or, without
# $W, removes $P; then the folders $F, innermost first, as far as they are empty. Exit 3: it cannot be, whatever is
# tried; exit 4: it may go better. Lines that begin with # are not sent.
umask 077
say() { printf '%s\n' "$2" >&2; exit "$1"; }
d=${P%/*}
[ -n "$d" ] || d=/
if [ -n "$W" ] && [ ! -d "$d" ]; then
  [ -n "$D" ] || say 3 "its folder \`$d\` does not exist: create it first, or write \`parents = true\`"
  e=$( (umask 022; mkdir -p -- "$d") 2>&1 ) || say 4 "its folder cannot be made: $e"
fi
[ ! -L "$P" ] || say 3 "it is a symbolic link: name the file that it leads to"
[ ! -d "$P" ] || say 3 "it is a folder: name a file"
[ ! -e "$P" ] || [ -f "$P" ] || say 3 "it is a device, socket or pipe: name a file"
[ ! -d "$d" ] || rm -f -- "$T"
if [ -n "$W" ]; then
  e=$( (set -C; cat > "$T") 2>&1 ) || { rm -f -- "$T"; say 4 "it cannot be written: $e"; }
  if [ -n "$O" ]; then
    e=$(chown "$O" "$T" 2>&1) || { rm -f -- "$T"; say 3 "it belongs to $O and could not keep its owner: set \`sudo = true\` on the host, or log in as its owner ($e)"; }
  fi
  e=$(chmod "$M" "$T" 2>&1) || { rm -f -- "$T"; say 4 "its mode cannot be set: $e"; }
  sync "$T" 2>/dev/null || sync
  e=$(mv -f -- "$T" "$P" 2>&1) || { rm -f -- "$T"; say 4 "it cannot be put into its place: $e"; }
else
  e=$(rm -f -- "$P" 2>&1) || say 4 "it cannot be removed: $e"
fi
[ ! -d "$d" ] || sync "$d" 2>/dev/null || sync
printf '%s\n' "$F" | while IFS= read -r f; do
  [ ! -d "$f" ] || rmdir -- "$f" 2>/dev/null || break
done
exit 0
