//! Runs everything that was asked for, round by round: all peers in each, so that a busy minute of the machine hurts all.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result};
use serde_json::{Value, json};

use crate::{
    measure::{Bed, Sample, Scale, named},
    peers::{Peer, Place, Running, Tool},
    plan::{FAR, Group, Setting},
    quiet::{self, Others},
    tools::Tools,
};

/// A peer that can be had.
pub(crate) struct Contender {
    pub(crate) peer: &'static Peer,
    pub(crate) tool: Tool,
}

/// What the rounds have given: values of each row and peer, failures of each group and peer, and everything raw.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) values: BTreeMap<(&'static str, &'static str), Vec<f64>>,
    pub(crate) failures: BTreeMap<(&'static str, &'static str), String>,
    /// CPUs that other programs had, for each measurement.
    pub(crate) others: Vec<f64>,
    pub(crate) raw: Vec<Value>,
}

/// What is run.
pub(crate) struct Run<'a> {
    pub(crate) contenders: &'a [Contender],
    pub(crate) groups: &'a [&'static Group],
    pub(crate) rounds: usize,
    pub(crate) scale: Scale,
    pub(crate) tools: &'a Tools,
    /// How long each measurement may wait, and be taken again, for others to leave the machine alone.
    pub(crate) wait_quiet: Duration,
}

type Started = (Running, Place);

impl Run<'_> {
    pub(crate) fn results(&self) -> Results {
        let mut results = Results::default();
        for round in 1..=self.rounds {
            for contender in self.contenders {
                let start = Instant::now();
                eprintln!("round {round} of {}: {}", self.rounds, contender.peer.name);
                for setting in [Setting::Near, Setting::Fresh, Setting::Far] {
                    self.in_setting(round, contender, setting, &mut results);
                }
                eprintln!("  {:.0} s", start.elapsed().as_secs_f64());
            }
        }
        results
    }

    /// One start of the peer for all groups of the setting; after a failure, a new one.
    fn in_setting(&self, round: usize, contender: &Contender, setting: Setting, results: &mut Results) {
        let mut started = None;
        for group in self.groups.iter().filter(|group| group.setting == setting) {
            let running = match started.take() {
                Some(running) => Ok(running),
                None => self.start(contender, setting),
            };
            let measured = running.and_then(|running| {
                let (sample, others) = self.measure(group, &running.0)?;
                Ok((sample, others, running))
            });
            match measured {
                Ok((sample, others, running)) => {
                    started = Some(running);
                    results.add(round, contender.peer.name, group, sample, others);
                }
                Err(error) => results.add_failure(round, contender.peer.name, group, &error),
            }
        }
    }

    /// Tried twice: starting is not what is measured, and a busy machine may miss a deadline.
    fn start(&self, contender: &Contender, setting: Setting) -> Result<Started> {
        self.try_start(contender, setting).or_else(|error| {
            eprintln!("  {} does not start, once more: {error:#}", contender.peer.name);
            self.try_start(contender, setting)
        })
    }

    fn try_start(&self, contender: &Contender, setting: Setting) -> Result<Started> {
        let place = Place::new(self.tools, (setting == Setting::Far).then_some(FAR))?;
        let running = (contender.peer.start)(&contender.tool, &place)?;
        Ok((running, place))
    }

    /// The sample that others disturbed least, and the CPUs that they had meanwhile.
    fn measure(&self, group: &Group, running: &Running) -> Result<(Sample, f64)> {
        let deadline = Instant::now() + self.wait_quiet;
        let mut best: Option<(Sample, f64)> = None;
        loop {
            quiet::wait(deadline);
            let watched = Others::watch();
            let sample = (group.measure)(&Bed { running, scale: &self.scale });
            let others = watched.cpus();
            let sample = sample.with_context(|| format!("others had {others:.2} CPUs"))?;
            if best.as_ref().is_none_or(|(_, least)| others < *least) {
                best = Some((sample, others));
            }
            // What needs a fresh start cannot be taken twice from one.
            let again = others > quiet::QUIET && group.setting != Setting::Fresh && Instant::now() < deadline;
            if !again && let Some(best) = best.take() {
                return Ok(best);
            }
        }
    }
}

impl Results {
    fn add(&mut self, round: usize, peer: &'static str, group: &Group, sample: Sample, others: f64) {
        let named = named(group.rows, &sample.values);
        eprintln!("  {:8} {} (others: {others:.2} CPUs)", group.name, json!(named));
        for (row, value) in group.rows.iter().zip(&sample.values) {
            self.values.entry((row.name, peer)).or_default().push(*value);
        }
        self.others.push(others);
        self.raw.push(json!({
            "round": round,
            "peer": peer,
            "group": group.name,
            "rows": named,
            "others_cpus": others,
            "detail": sample.detail,
        }));
    }

    fn add_failure(&mut self, round: usize, peer: &'static str, group: &Group, error: &Error) {
        // Some reasons are a program's last words, on several lines.
        let reason = format!("round {round}: {error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
        eprintln!("  {:8} failed: {reason}", group.name);
        self.raw.push(json!({"round": round, "peer": peer, "group": group.name, "failed": reason}));
        self.failures.entry((group.name, peer)).or_insert(reason);
    }
}
