//! A short random mix with a fixed seed. Longer ones by `prove chaos`.

use std::time::Duration;

use warren_cluster_tests::{
    chaos::{self, Options},
    load,
};

#[test]
fn a_short_mix_of_faults_breaks_no_invariant() {
    let options = Options {
        per_minute: 40.0,
        hold_max: Duration::from_secs(2),
        ..Options::new(load::seed(230), Duration::from_secs(15))
    };
    let report = chaos::run(&options, |line| println!("{line}"));
    println!("{report}");
    assert!(report.violations().is_empty(), "{:#?}", report.violations());
}
