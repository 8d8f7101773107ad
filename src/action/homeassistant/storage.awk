# Reads a JSON text by the quotes in it, and finds the entries of Home Assistant's storage file.
#
# mode = "read": says how many entries there are, and of each with the domain `frigate` its place, id, title and data, in
# hex of what stands there. mode = "edit": writes the text with the values that ENVIRON["EDITS"] names replaced in the entry
# at the place `at`, every other byte as it was. mode = "mask": the same with those values left out, to be compared.
# Ends with 1 when the text is no JSON, with 3 when not exactly those values were found.
#
# Plain POSIX awk: busybox, mawk and gawk take it. Under LC_ALL=C a character is a byte.
function hex(text,  i, out) {
  if (text == "") return "-"
  out = ""
  for (i = 1; i <= length(text); i++) out = out sprintf("%02x", code[substr(text, i, 1)])
  return out
}
function bad(why) { if (!wrong) wrong = why }
# The path of the value that comes now, below an entry: `title`, `data.url`. Empty: none of ours.
function path() {
  if (depth < 4 || kind[1] != "{" || key[1] != "data" || kind[2] != "{" || key[2] != "entries" || kind[3] != "[") return ""
  if (kind[4] != "{") return ""
  if (depth == 4) return key[4]
  if (depth == 5 && kind[5] == "{" && key[4] == "data") return "data." key[5]
  return ""
}
# Takes a value that is a string or literal, and gives what shall stand there.
function value(raw,  p) {
  if (state[depth] == 2 || (kind[depth] == "[" && state[depth] == 0)) state[depth] = 3
  else bad("a value where none can be")
  if (kind[depth] == "[") return raw
  p = path()
  if (p == "") return raw
  seen[entry, p] = raw
  if (mode == "read" || entry != at || !(p in edit)) return raw
  found[p]++
  return mode == "mask" ? "" : edit[p]
}
function string(text,  plain) {
  plain = text
  gsub(/\\\\/, "", plain)
  if (plain ~ /\\([^"\/bfnrtu]|$)/ || plain ~ /[[:cntrl:]]/) bad("a string that is none")
  if (kind[depth] == "{" && (state[depth] == 0 || state[depth] == 4)) {
    key[depth] = text
    state[depth] = 1
    return "\"" text "\""
  }
  return value("\"" text "\"")
}
function opens(c) {
  if (state[depth] == 2 || (kind[depth] == "[" && state[depth] == 0)) state[depth] = 3
  else bad("a value where none can be")
  if (depth == 3 && c == "{" && kind[1] == "{" && key[1] == "data" && key[2] == "entries" && kind[3] == "[") entry++
  depth++
  kind[depth] = c
  state[depth] = 0
  key[depth] = ""
}
function closes(c) {
  if (kind[depth] != (c == "}" ? "{" : "[") || (state[depth] != 0 && state[depth] != 3)) bad("an end where none can be")
  if (depth == 3 && key[1] == "data" && key[2] == "entries" && c == "]") listed++
  if (depth > 0) depth--
}
# What stands between strings.
function between(text,  out, token) {
  out = ""
  while (text != "" && !wrong) {
    if (match(text, /^[ \t\r\n]+/)) token = substr(text, 1, RLENGTH)
    else if (match(text, /^[-+.0-9A-Za-z]+/)) token = substr(text, 1, RLENGTH)
    else token = substr(text, 1, 1)
    text = substr(text, length(token) + 1)
    if (token ~ /^[ \t\r\n]/) { out = out token; continue }
    if (token == "{" || token == "[") opens(token)
    else if (token == "}" || token == "]") closes(token)
    else if (token == ":") { if (kind[depth] == "{" && state[depth] == 1) state[depth] = 2; else bad("a colon where none can be") }
    else if (token == ",") { if (depth > 0 && state[depth] == 3) state[depth] = (kind[depth] == "{" ? 4 : 2); else bad("a comma where none can be") }
    else if (token ~ /^(true|false|null|-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?)$/) token = value(token)
    else bad("what is no JSON")
    out = out token
  }
  return out
}
function write(text) { if (mode != "read") printf "%s", text }
BEGIN {
  for (i = 1; i < 256; i++) code[sprintf("%c", i)] = i
  lines = split(ENVIRON["EDITS"], line, "\n")
  edits = 0
  for (i = 1; i <= lines; i++) if (match(line[i], / /)) {
    edit[substr(line[i], 1, RSTART - 1)] = substr(line[i], RSTART + 1)
    edits++
  }
  depth = 0; state[0] = 2; kind[0] = ""; entry = 0; inside = 0; listed = 0
  RS = "\""
}
!inside { write(between($0)); inside = 1; text = ""; next }
{
  text = text $0
  tail = text
  if (match(tail, /\\+$/) && RLENGTH % 2 == 1) { text = text "\""; next }
  write(string(text))
  inside = 0
}
END {
  # The last quote opens a string only when something comes after it.
  if (!inside || depth != 0 || state[0] != 3) bad("an end too early")
  if (!wrong && listed != 1) bad("no list of entries")
  if (wrong) { if (mode == "read") print "bad " wrong; exit 1 }
  if (mode == "read") {
    print "entries " entry
    for (i = 1; i <= entry; i++) if (seen[i, "domain"] == "\"frigate\"") {
      printf "frigate %d %s %s %s %s", i, hex(seen[i, "entry_id"]), hex(seen[i, "title"]), hex(seen[i, "data.url"]), hex(seen[i, "data.validate_ssl"])
      printf " %s %s %s\n", hex(seen[i, "data.username"]), (secrets ? hex(seen[i, "data.password"]) : (seen[i, "data.password"] == "" ? "-" : "+")), hex(seen[i, "disabled_by"])
    }
    exit 0
  }
  for (p in edit) if (found[p] != 1) exit 3
}
