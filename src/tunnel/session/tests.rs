use super::*;

mod direction;
mod properties;

const MS: Duration = Duration::from_millis(1);

fn session() -> (Session, Budget) {
    let budget = Budget::new(64 << 20);
    (Session::new(100, 1000, budget.clone()), budget)
}

fn sent(session: &mut Session, max: usize) -> (u64, Vec<u8>) {
    let mut out = Vec::new();
    let (offset, count) = session.next_data(max, &mut out);
    let bytes = out.concat();
    assert_eq!(bytes.len(), count);
    (offset, bytes)
}

#[test]
fn sends_within_queue_and_credit() {
    let (mut session, budget) = session();
    let mut bytes = Bytes::from(vec![7; 300]);
    assert_eq!(session.push(&mut bytes, 250), 250);
    assert_eq!(bytes.len(), 50, "the rest stays with the writer");
    assert_eq!(session.sendable(), 100);
    assert_eq!(sent(&mut session, 60), (0, vec![7; 60]));
    assert_eq!(sent(&mut session, 60), (60, vec![7; 40]));
    assert_eq!(session.sendable(), 0);
    assert_eq!(budget.held(), 250, "sent bytes are retained");
    session.handle_credit(30, 200).unwrap();
    assert_eq!((session.sendable(), budget.held()), (130, 220));
    drop(session);
    assert_eq!(budget.held(), 0);
}

#[test]
fn promised_credit_is_never_taken_back() {
    let (mut session, _) = session();
    session.push(&mut Bytes::from(vec![0; 100]), 1000);
    sent(&mut session, 10);
    session.handle_credit(10, 5).unwrap();
    assert_eq!(session.sendable(), 90);
}

#[test]
fn refuses_impossible_credit() {
    let (mut session, _) = session();
    session.push(&mut Bytes::from(vec![0; 50]), 1000);
    sent(&mut session, 40);
    session.handle_credit(30, 0).unwrap();
    assert_eq!(session.handle_credit(41, 0), Err(Violation::Credit { consumed: 41, acked: 30, sent: 40 }));
    assert_eq!(session.handle_credit(29, 0), Err(Violation::Credit { consumed: 29, acked: 30, sent: 40 }));
}

#[test]
fn refuses_gaps_repeats_and_overrun() {
    let (mut session, budget) = session();
    session.handle_data(0, Bytes::from(vec![0; 10])).unwrap();
    let gap = session.handle_data(11, Bytes::from_static(b"x"));
    assert_eq!(gap, Err(Violation::Offset { offset: 11, expected: 10 }));
    let repeat = session.handle_data(9, Bytes::from_static(b"x"));
    assert_eq!(repeat, Err(Violation::Offset { offset: 9, expected: 10 }));
    let over = session.handle_data(10, Bytes::from(vec![0; 991]));
    assert_eq!(over, Err(Violation::OverWindow { end: 1001, limit: 1000 }));
    assert_eq!(session.handle_fin(9), Err(Violation::Offset { offset: 9, expected: 10 }));
    session.handle_fin(10).unwrap();
    assert_eq!(session.handle_data(10, Bytes::from_static(b"x")), Err(Violation::AfterFin { fin: 10 }));
    assert_eq!(session.handle_fin(10), Err(Violation::AfterFin { fin: 10 }));
    assert_eq!(budget.held(), 10);
}

#[test]
fn credit_comes_at_a_quarter_of_the_window_and_at_the_end() {
    let (mut session, _) = session();
    session.handle_data(0, Bytes::from(vec![0; 500])).unwrap();
    assert_eq!(session.credit_due(), CreditDue::No);
    session.take(249, Instant::now()).unwrap();
    assert_eq!(session.credit_due(), CreditDue::Later);
    session.take(1, Instant::now()).unwrap();
    assert_eq!(session.credit_due(), CreditDue::Now);
    assert_eq!(session.credit(Instant::now(), None, 4000), (250, 1000));
    assert_eq!(session.credit_due(), CreditDue::No);
    session.handle_fin(500).unwrap();
    session.take(249, Instant::now()).unwrap();
    session.take(1, Instant::now()).unwrap();
    assert_eq!(session.credit_due(), CreditDue::Now);
}

#[test]
fn credit_for_a_large_window_does_not_wait_for_its_quarter() {
    let mut session = Session::new(0, 32 << 20, Budget::new(64 << 20));
    session.handle_data(0, Bytes::from(vec![0; 1 << 20])).unwrap();
    session.take((1 << 20) - 1, Instant::now()).unwrap();
    assert_eq!(session.credit_due(), CreditDue::Later);
    session.take(1, Instant::now()).unwrap();
    assert_eq!(session.credit_due(), CreditDue::Now);
}

/// Receives and consumes `windows` windows of 1000 bytes, each in `each`, with a credit every quarter.
fn consume(session: &mut Session, now: &mut Instant, windows: usize, each: Duration, rtt: Duration) -> u32 {
    let mut window = 0;
    for _ in 0..windows * 4 {
        *now += each / 4;
        session.handle_data(session.received(), Bytes::from(vec![0; 250])).unwrap();
        session.take(250, *now).unwrap();
        window = session.credit(*now, Some(rtt), 4000).1;
    }
    window
}

#[test]
fn window_grows_when_it_is_what_limits() {
    let (mut session, budget) = session();
    let mut now = Instant::now();
    assert_eq!(consume(&mut session, &mut now, 4, 20 * MS, 4 * MS), 1000, "slow reader");
    assert_eq!(consume(&mut session, &mut now, 2, 6 * MS, 4 * MS), 2000);
    assert_eq!(consume(&mut session, &mut now, 20, MS, 4 * MS), 4000, "the cap");
    assert_eq!(budget.grown(), 3000);
    drop(session);
    assert_eq!(budget.grown(), 0);
}

#[test]
fn window_grows_in_larger_steps_from_afar() {
    let (mut session, _) = session();
    let mut now = Instant::now();
    assert_eq!(consume(&mut session, &mut now, 2, 30 * MS, 20 * MS), 4000);
}

#[test]
fn a_window_that_comes_at_once_from_afar_grows_most() {
    let grown = |pause: Duration| {
        let mut session = Session::new(0, 1000, Budget::new(1 << 20));
        let mut now = Instant::now();
        session.handle_data(0, Bytes::from(vec![0; 1000])).unwrap();
        for _ in 0..4 {
            session.take(250, now).unwrap();
            now += pause;
        }
        session.credit(now, Some(40 * MS), 1 << 20).1
    };
    assert_eq!(grown(MS), 16_000, "in a tenth of a round trip");
    assert_eq!(grown(5 * MS), 4_000, "in half of one");
    assert_eq!(grown(20 * MS), 1_000, "in two");
}

#[test]
fn window_does_not_grow_without_budget_and_shrinks_when_it_is_spent() {
    let budget = Budget::new(5000);
    let mut session = Session::new(0, 1000, budget.clone());
    let mut now = Instant::now();
    assert_eq!(
        consume(&mut session, &mut now, 20, MS, 20 * MS),
        2000,
        "half of 5000 has room for 1000 more, not 3000"
    );
    budget.take(5000);
    consume(&mut session, &mut now, 4, MS, 20 * MS);
    assert_eq!(budget.grown(), 0);
    budget.give(5000);
}
