use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

const OWNERS_FILE: u32 = 0o600;
const OWNERS_FOLDER: u32 = 0o700;
const READABLE: u32 = 0o644;
const OTHERS: u32 = 0o077;

/// A file that is made with these options is its owner's alone.
pub fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(OWNERS_FILE)
}

/// The mode, if group or others may do anything with it.
pub fn loose(facts: &Metadata) -> Option<u32> {
    let mode = facts.permissions().mode() & 0o777;
    (mode & OTHERS != 0).then_some(mode)
}

/// Makes the folder and those above it, for their owner alone; one that is there stays as it is.
pub fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(OWNERS_FOLDER).create(path)
}

/// Takes a folder from everybody but its owner.
pub fn close_folder(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o777 == OWNERS_FOLDER {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(OWNERS_FOLDER))
}

/// Lets everybody read a file.
pub fn open_to_readers(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(READABLE))
}

/// Returns when the name of a file that was synced outlasts a power cut: names are kept by the folder.
pub fn sync_name(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
