//! The data folder: whose it is, whether it can be used, and how fast its disk syncs.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::task::spawn_blocking;
use warren_identity::owner;

use super::{Check, FOLDER_WITHIN, Sheet, check::Hop, verdict};
use crate::{config::AgentConfig, vitals};

/// Enough for a middle that one slow sync does not decide.
const SYNCS: usize = 5;
/// About what an entry of the log is, bytes.
const WRITE: usize = 4096;

#[derive(Debug)]
pub(super) enum Seen {
    /// What came of writing a file of our own, and how long each sync took.
    Ours {
        syncs: io::Result<Vec<Duration>>,
    },
    /// Users by number.
    Others {
        owner: u32,
        we: u32,
    },
    Absent {
        /// The next folder above that is there.
        above: PathBuf,
        would: io::Result<()>,
    },
    NotAFolder,
    Hidden(io::Error),
}

pub(super) async fn look<T: FnMut(&Check)>(config: &AgentConfig, sheet: &mut Sheet<T>) {
    let path = config.data_dir.clone();
    let looking = spawn_blocking(move || {
        let seen = see(&path);
        let place = if let Seen::Absent { above, .. } = &seen { above } else { &path };
        (vitals::disk(place), seen)
    });
    let (disk, seen) = match sheet.step(FOLDER_WITHIN, looking).await {
        Ok(timed) => match timed.came {
            Ok(seen) => seen,
            Err(panicked) => (None, Seen::Hidden(panicked.into())),
        },
        Err(late) => return sheet.note(verdict::late(Hop::Folder, late)),
    };
    sheet.note(verdict::folder(&config.data_dir, &seen));
    if let Some((used, size)) = disk {
        sheet.note(verdict::space(used, size));
    }
    match seen {
        Seen::Ours { syncs: Ok(syncs) } => sheet.note(verdict::sync(syncs, config.profile)),
        Seen::Others { .. } => {
            sheet.note(Check::skipped(Hop::Sync, "the folder is not ours, nothing is written there"));
        }
        Seen::Absent { .. } => sheet.note(Check::skipped(Hop::Sync, "there is no folder to write in yet")),
        Seen::Ours { syncs: Err(_) } | Seen::NotAFolder | Seen::Hidden(_) => {}
    }
}

fn see(path: &Path) -> Seen {
    let facts = match fs::metadata(path) {
        Ok(facts) => facts,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            let above = above.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("/"));
            return Seen::Absent { above: above.to_owned(), would: may_write(above) };
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Seen::NotAFolder,
        Err(error) => return Seen::Hidden(error),
    };
    if !facts.is_dir() {
        return Seen::NotAFolder;
    }
    match other_owner(&facts) {
        Some((owner, we)) => Seen::Others { owner, we },
        None => Seen::Ours { syncs: syncs_in(path) },
    }
}

/// The owner and us, where they are two.
#[cfg(unix)]
fn other_owner(facts: &fs::Metadata) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;

    let (owner, we) = (facts.uid(), rustix::process::geteuid().as_raw());
    (owner != we).then_some((owner, we))
}

/// There it is the access list that says who may write, and writing shows it.
#[cfg(not(unix))]
fn other_owner(_facts: &fs::Metadata) -> Option<(u32, u32)> {
    None
}

/// Asks and makes nothing.
#[cfg(unix)]
fn may_write(folder: &Path) -> io::Result<()> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};

    Ok(accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// Not known before it is tried.
#[cfg(not(unix))]
fn may_write(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// A file of our own beside those of the agent, gone again when this returns.
fn syncs_in(folder: &Path) -> io::Result<Vec<Duration>> {
    let path = folder.join(format!("doctor.{:016x}.new", rand::random::<u64>()));
    let mut file = owner::private(OpenOptions::new().write(true).create_new(true)).open(&path)?;
    let synced = (0..SYNCS).map(|_| write_synced(&mut file)).collect();
    drop(file);
    fs::remove_file(&path)?;
    synced
}

fn write_synced(file: &mut File) -> io::Result<Duration> {
    let begun = Instant::now();
    file.write_all(&[0; WRITE])?;
    file.sync_data()?;
    Ok(begun.elapsed())
}
