# What runs on a host. POSIX sh alone (dash, busybox ash, bash). It arrives on stdin behind a header that sets:
#   rn_nonce    marks what the wrapper itself says on stdout and stderr
#   rn_journal  names the private folder; rn_token: the fencing token; rn_id: names the attempt
#   rn_limit    bytes of each stream that are kept on the host; rn_wait, rn_grace: seconds
#   rn_cwd, rn_in (printf %b form) and rn_file (the same): empty when absent; rn_has_in, rn_has_file: 1 when present
#   rn_env      a function that exports the command's environment
# and it is followed by one call of rn_act, rn_look, rn_settle or rn_stop. Lines that begin with # are not sent.
umask 077

rn_say() {
  printf '\036runner %s %s\n' "$rn_nonce" "$1"
}

# Says why nothing was started, on stderr, and ends.
rn_refuse() {
  rn_say "refuse $1" >&2
  exit 0
}

# Sets rn_start to the start time of process $1; fails when it has ended, or cannot be seen.
rn_started() {
  rn_start=
  if [ -d /proc/self ]; then
    read -r rn_line 2>/dev/null < "/proc/$1/stat" || return 1
    rn_line=${rn_line##*) }
    set -- $rn_line
    # The first thread may have ended before the others.
    case $1 in Z | X) [ "${18}" -gt 1 ] || return 1 ;; esac
    shift 19
    rn_start=$1
  else
    rn_start=$(ps -o lstart= -p "$1" 2>/dev/null | tr -s ' ' _)
  fi
  [ -n "$rn_start" ]
}

# Whether process $1 still is the one that started at $2; one that cannot be seen is not proved to be another.
rn_alive() {
  [ -n "$1" ] || return 1
  if rn_started "$1"; then [ "$rn_start" = "$2" ]; else rn_hidden "$1"; fi
}

# Whether there is a process $1 of somebody else that /proc hides (hidepid): a command may have become root by sudo.
rn_hidden() {
  [ -d /proc/self ] && [ ! -r "/proc/$1/stat" ] || return 1
  case $(LC_ALL=C; export LC_ALL; kill -s 0 "$1" 2>&1) in *ermitted*) ;; *) return 1 ;; esac
}

rn_nap() {
  sleep 0.1 2>/dev/null || sleep 1
}

rn_now() {
  date +%s
}

# Writes $2 into file $1 so that a reader sees all of it or nothing.
rn_keep() {
  printf '%s\n' "$2" > "$1.new" && mv "$1.new" "$1"
}

# Finds the private folder: rn_dir. Only we may own it, and nobody may have put a link there.
rn_home() {
  rn_boot=
  read -r rn_boot 2>/dev/null < /proc/sys/kernel/random/boot_id || rn_boot=$(sysctl -n kern.boottime 2>/dev/null | tr -cd 0-9)
  for rn_base in "${HOME:-/nonexistent}/.cache/runner" "/tmp/runner-$(id -u)"; do
    mkdir -p "$rn_base" 2>/dev/null || continue
    [ ! -L "$rn_base" ] && [ -O "$rn_base" ] && chmod 700 "$rn_base" 2>/dev/null || continue
    rn_dir=$rn_base/$rn_journal
    mkdir -p "$rn_dir/attempts" "$rn_dir/tokens" 2>/dev/null && [ -w "$rn_dir/attempts" ] && return 0
  done
  rn_refuse "folder $rn_base"
}

# Refuses an older fencing token than the highest that was ever seen here. Each token seen is a folder, so that two
# who come at once need no lock: making a folder is atomic, and the highest one cannot be taken back.
rn_fence() {
  mkdir "$rn_dir/tokens/$rn_token" 2>/dev/null || [ -d "$rn_dir/tokens/$rn_token" ] || rn_refuse "folder $rn_dir/tokens"
  for rn_seen in "$rn_dir"/tokens/*; do
    rn_seen=${rn_seen##*/}
    if [ "$rn_seen" -gt "$rn_token" ]; then
      rmdir "$rn_dir/tokens/$rn_token" 2>/dev/null
      rn_refuse "token $rn_seen"
    fi
    [ "$rn_seen" -ge "$rn_token" ] || rmdir "$rn_dir/tokens/$rn_seen" 2>/dev/null
  done
}

# Checks what can be known before the start.
rn_check() {
  if [ -n "$rn_cwd" ]; then
    cd -- "$rn_cwd" 2>/dev/null || rn_refuse cwd
  fi
  [ "$rn_has_file" = 1 ] || ( rn_env && command -v "$1" ) >/dev/null 2>&1 || rn_refuse "program $1"
  rn_setsid=$(command -v setsid)
}

# Becomes the command: its own session, the usual signals, no descriptor of ours.
rn_become() {
  trap - PIPE HUP
  rn_env
  [ -z "$rn_setsid" ] || exec "$rn_setsid" "$@"
  exec "$@"
}

# Starts the command in the background (wait is silenced: a shell says there that a command was killed) on descriptors 7 and 8; sets rn_pid.
rn_begin() {
  if [ "$rn_has_in" = 1 ]; then
    printf %b "$rn_in" 2>/dev/null 7>&- 8>&- | rn_become "$@" >&7 2>&8 7>&- 8>&- 9>&- &
  else
    rn_become "$@" < /dev/null >&7 2>&8 7>&- 8>&- 9>&- &
  fi
  rn_pid=$!
  rn_in=
  rn_started "$rn_pid"
}

# Signals the command's session, or the command alone where there is no setsid.
rn_signal() {
  kill -s "$1" -- "-$2" 2>/dev/null || kill -s "$1" "$2" 2>/dev/null
}

# The processes of the command's session that are still there: pid name, pid name …
rn_left() {
  rn_left=$(pgrep -l -s "$rn_pid" 2>/dev/null | head -n 20 | tr '\n' ',')
}

# Keeps the 64 attempts that ended last.
rn_sweep() {
  rn_count=0
  for rn_old in $(ls -t "$rn_dir/attempts"); do
    [ -f "$rn_dir/attempts/$rn_old/exit" ] || [ -f "$rn_dir/attempts/$rn_old/never" ] || continue
    rn_count=$((rn_count + 1))
    [ "$rn_count" -le 64 ] || rm -rf "$rn_dir/attempts/$rn_old"
  done
}

# Runs an attempt. From its folder on, nothing that happens to the connection hurts the command: it writes into
# pipes of ours, and tee goes on writing to the spool when nobody listens any more.
rn_act() {
  rn_home
  rn_fence
  rn_check "$@"
  rn_at=$rn_dir/attempts/$rn_id
  mkdir "$rn_at" 2>/dev/null || { [ -d "$rn_at" ] && rn_refuse again || rn_refuse "folder $rn_dir"; }
  trap '' PIPE HUP
  rn_started $$
  rn_keep "$rn_at/wrapper" "$rn_boot $$ $rn_start $rn_nonce" && mkfifo "$rn_at/o" "$rn_at/e" "$rn_at/p" "$rn_at/q" || {
    rm -rf "$rn_at"
    rn_refuse "folder $rn_at"
  }
  if [ "$rn_has_file" = 1 ]; then
    printf %b "$rn_file" > "$rn_at/script" && chmod 700 "$rn_at/script" || { rm -rf "$rn_at"; rn_refuse "folder $rn_at"; }
    if [ "$rn_shebang" = 1 ]; then set -- "$rn_at/script"; else set -- /bin/sh "$rn_at/script"; fi
  fi
  rn_say begin
  rn_say begin >&2
  { head -c "$rn_limit" > "$rn_at/out"; exec cat; } < "$rn_at/p" > /dev/null 2>&1 &
  rn_spools=$!
  { head -c "$rn_limit" > "$rn_at/err"; exec cat; } < "$rn_at/q" > /dev/null 2>&1 &
  rn_spools="$rn_spools $!"
  tee "$rn_at/p" < "$rn_at/o" 2>/dev/null &
  rn_tees=$!
  tee "$rn_at/q" < "$rn_at/e" >&2 2>/dev/null &
  rn_tees="$rn_tees $!"
  exec 7> "$rn_at/o" 8> "$rn_at/e"
  rm -f "$rn_at/o" "$rn_at/e"
  rn_begin "$@"
  rn_keep "$rn_at/pid" "$rn_pid $rn_start"
  wait "$rn_pid" 2>/dev/null
  rn_status=$?
  rn_keep "$rn_at/exit" "$rn_status"
  rn_left
  rn_say "end $rn_status $rn_left" >&8
  rn_say "end $rn_status" >&7
  exec 7>&- 8>&- < /dev/null
  # Without descendants the pipes end by themselves. One that holds them has two seconds, a hidden one a minute.
  rn_naps=600
  [ -z "$rn_left" ] || rn_naps=20
  for rn_tee in $rn_tees; do
    while [ "$rn_naps" -gt 0 ] && rn_started "$rn_tee"; do
      rn_nap
      rn_naps=$((rn_naps - 1))
    done
  done
  kill $rn_tees 2>/dev/null
  # Who settles reads the spool once the pipes are gone: it must have taken the last words by then.
  rn_naps=20
  for rn_spool in $rn_spools; do
    while [ "$rn_naps" -gt 0 ] && rn_started "$rn_spool"; do
      rn_nap
      rn_naps=$((rn_naps - 1))
    done
  done
  rm -f "$rn_at/p" "$rn_at/q" "$rn_at/script"
  rn_sweep > /dev/null 2>&1
}

# Runs a look: nothing is kept. When our stdin ends, the one who looks is gone and the command is ended.
rn_look() {
  rn_check "$@"
  exec 7>&1 8>&2 9<&0
  if [ "$rn_has_file" = 1 ]; then
    rn_home
    rn_script=$rn_dir/look-$$
    ( set -C; printf %b "$rn_file" > "$rn_script" ) 2>/dev/null && chmod 700 "$rn_script" || rn_refuse "folder $rn_dir"
    if [ "$rn_shebang" = 1 ]; then set -- "$rn_script"; else set -- /bin/sh "$rn_script"; fi
  fi
  rn_say begin
  rn_say begin >&2
  rn_begin "$@"
  (
    read -r rn_gone
    rn_signal TERM "$rn_pid"
    sleep "$rn_grace"
    rn_signal KILL "$rn_pid"
  ) <&9 > /dev/null 2>&1 7>&- 8>&- &
  rn_guard=$!
  wait "$rn_pid" 2>/dev/null
  rn_status=$?
  kill "$rn_guard" 2>/dev/null
  [ -z "$rn_script" ] || rm -f "$rn_script"
  rn_say "end $rn_status" >&2
  rn_say "end $rn_status"
}

# Gives back what an ended attempt left: its streams between the marks it would have written itself.
rn_report() {
  # The last words are still on their way into the spool while the wrapper is there: a few seconds, no longer.
  rn_naps=50
  while [ "$rn_naps" -gt 0 ] && [ -e "$rn_at/p" ] && rn_alive "$rn_wrapper" "$rn_wrapper_start"; do
    rn_nap
    rn_naps=$((rn_naps - 1))
  done
  read -r rn_status < "$rn_at/exit"
  rn_say "was $rn_was"
  rn_say "was $rn_was" >&2
  rn_nonce=$rn_was
  rn_say begin
  rn_say begin >&2
  cat "$rn_at/out" 2>/dev/null
  cat "$rn_at/err" >&2 2>/dev/null
  rn_say "end $rn_status" >&2
  rn_say "end $rn_status"
  exit 0
}

# Proves an attempt over: waits rn_wait seconds for it, then ends it.
rn_settle() {
  rn_home
  rn_fence
  rn_at=$rn_dir/attempts/$rn_id
  if mkdir "$rn_at" 2>/dev/null; then
    # From now on a header that still comes late finds the folder and is refused.
    : > "$rn_at/never"
    rn_say "over never" >&2
    exit 0
  fi
  [ -d "$rn_at" ] || rn_refuse "folder $rn_dir"
  [ ! -f "$rn_at/never" ] || { rn_say "over never" >&2; exit 0; }
  rn_until=$(( $(rn_now) + rn_wait ))
  rn_step=wait
  while :; do
    rn_then= rn_wrapper= rn_wrapper_start= rn_was= rn_pid= rn_pid_start=
    read -r rn_then rn_wrapper rn_wrapper_start rn_was 2>/dev/null < "$rn_at/wrapper"
    read -r rn_pid rn_pid_start 2>/dev/null < "$rn_at/pid"
    [ ! -f "$rn_at/exit" ] || rn_report
    if [ -n "$rn_then" ] && [ "$rn_then" != "$rn_boot" ]; then
      rn_say "over boot" >&2
      exit 0
    fi
    if [ -n "$rn_then" ] && ! rn_alive "$rn_wrapper" "$rn_wrapper_start" && ! rn_alive "$rn_pid" "$rn_pid_start"; then
      [ ! -f "$rn_at/exit" ] || rn_report
      # With what it said first, once the spool has it: a script that had something begun elsewhere says there what that is.
      [ -s "$rn_at/out" ] || rn_nap
      rn_say "over gone $(head -c 64 "$rn_at/out" 2>/dev/null | head -n 1)" >&2
      exit 0
    fi
    if [ "$(rn_now)" -ge "$rn_until" ]; then
      case $rn_step in
        wait) rn_step=TERM ;;
        TERM) rn_step=KILL ;;
        *) rn_say "stuck $rn_pid" >&2; exit 0 ;;
      esac
      if rn_alive "$rn_pid" "$rn_pid_start"; then rn_signal "$rn_step" "$rn_pid"
      elif [ -z "$rn_pid" ] && rn_alive "$rn_wrapper" "$rn_wrapper_start"; then kill -s "$rn_step" "$rn_wrapper"
      elif [ -z "$rn_then" ]; then : > "$rn_at/never"; rn_say "over never" >&2; exit 0
      fi
      rn_until=$(( $(rn_now) + rn_grace ))
    fi
    rn_nap
  done
}

# Ends a running attempt by its handle: SIGTERM, rn_grace seconds, SIGKILL. The wrapper itself says how it ended.
rn_stop() {
  rn_home
  rn_at=$rn_dir/attempts/$rn_id
  if mkdir "$rn_at" 2>/dev/null; then
    # It has not begun; its header, if it still comes, finds the folder and is refused.
    : > "$rn_at/never"
  fi
  rn_step=TERM
  rn_until=$(( $(rn_now) + rn_grace ))
  rn_sent=
  while [ -d "$rn_at" ] && [ ! -f "$rn_at/exit" ] && [ ! -f "$rn_at/never" ]; do
    rn_pid= rn_pid_start=
    read -r rn_pid rn_pid_start 2>/dev/null < "$rn_at/pid"
    if [ -n "$rn_pid" ] && [ "$rn_sent" != "$rn_step" ]; then
      rn_alive "$rn_pid" "$rn_pid_start" && rn_signal "$rn_step" "$rn_pid"
      rn_sent=$rn_step
    fi
    if [ "$(rn_now)" -ge "$rn_until" ]; then
      [ "$rn_step" = TERM ] || { rn_say "stuck $rn_pid" >&2; exit 0; }
      rn_step=KILL
      rn_until=$(( $(rn_now) + rn_grace ))
    fi
    [ -f "$rn_at/exit" ] || rn_nap
  done
  # Others of its session may still be cleaning up: they have what is left of the grace.
  while [ -n "$rn_pid" ] && kill -s 0 -- "-$rn_pid" 2>/dev/null && [ "$(rn_now)" -lt "$rn_until" ]; do rn_nap; done
  [ -z "$rn_pid" ] || kill -s KILL -- "-$rn_pid" 2>/dev/null
  rn_say "over stopped" >&2
}
