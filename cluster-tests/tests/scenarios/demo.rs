//! The first thing a newcomer runs.

use serde_json::Value;
use warren_cluster_tests::warren;

#[test]
fn the_demo_reports_a_failover_without_a_failed_open() {
    let output = warren().args(["demo", "--once", "--json"]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(report["members"], 3, "{report}");
    assert_eq!(report["sessions"]["failed_open"], 0, "{report}");
    assert!(report["sessions"]["opened"].as_u64() > Some(0), "{report}");
    assert_eq!(report["spread"].as_object().map(|spread| spread.len()), Some(3), "{report}");
    for key in ["leader", "revision", "first_session_after_kill_ms", "config_after_kill_ms", "returned_ms"] {
        assert!(!report[key].is_null(), "{key} in {report}");
    }
}
