//! Leases: who held the journal, one after the other, with fencing tokens that only grow.

use serde::{Deserialize, Serialize};

/// Who opens a journal. The caller reads clock and machine; the journal only records them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Host name.
    pub host: String,
    /// The boot this process runs in (Linux: `/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Wall clock at opening, in milliseconds since 1970.
    pub wall_ms: i64,
}

/// One tenure of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The fencing token: higher than every one before it in this journal, from 1.
    pub token: u64,
    /// Who held it.
    pub holder: Holder,
}
