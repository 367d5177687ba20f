//! All agents lose their gateway at once, from a thousand to a hundred thousand: when they are back, and what it takes.
//!
//! The agents' side is the real [`Uplink`](warren_core::uplink::Uplink), two tunnels each; the gateway is [a port](port::Port) with a few cores, where every
//! connection costs what was measured. `docs/scale.md` holds the table that this prints.

mod fleet;
mod port;

use fleet::{Fleet, Returned};

/// Time of this play, in microseconds.
type Us = u64;

const SECOND: Us = 1_000_000;

#[derive(Debug, Clone, Copy)]
struct Storm {
    agents: usize,
    /// Of the gateway's machine.
    cores: usize,
    /// From the loss to the moment at which the gateway listens again.
    away: Us,
}

impl Storm {
    fn play(self) -> Returned {
        Fleet::new(self, 1).return_home()
    }
}

#[test]
fn thousands_come_back_as_fast_as_they_can_be_served() {
    for away in [0, 10 * SECOND, 60 * SECOND] {
        let storm = Storm { agents: 2_000, cores: 2, away };
        let back = storm.play();
        let work = 2 * storm.agents as u64 * port::COST / storm.cores as u64;
        assert!(back.first < 2 * SECOND, "{storm:?}: the first one is back after {} us", back.first);
        assert!(back.all < 35 * SECOND + 2 * work, "{storm:?}: all are back after {} us only", back.all);
        assert!(
            back.wasted * 4 < 2 * storm.agents as u64,
            "{storm:?}: {} handshakes for nothing",
            back.wasted
        );
    }
}

#[test]
fn a_gateway_that_was_away_for_long_is_not_stormed() {
    let back = Storm { agents: 2_000, cores: 2, away: 60 * SECOND }.play();
    assert!(back.busiest < 1_000, "{} of 4000 tunnels were dialled within one second", back.busiest);
}

/// What the page on scale says, written anew with `UPDATE=1`.
#[test]
#[ignore = "a minute; run it when the uplink's waits or the measured costs change"]
fn the_page_tells_what_the_play_shows() {
    let mut rows = String::new();
    for (agents, cores) in [(1_000, 2), (10_000, 2), (10_000, 8), (100_000, 8), (100_000, 32)] {
        for away in [0, 60] {
            let back = Storm { agents, cores, away: away * SECOND }.play();
            rows += &format!(
                "| {agents} | {cores} | {away} s | {} | {} | {} | {} | {} | {} |\n",
                seconds(back.half),
                seconds(back.most),
                seconds(back.all),
                back.busiest,
                back.wasted,
                back.evicted
            );
        }
    }
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scale.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once("<!-- begin: storms -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end: storms -->").unwrap();
    let head = "| agents | cores | away | half back | 99 % back | all back | most dials in a second | handshakes for nothing | evicted |\n|---|---|---|---|---|---|---|---|---|\n";
    let expected = format!("{before}<!-- begin: storms -->\n{head}{rows}<!-- end: storms -->{after}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&page, expected).unwrap();
    } else {
        assert_eq!(text, expected, "UPDATE=1 writes the page anew");
    }
}

fn seconds(us: Us) -> String {
    format!("{:.1} s", us as f64 / SECOND as f64)
}
