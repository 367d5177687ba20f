//! Whole members in one process, over loopback, on real disks: what a group must live through.

mod growth;
mod harness;
mod loss;
mod recovery;
mod refusals;
