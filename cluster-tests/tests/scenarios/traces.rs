//! Spans of one session from real processes, at a collector that may come and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use warren_cluster_tests::{Place, Postgres, Process, Site, caller, eventually, http, target};

mod collector;

use collector::{Collector, Span};

const SOON: Duration = Duration::from_secs(15);
/// What a session of one gateway and one agent is told in.
const WHOLE: [(&str, &str); 4] = [
    ("warren-agent", "dial"),
    ("warren-agent", "session"),
    ("warren-gateway", "attempt"),
    ("warren-gateway", "session"),
];

fn site(more: &[&str]) -> Site {
    let mut site = Site::builder().gateway_args(more).start();
    site.add_agent("agent-1", more);
    site.wait_for_members(1);
    site
}

/// The trace of the newest session of a resource.
fn newest(site: &Site, resource: &str) -> String {
    let newest = site.sessions(resource).remove(0);
    newest["trace"].as_str().unwrap().to_owned()
}

/// What a trace is told in so far, in order.
fn told(spans: &[Span]) -> Vec<(&str, &str)> {
    let mut told: Vec<_> = spans.iter().map(|span| (span.service.as_str(), span.name.as_str())).collect();
    told.sort_unstable();
    told
}

/// Waits until a trace is told in just that.
fn wait_for(collector: &Collector, trace: &str, wanted: &[(&str, &str)]) -> Vec<Span> {
    let arrived = || {
        let spans = collector.of_trace(trace);
        let is_all = told(&spans) == wanted;
        is_all.then_some(spans)
    };
    eventually(&format!("{wanted:?} of {trace}"), SOON, arrived).0
}

fn find<'a>(spans: &'a [Span], service: &str, name: &str) -> &'a Span {
    spans.iter().find(|span| (span.service.as_str(), span.name.as_str()) == (service, name)).unwrap()
}

#[test]
fn one_session_is_one_trace_from_the_caller_to_the_target() {
    let collector = Collector::start();
    let mut site = site(&["--otlp", &collector.url()]);
    let echo = site.resource("echo", target::echo());

    // While it is open, what led to it is told already.
    let (mut session, _) = caller::open_echo(echo).unwrap();
    let trace = newest(&site, "echo");
    wait_for(&collector, &trace, &[WHOLE[0], WHOLE[2]]);
    caller::round_trip(&mut session, b"twelve bytes").unwrap();
    drop(session);
    let spans = wait_for(&collector, &trace, &WHOLE);

    let root = find(&spans, "warren-gateway", "session");
    let attempt = find(&spans, "warren-gateway", "attempt");
    let carried = find(&spans, "warren-agent", "session");
    let dial = find(&spans, "warren-agent", "dial");
    let parents = [root, attempt, carried, dial].map(|span| span.parent.clone());
    assert_eq!(parents, [String::new(), root.id.clone(), attempt.id.clone(), carried.id.clone()]);
    let kinds = [root, attempt, carried, dial].map(|span| span.kind);
    assert_eq!(kinds, [SpanKind::Server, SpanKind::Client, SpanKind::Server, SpanKind::Client]);
    assert!(spans.iter().all(|span| span.start_ns <= span.end_ns && !span.is_error), "{spans:#?}");
    assert_eq!(root.attributes["warren.resource"], "echo");
    // "are you there?" and "twelve bytes".
    assert_eq!((&*root.attributes["warren.bytes.up"], &*carried.attributes["warren.bytes.up"]), ("26", "26"));
    assert_eq!(root.attributes["warren.member.id"], site.agents[0].id);
    assert_eq!(carried.resource["service.instance.id"], site.agents[0].id);
    assert_eq!(
        (&*carried.resource["warren.group"], &*carried.resource["warren.member"]),
        ("site", "agent-1")
    );
    assert_eq!(dial.attributes["server.address"], "127.0.0.1");

    let shown = site.json(&["sessions", "show", &trace]);
    assert_eq!(shown["trace"], trace.as_str());
    assert_eq!(site.run(&["sessions", "show", &trace.replace(|_: char| true, "0")]).code, 1);

    // A session that comes to nothing is told of as an error, by both.
    let refused = site.resource("refused", target::refusing());
    assert!(caller::ends_silently(refused));
    let spans = wait_for(&collector, &newest(&site, "refused"), &WHOLE);
    assert!(spans.iter().all(|span| span.is_error), "{spans:#?}");
    assert_eq!(find(&spans, "warren-agent", "dial").attributes["error.type"], "refused");

    // What was not exported yet is when a process ends.
    caller::echo_whole(echo, 10).unwrap();
    let last = newest(&site, "echo");
    for process in [&mut site.agents[0].process, &mut site.gateway] {
        process.terminate();
        process.wait(Duration::from_secs(40));
    }
    assert_eq!(told(&collector.of_trace(&last)), WHOLE);
}

#[test]
fn a_collector_that_is_away_costs_no_session_and_gets_the_next_ones_when_it_is_back() {
    let collector = Collector::start();
    let (address, url) = (collector.address, collector.url());
    let mut site = site(&["--otlp", &url, "--otlp-sample", "0.5"]);
    let echo = site.resource("echo", target::echo());
    let open = |count: usize| (0..count).for_each(|_| caller::echo_whole(echo, 100).unwrap());
    open(40);
    // A trace is told of in all of its processes, or in none.
    let traces = |collector: &Collector| {
        let mut traces: BTreeMap<_, Vec<Span>> = BTreeMap::new();
        for span in collector.spans() {
            traces.entry(span.trace.clone()).or_default().push(span);
        }
        traces.into_values().map(|spans| told(&spans) == WHOLE).collect::<Vec<_>>()
    };
    let arrived = || Some(traces(&collector)).filter(|all| all.len() > 5 && all.iter().all(|whole| *whole));
    let (followed, _) = eventually("all of some traces", SOON, arrived);
    assert!(followed.len() < 35, "{} of 40 are not about a half", followed.len());

    drop(collector);
    let exported = |site: &mut Site, result: &str| {
        let metrics = http::metrics(site.gateway.address("metrics"));
        http::sum(&metrics, "warren_otlp_spans_total", &format!("result=\"{result}\""))
    };
    let before = exported(&mut site, "exported");
    let away = "spans cannot be exported";
    eventually("its absence is noticed", SOON, || {
        open(5);
        site.gateway.log().contains(away).then_some(())
    });
    open(20);

    let collector = Collector::start_at(address);
    eventually("spans come again", SOON, || {
        open(2);
        (traces(&collector).iter().filter(|whole| **whole).count() > 5).then_some(())
    });
    eventually("both say so", SOON, || {
        let said = |process: &Process| process.log().contains("spans are exported again");
        (said(&site.gateway) && said(&site.agents[0].process)).then_some(())
    });
    assert_eq!(site.gateway.log().matches(away).count(), 1, "told once");
    assert!(exported(&mut site, "exported") > before);
    assert_eq!(exported(&mut site, "dropped"), 0.0);
}

#[test]
fn a_collector_with_a_root_and_a_token_of_its_own_gets_spans_of_those_who_have_both() {
    let collector = Collector::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (ca, token) = (path("ca.pem"), path("token"));
    let url = collector.https(ca.as_ref());
    std::fs::write(&token, "Bearer hush-1\n").unwrap();
    let header = format!("authorization=@{token}");
    // Where a library would tell of headers if one did.
    let loud = ["--log", "debug,h2=trace,hyper=trace,tonic=trace"];
    let flags = ["--otlp", &url, "--otlp-ca", &ca, "--otlp-header", &header];
    let mut site = Site::builder().gateway_args(&flags).gateway_args(&loud).start();
    let place = Place::default()
        .with("WARREN_OTLP", &url)
        .with("WARREN_OTLP_CA", &ca)
        .with("WARREN_OTLP_HEADERS", "authorization=Bearer%20hush-of-agent");
    site.add_agent_in(&place, "agent-1", &loud);
    site.wait_for_members(1);
    let echo = site.resource("echo", target::echo());
    let open = || caller::echo_whole(echo, 100).unwrap();
    open();
    wait_for(&collector, &newest(&site, "echo"), &WHOLE);
    let told = ["warren-gateway", "warren-agent"].map(|service| collector.token_of(service).unwrap());
    assert_eq!(told, ["Bearer hush-1", "Bearer hush-of-agent"]);

    std::fs::write(&token, "Bearer hush-2\n").unwrap();
    open();
    wait_for(&collector, &newest(&site, "echo"), &WHOLE);
    assert_eq!(collector.token_of("warren-gateway").unwrap(), "Bearer hush-2");

    // One that trusts the system's roots, which are others.
    let other = path("other.pem");
    Collector::start().https(other.as_ref());
    let place =
        Place::default().with("WARREN_OTLP", &url).with("SSL_CERT_FILE", &other).with("SSL_CERT_DIR", "");
    site.add_agent_in(&place, "agent-2", &loud);
    site.wait_for_members(2);
    eventually("the second is not let down quietly", SOON, || {
        open();
        site.agents[1].process.log().contains("spans cannot be exported").then_some(())
    });
    let log = site.agents[1].process.log();
    assert!(log.contains("invalid peer certificate"), "{log}");
    assert!(
        collector
            .spans()
            .iter()
            .all(|span| span.resource.get("warren.member").is_none_or(|name| name == "agent-1"))
    );

    for process in [&site.gateway, &site.agents[0].process] {
        let log = process.log();
        assert!(log.contains("TRACE h2") || log.contains("TRACE hyper"), "libraries were heard as well");
        assert!(!log.contains("hush"), "a secret in the log of {}", process.id());
    }
    // What others could see is refused beside every other mistake, and not repeated.
    let wrong =
        ["gateway", "--listen", "x", "--otlp", "http://a", "--otlp-ca", &ca, "--otlp-header", "a=hush"];
    let answer = site.run(&wrong);
    assert_eq!(answer.code, 2, "{}", answer.stderr);
    for told in ["3 mistakes", "listen:", "otlp.ca:", "--otlp-header[0]:"] {
        assert!(answer.stderr.contains(told) && !answer.stderr.contains("hush"), "{}", answer.stderr);
    }
}

/// Needs postgresql; where it is missing this is passed over, but in CI.
#[test]
fn a_caller_that_is_passed_on_is_one_trace() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let (collector, store) = (Collector::start(), postgres.database("warren"));
    let key = postgres.data().with_file_name("operator.key");
    let url = collector.url();
    let shared = ["--store", &store, "--operator-key-file", key.to_str().unwrap(), "--otlp", &url];
    let mut site = Site::builder().gateway_args(&shared).start();
    site.add_agent("agent-1", &["--otlp", &url]);
    site.wait_for_members(1);
    let echo = site.resource("echo", target::echo());

    let dir = site.path("gateway-2");
    let own = ["gateway", "--listen", "127.0.0.1:0", "--ingress-host", "127.0.0.2", "--data-dir"];
    let data = dir.join("data");
    let data = data.to_str().unwrap();
    let args = own.iter().chain([&data]).chain(&shared).map(ToString::to_string);
    let mut other = Process::start("gateway-2", &dir, &args.collect::<Vec<_>>(), &Place::default());
    other.ready();
    let there = (std::net::Ipv4Addr::new(127, 0, 0, 2), echo.port()).into();
    eventually("the other serves it", SOON, || caller::open_echo(there).ok());
    caller::echo_whole(there, 100).unwrap();

    let trace = newest(&site, "echo");
    let wanted = [
        ("warren-agent", "dial"),
        ("warren-agent", "session"),
        ("warren-gateway", "attempt"),
        ("warren-gateway", "pass_on"),
        ("warren-gateway", "session"),
        ("warren-gateway", "session"),
    ];
    let spans = wait_for(&collector, &trace, &wanted);
    // From the dial up to where the caller came.
    let mut way = vec![find(&spans, "warren-agent", "dial")];
    while let Some(parent) = spans.iter().find(|span| span.id == way[way.len() - 1].parent) {
        way.push(parent);
    }
    let names: Vec<_> = way.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["dial", "session", "attempt", "session", "pass_on", "session"]);
    let gateways: BTreeSet<_> = way[2..].iter().map(|span| &span.resource["service.instance.id"]).collect();
    assert_eq!(gateways.len(), 2, "{spans:#?}");
    assert_eq!(way[5].parent, "");
}
