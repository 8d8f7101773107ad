# Says what is at $P on a host: what kind, its mode and owner as `ls -ldn` writes them, and its first $N bytes.
# Exit 3: it cannot be, whatever is tried; exit 4: it could not be looked at. Lines that begin with # are not sent.
say() { printf '%s\n' "$2" >&2; exit "$1"; }
if [ -L "$P" ]; then echo link; exit 0; fi
if [ -d "$P" ]; then echo folder; exit 0; fi
if [ ! -e "$P" ]; then
  d=$P
  while :; do
    d=${d%/*}
    [ -n "$d" ] || d=/
    if [ -d "$d" ]; then
      [ -x "$d" ] || say 4 "the folder \`$d\` cannot be looked into"
      break
    fi
    [ ! -e "$d" ] && [ ! -L "$d" ] || say 3 "\`$d\` is no folder"
    printf 'missing %s\n' "$d"
  done
  echo nothing
  exit 0
fi
if [ ! -f "$P" ]; then echo special; exit 0; fi
[ -r "$P" ] || say 3 "it cannot be read: its mode and owner do not let us"
l=$(ls -ldn -- "$P") || say 4 "it cannot be listed"
printf 'file %s\n' "$l" | head -n 1
exec head -c "$N" -- "$P"
