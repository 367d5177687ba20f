//! Every scenario, as its users would see it.

#![allow(clippy::unwrap_used, reason = "a scenario that cannot go on has failed")]

mod scenarios {
    mod bad_input;
    mod black_hole;
    mod certificates;
    mod chaos;
    mod cli;
    mod demo;
    mod doctor;
    mod drain;
    mod drain_move;
    mod echo_recycle;
    mod enrolment;
    mod faults;
    mod frames;
    mod frozen;
    mod gateway_restart;
    mod growth;
    mod history;
    mod install;
    mod intents;
    mod killed;
    mod main_job;
    mod mixed_versions;
    mod other_group;
    mod probes;
    mod proxies;
    mod quick_start;
    mod recover;
    mod resume;
    mod scale_down;
    mod several_gateways;
    mod slow_reader;
    mod strangers;
    mod targets;
    mod traces;
}
