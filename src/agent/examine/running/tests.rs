use super::*;
use crate::examine::Status;

const OWN: u64 = 7;

fn told(status: u16, metrics: &str) -> Vec<(Hop, Status)> {
    let id = AgentId::from_random(OWN);
    let info = format!("warren_agent_info{{group=\"a/site\",member=\"an \\\"odd\\\" one\",id=\"{id}\"}} 1\n");
    let told = Told { status, ready: "not ready: draining\n".into(), metrics: info + metrics };
    judge(&told, id).into_iter().map(|check| (check.name, check.status)).collect()
}

const WELL: &str = "\
# TYPE warren_agent_tunnels gauge
warren_agent_tunnels 2
warren_agent_tunnels_of_another_name 0
warren_group_members{verdict=\"up\"} 3
warren_group_members{verdict=\"down\"} 0
warren_group_quorum 1
warren_group_log_stopped 0
warren_agent_probe_up{resource=\"db\"} 1
warren_agent_probe_up{resource=\"gone\"} NaN
";

#[test]
fn an_agent_its_group_and_its_targets_are_told() {
    let expected = [(Hop::Agent, Status::Ok), (Hop::Peers, Status::Ok), (Hop::Target, Status::Ok)];
    assert_eq!(told(200, WELL), expected);
}

#[test]
fn each_trouble_has_its_own_line() {
    let with = |line: &str, other: &str| {
        assert!(WELL.contains(line), "{line}");
        told(200, &WELL.replace(line, other))
    };
    assert_eq!(told(503, WELL)[0], (Hop::Agent, Status::Failed));
    assert_eq!(with("agent_tunnels 2", "agent_tunnels 0")[0], (Hop::Agent, Status::Failed));
    assert_eq!(with("verdict=\"down\"} 0", "verdict=\"down\"} 1")[1], (Hop::Peers, Status::Warn));
    assert_eq!(with("quorum 1", "quorum 0")[1], (Hop::Peers, Status::Failed));
    assert_eq!(with("log_stopped 0", "log_stopped 1")[1], (Hop::Peers, Status::Failed));
    assert_eq!(with("\"db\"} 1", "\"db\"} 0.5")[2], (Hop::Target, Status::Warn));
    assert_eq!(with("\"db\"} 1", "\"db\"} 0")[2], (Hop::Target, Status::Failed));
}

#[test]
fn another_agent_and_another_program_are_not_taken_for_ours() {
    let told = |metrics: &str| {
        let told = Told { status: 200, metrics: metrics.into(), ..Told::default() };
        judge(&told, AgentId::from_random(OWN))
    };
    let other = AgentId::from_random(8);
    let another = told(&format!("warren_agent_info{{id=\"{other}\"}} 1\n{WELL}"));
    assert!(another.len() == 1 && another[0].seen.contains(&other.to_string()), "{another:?}");
    for text in ["", "<html>", WELL, "warren_agent_info{group=\"x\"} 1\n"] {
        let checks = told(text);
        assert!(checks.len() == 1 && checks[0].status == Status::Warn, "{checks:?}");
    }
}
