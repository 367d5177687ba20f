//! Whole members in one process, over loopback, on real disks: what a group must live through.

mod growth;
mod half_way;
mod hand_over;
mod harness;
mod levels;
mod loss;
mod recovery;
mod refusals;
mod seven;
mod sim;
