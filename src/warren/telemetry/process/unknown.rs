//! Where the system is not asked, Windows.

use std::path::Path;

use super::{Space, Usage};

pub(super) fn usage() -> Usage {
    Usage::default()
}

pub(super) fn space(_folder: &Path) -> Option<Space> {
    None
}
