//! A host whose commands can be halted: each of them is a small script that counts, and waits at one of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::engine::{Cutter, How, Side};
use super::support::sshd::{Sshd, kill, until};

/// Commands are halted on a host behind an sshd.
pub struct Gate {
    folder: PathBuf,
    cut: Box<dyn Fn() + Send + Sync>,
}

impl Gate {
    /// A gate that keeps its notes in a folder.
    pub fn new(folder: &Path, sshd: &Sshd) -> Self {
        let folder = folder.join("gate");
        fs::create_dir(&folder).unwrap();
        Self { folder, cut: Box::new(sshd.cutter()) }
    }

    /// Puts itself before a program: calls whose words fit a shell pattern are counted.
    pub fn before(&self, program: &Path, real: &Path, pattern: &str) {
        let text = format!(
            r#"#!/bin/sh
g='{gate}' real='{real}'
case "$*" in {pattern}) ;; *) exec "$real" "$@" ;; esac
[ -e "$g/armed" ] || exec "$real" "$@"
read -r point side < "$g/armed"
n=0
[ ! -e "$g/count" ] || read -r n < "$g/count"
echo $((n + 1)) > "$g/count"
halt() {{
  echo $$ > "$g/halted.new" && /bin/mv "$g/halted.new" "$g/halted"
  while [ -e "$g/halted" ]; do /bin/sleep 0.02; done
  [ -e "$g/fails" ] || return 0
  /bin/rm "$g/fails"
  echo "this call fails" >&2
  exit 255
}}
[ "$n $side" != "$point before" ] || halt
"$real" "$@"
code=$?
[ "$n $side" != "$point after" ] || halt
exit $code
"#,
            gate = self.folder.display(),
            real = real.display(),
        );
        // Another name first: the program may be running.
        let new = program.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, program).unwrap();
    }

    fn forget(&self, name: &str) {
        drop(fs::remove_file(self.folder.join(name)));
    }

    fn halted(&self) -> u32 {
        fs::read_to_string(self.folder.join("halted")).unwrap().trim().parse().unwrap()
    }
}

/// Parent and name of a process.
fn parent(pid: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    Some((rest.split_ascii_whitespace().nth(1)?.parse().ok()?, name))
}

impl Cutter for Gate {
    fn arm(&self, point: usize, side: Side) {
        self.forget("count");
        let side = if side == Side::Before { "before" } else { "after" };
        fs::write(self.folder.join("armed"), format!("{point} {side}\n")).unwrap();
    }

    fn reached(&self) -> bool {
        self.folder.join("halted").exists()
    }

    fn cut(&self, how: How) {
        // Nothing that comes after it is halted.
        self.forget("armed");
        match how {
            How::Connection | How::Killed => (self.cut)(),
            How::Fails => {
                fs::write(self.folder.join("fails"), "").unwrap();
                self.forget("halted");
                until("it has failed", || !self.folder.join("fails").exists());
            }
            How::Host => {
                let mut chain = Vec::new();
                let mut next = self.halted();
                while let Some((above, name)) = parent(next) {
                    if name.starts_with("sshd") || next <= 1 {
                        break;
                    }
                    chain.push(next);
                    next = above;
                }
                // From above, so that nobody learns of the end of what is below.
                for pid in chain.iter().rev() {
                    kill("KILL", *pid);
                }
                until("it is down", || chain.iter().all(|pid| !alive(*pid)));
            }
        }
    }

    fn heal(&self) {
        for name in ["armed", "halted", "count"] {
            self.forget(name);
        }
    }

    fn ways(&self) -> &'static [How] {
        &[How::Host, How::Killed, How::Connection, How::Fails]
    }
}

fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z')))
}
