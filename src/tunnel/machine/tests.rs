//! Two machines talk over a virtual wire and clock.

mod bundle;
mod faults;
mod flow;
mod lifecycle;
mod liveness;
mod pair;
mod sim;
