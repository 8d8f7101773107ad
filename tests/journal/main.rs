//! The journal by itself: what it keeps through kills, full disks, damage, lost tails and older formats, and the calls that it makes.

#[path = "../support/skip.rs"]
mod skip;

mod common;

mod basics;
mod crash;
mod damage;
mod disk;
mod handle;
mod old_formats;
mod syscalls;
mod tail;
mod wal;
