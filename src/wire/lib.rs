//! Generated code for the conversations in proto/, and conversions to and from core.

pub mod convert;

/// What the protocol files define.
#[allow(missing_debug_implementations, unreachable_pub, unused_qualifications, clippy::all, clippy::use_self)]
pub mod v1 {
    tonic::include_proto!("warren.v1");
}
