//! A terminal of its own for a command of a lab: what a person would type, and what they would see.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::lab::{Going, Lab};
use super::sshd::until;

/// A command at a terminal.
pub struct AtTerminal {
    going: Going,
    keys: File,
    seen: Arc<Mutex<Vec<u8>>>,
    screen: JoinHandle<()>,
}

impl AtTerminal {
    /// Starts the binary with these words; the terminal is its controlling one.
    pub fn start(lab: &Lab, words: &str) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let side =
            || File::from(open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap());
        let plain = lab.command(words);
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(plain.get_program()).args(plain.get_args());
        command.current_dir(lab.path(".")).env_clear();
        for (key, value) in plain.get_envs() {
            command.env(key, value.unwrap_or_default());
        }
        command.env("TERM", "xterm").env("NO_COLOR", "1").stdin(side()).stdout(side()).stderr(side());
        let going = lab.begin_as_it_is(command);
        let keys = File::from(master);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, into) = (keys.try_clone().unwrap(), Arc::clone(&seen));
        let reading = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // The last one at the other side is gone: an error on Linux.
            while let Ok(count) = screen.read(&mut piece)
                && count > 0
            {
                into.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Self { going, keys, seen, screen: reading }
    }

    /// Everything that was written, one thing after the other.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits until these words have been written so many times.
    #[track_caller]
    pub fn shows(&self, words: &str, times: usize) {
        until(&format!("`{words}` is shown {times} times"), || self.seen().matches(words).count() >= times);
    }

    pub fn types(&mut self, line: &str) {
        self.keys.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Waits until it ends: its exit code and everything that was seen.
    #[track_caller]
    pub fn end(self) -> (i32, String) {
        let Self { going, keys, seen, screen } = self;
        let code = going.end().code;
        screen.join().unwrap();
        drop(keys);
        let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
        (code, seen)
    }
}
