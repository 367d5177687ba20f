//! Every scenario, as its users would see it.

#![allow(clippy::unwrap_used, reason = "a scenario that cannot go on has failed")]

mod scenarios {
    mod bad_input;
    mod cli;
    mod demo;
    mod enrolment;
    mod gateway_restart;
    mod growth;
    mod intents;
    mod main_job;
    mod targets;
}
