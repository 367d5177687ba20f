//! What keeps files and folders their owner's, and what makes a name last: the part of it that differs by system.
//!
//! On Unix it is modes, and a sync of the folder. Windows has neither: there a file takes the access list of the folder
//! it is made in, so that the folder's list decides, and what is done here says so and pretends no mode.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use unix::{close_folder, loose, make_folder, open_to_readers, private, sync_name};
#[cfg(windows)]
pub use windows::{close_folder, loose, make_folder, open_to_readers, private, sync_name};
