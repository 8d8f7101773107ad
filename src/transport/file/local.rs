//! Files on this machine.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Gid, Mode, OFlags, Uid};

use super::{FileError, FilePlace, Found, Present, Write};
use crate::transport::Transport;
use crate::transport::capture::Seen;
use crate::transport::launch::{End, Report, after};
use crate::transport::stop::Stop;

/// The bits of a mode that `chmod` sets.
const MODE_BITS: u32 = 0o7777;

pub(super) async fn look(place: &FilePlace, timeout: Duration) -> Result<Found, FileError> {
    let owned = place.clone();
    let work = tokio::task::spawn_blocking(move || found(&owned));
    match tokio::time::timeout(timeout, work).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) => Err(place.error(false, "`runner` panicked over it; please report that")),
        Err(_) => Err(place.error(false, &format!("it cannot be looked at within {timeout:?}"))),
    }
}

pub(super) async fn change(
    transport: &Transport,
    place: &FilePlace,
    attempt: &str,
    write: Write,
    timeout: Duration,
    stop: Option<Stop>,
) -> Report {
    let ended = |end| Report { end, seen: Seen::default() };
    if stop.as_ref().is_some_and(Stop::is_fired) {
        return ended(End::Stopped(format!("it was stopped before {} was touched", place.shown())));
    }
    let (owned, working) = (place.clone(), transport.begin_inside(attempt));
    // Blocking work cannot be ended: whoever settles the attempt waits until it has let go of `working`.
    let work = tokio::task::spawn_blocking(move || {
        let done = put(&owned, &write);
        drop(working);
        done
    });
    match tokio::time::timeout_at(after(timeout), work).await {
        Ok(Ok(Ok(()))) => ended(End::Exit(0)),
        Ok(Ok(Err(FileError { permanent, message }))) => Report::not_started(permanent, message),
        Ok(Err(_)) => ended(End::Lost("`runner` panicked over it; please report that".to_owned())),
        Err(_) => ended(End::TimedOut(format!("{} was not written within {timeout:?}", place.shown()))),
    }
}

/// The folder of an absolute path.
fn folder(path: &Path) -> PathBuf {
    path.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

/// Refuses what is no regular file; says whether anything is there.
fn regular(place: &FilePlace) -> Result<bool, FileError> {
    match fs::symlink_metadata(&place.path) {
        Ok(found) if found.is_symlink() => {
            let to = fs::read_link(&place.path).unwrap_or_default();
            let to = to.display();
            Err(place
                .error(true, &format!("it is a symbolic link to `{to}`: name the file that it leads to")))
        }
        Ok(found) if found.is_dir() => Err(place.error(true, "it is a folder: name a file")),
        Ok(found) if !found.is_file() => {
            Err(place.error(true, "it is a device, socket or pipe: name a file"))
        }
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(place.error(true, "a part of its path is no folder"))
        }
        Err(error) => Err(place.error(false, &format!("it cannot be looked at: {error}"))),
    }
}

fn found(place: &FilePlace) -> Result<Found, FileError> {
    if !regular(place)? {
        let mut missing = Vec::new();
        for above in Path::new(&place.path).ancestors().skip(1) {
            match fs::metadata(above) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    missing.push(above.to_string_lossy().into_owned());
                }
                Err(error) => return Err(place.error(false, &format!("its folder cannot be seen: {error}"))),
            }
        }
        return Ok(Found::Nothing { missing });
    }
    let cannot = |error: io::Error| {
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        place.error(denied, &format!("it cannot be read: {error}"))
    };
    // It may have become something else since: neither a link nor a pipe holds us up.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(&place.path).map_err(cannot)?;
    let seen = file.metadata().map_err(cannot)?;
    if !seen.is_file() {
        return Err(place.error(true, "it is no regular file"));
    }
    let mut content = Vec::new();
    file.take(place.most() + 1).read_to_end(&mut content).map_err(cannot)?;
    if content.len() as u64 > place.most() {
        return Err(place.too_large());
    }
    Ok(Found::File(Present { content, mode: seen.mode() & MODE_BITS, uid: seen.uid(), gid: seen.gid() }))
}

fn put(place: &FilePlace, write: &Write) -> Result<(), FileError> {
    let path = Path::new(&place.path);
    let above = folder(path);
    if write.file.is_some() {
        make_folders(place, &above, write.parents)?;
    }
    let there = regular(place)?;
    let temporary = above.join(&write.temporary);
    // What an attempt of the same step left that was killed.
    match fs::remove_file(&temporary) {
        Err(error) if !gone(&error) => {
            return Err(place.error(false, &format!("`{}` cannot be removed: {error}", temporary.display())));
        }
        _ => {}
    }
    match &write.file {
        Some(file) => {
            if let Err(error) = replace(place, file, write.keep_owner, &temporary, path) {
                drop(fs::remove_file(&temporary));
                return Err(error);
            }
        }
        None if there => {
            fs::remove_file(path)
                .map_err(|error| place.error(false, &format!("it cannot be removed: {error}")))?;
        }
        None => {}
    }
    match sync_folder(&above) {
        Err(error) if !gone(&error) => {
            return Err(place.error(false, &format!("its folder cannot be synced: {error}")));
        }
        _ => {}
    }
    for folder in &write.folders {
        // One that is not empty any more holds what is not ours, and so do those above it.
        if fs::remove_dir(folder).is_err_and(|error| !gone(&error)) {
            break;
        }
    }
    Ok(())
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn make_folders(place: &FilePlace, above: &Path, parents: bool) -> Result<(), FileError> {
    if above.is_dir() {
        return Ok(());
    }
    if !parents {
        return Err(place.error(
            true,
            &format!(
                "its folder `{}` does not exist: create it first, or write `parents = true`",
                above.display()
            ),
        ));
    }
    let missing: Vec<&Path> = above.ancestors().take_while(|folder| !folder.is_dir()).collect();
    for folder in missing.into_iter().rev() {
        let made = fs::DirBuilder::new().mode(0o755).create(folder);
        made.and_then(|()| sync_folder(self::folder(folder).as_path())).map_err(|error| {
            place.error(false, &format!("the folder `{}` cannot be made: {error}", folder.display()))
        })?;
    }
    Ok(())
}

fn replace(
    place: &FilePlace,
    file: &Present,
    keep_owner: bool,
    temporary: &Path,
    path: &Path,
) -> Result<(), FileError> {
    let cannot = |error: io::Error| place.error(false, &format!("it cannot be written: {error}"));
    let mut new = File::options().write(true).create_new(true).mode(0o600).open(temporary).map_err(cannot)?;
    new.write_all(&file.content).map_err(cannot)?;
    let made = new.metadata().map_err(cannot)?;
    if keep_owner && (made.uid(), made.gid()) != (file.uid, file.gid) {
        let (uid, gid) = (Uid::from_raw(file.uid), Gid::from_raw(file.gid));
        rustix::fs::fchown(&new, Some(uid), Some(gid)).map_err(|error| {
            let what = format!(
                "it belongs to {}:{} and could not keep its owner: run as root or as its owner ({error})",
                file.uid, file.gid
            );
            place.error(true, &what)
        })?;
    }
    rustix::fs::fchmod(&new, Mode::from_raw_mode(file.mode)).map_err(|error| cannot(error.into()))?;
    new.sync_all().map_err(cannot)?;
    fs::rename(temporary, path).map_err(cannot)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
