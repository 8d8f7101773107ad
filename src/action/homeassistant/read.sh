# $1: the awk program, $2: the storage file, $3: 1 when the password of an entry is asked for.
LC_ALL=C
export LC_ALL
if [ ! -f "$2" ] || [ -L "$2" ]; then
  echo missing
  exit 0
fi
sum=$(sha256sum < "$2") || exit 1
echo "sha256 ${sum%% *}"
echo "bytes $(wc -c < "$2" | tr -d ' ')"
awk -v mode=read -v secrets="$3" "$1" "$2"
code=$?
[ "$code" -le 1 ] || exit "$code"
for other in "$2".corrupt.*; do
  [ ! -e "$other" ] || echo "corrupt ${other##*/}" | tr -cd '[:alnum:]._:+ \n-'
done
echo end
