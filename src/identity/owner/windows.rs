use std::{
    fs::{self, Metadata, OpenOptions},
    io,
    path::Path,
};

/// A file takes the access list of its folder.
pub fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Never: there is no mode to see it by, and the access list is not looked at.
pub fn loose(_facts: &Metadata) -> Option<u32> {
    None
}

/// Makes the folder and those above it, with the access list of the one that was there.
pub fn make_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Leaves the access list as whoever made the folder wants it.
pub fn close_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Whoever may read the folder may read it.
pub fn open_to_readers(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// A folder cannot be synced here. Flushing the file again under its new name is the nearest to it: NTFS writes what it
/// did with names in order, the flush last.
pub fn sync_name(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.sync_all()
}
