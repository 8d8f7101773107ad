//! Why a host cannot be reached: ssh's words turned into ours, with the next command.

use super::Target;

/// A connection that could not be made. Nothing ran on the host.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    /// Trying again is in vain until somebody changes something.
    pub(crate) permanent: bool,
    /// What happened, which host, and what to do.
    pub(crate) message: String,
}

impl Refusal {
    pub(super) fn new(permanent: bool, target: &Target, what: &str, next: &str) -> Self {
        Self { permanent, message: format!("{}: {what}; {next}", target.shown()) }
    }

    /// Reads ssh's log of a failed connection. The words are those of OpenSSH 9.2 (`sshconnect.c`, `sshconnect2.c`).
    pub(super) fn from_log(target: &Target, log: &str) -> Self {
        let host = target.address.rsplit_once('@').map_or(target.address.as_str(), |(_, host)| host);
        let entry = match target.port {
            Some(port) if port != 22 => format!("[{host}]:{port}"),
            _ => host.to_owned(),
        };
        let file = target.known_hosts.as_ref().map_or_else(String::new, |file| format!(" -f {file}"));
        let ssh = target.command();
        let has = |words: &str| log.contains(words);
        if has("HOST IDENTIFICATION HAS CHANGED") || has("Offending ") {
            let next = format!(
                "if the host was really replaced, run `ssh-keygen -R '{entry}'{file}` and then `{ssh}` to check and accept the new key"
            );
            return Self::new(true, target, "its host key is not the one that is known", &next);
        }
        if has("host key is known for") || has("Host key verification failed") {
            let next = format!("run `{ssh}` once, check the fingerprint and accept it");
            return Self::new(true, target, "its host key is not known", &next);
        }
        // ssh only mentions it to a terminal. What begins with `~` is its own to find.
        let identity = target.identity_file.as_deref().unwrap_or_default();
        let lacks_identity = identity.starts_with('/') && !std::path::Path::new(identity).exists();
        if has("Permission denied") && lacks_identity {
            let what =
                format!("it takes none of our keys, and the identity file `{identity}` does not exist");
            return Self::new(true, target, &what, "create it or correct `identity_file`");
        }
        if has("Permission denied") || has("Too many authentication failures") {
            let key = if has("UNPROTECTED PRIVATE KEY FILE") {
                " (the key file may be read by others: `chmod 600` it)"
            } else if has("not accessible: No such file") {
                " (the identity file does not exist)"
            } else {
                ""
            };
            let asks = has("password") || has("keyboard-interactive");
            let what = if asks {
                format!("it takes none of our keys and asks for a password{key}")
            } else {
                format!("it takes none of our keys{key}")
            };
            let next = format!(
                "give it a key with `ssh-copy-id`, then try `{}`",
                ssh.replacen("ssh", "ssh -o BatchMode=yes", 1)
            );
            return Self::new(true, target, &what, &next);
        }
        if has("Could not resolve hostname") {
            let next = format!("check its `address` and look with `getent hosts {host}`");
            return Self::new(false, target, "its name cannot be resolved", &next);
        }
        let look = format!("check that the host is up and sshd listens, with `{ssh}`");
        for (words, what) in [
            ("Connection refused", "it refuses the connection"),
            ("Connection timed out", "it does not answer"),
            ("Operation timed out", "it does not answer"),
            ("No route to host", "there is no route to it"),
            ("Network is unreachable", "its network cannot be reached"),
            ("Connection closed", "it closed the connection"),
            ("Connection reset", "it closed the connection"),
        ] {
            if has(words) {
                return Self::new(false, target, what, &look);
            }
        }
        let last = log.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("ssh said nothing");
        let what = format!("ssh cannot connect: {}", crate::transport::one_line(last));
        Self::new(
            has("Bad configuration option") || has("command-line"),
            target,
            &what,
            &format!("try `{ssh}`"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            name: "nas".to_owned(),
            address: "root@nas.lan".to_owned(),
            port: Some(2222),
            identity_file: None,
            known_hosts: None,
            jump: None,
            sudo: false,
        }
    }

    #[test]
    fn each_refusal_names_the_next_command() {
        for (log, permanent, words) in [
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                true,
                "ssh-keygen -R '[nas.lan]:2222'",
            ),
            (
                "No ED25519 host key is known for nas.lan and you have requested strict checking.\nHost key verification failed.",
                true,
                "check the fingerprint",
            ),
            ("root@nas.lan: Permission denied (publickey,password).", true, "asks for a password"),
            ("root@nas.lan: Permission denied (publickey).", true, "ssh-copy-id"),
            ("ssh: connect to host nas.lan port 2222: Connection refused", false, "refuses"),
            (
                "ssh: Could not resolve hostname nas.lan: Name or service not known",
                false,
                "getent hosts nas.lan",
            ),
            ("ssh: connect to host nas.lan port 22: Connection timed out", false, "does not answer"),
            ("", false, "ssh said nothing"),
        ] {
            let refusal = Refusal::from_log(&target(), log);
            assert_eq!(refusal.permanent, permanent, "{log}");
            assert!(refusal.message.contains(words), "{}", refusal.message);
            assert!(
                refusal.message.starts_with("host `nas` (root@nas.lan port 2222): "),
                "{}",
                refusal.message
            );
        }
    }
}
