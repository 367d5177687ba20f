//! Random lives of a session against models that are plain vectors and numbers.

use std::{collections::VecDeque, sync::LazyLock};

use proptest::{collection::vec, prelude::*};

use super::{super::chunks::Chunks, *};

const BUDGET: usize = 1 << 20;

#[derive(Debug, Clone)]
enum ChunkStep {
    Push(usize),
    Pop(usize),
    Drop(usize),
    /// Takes all behind this place out and puts it back.
    SplitAndJoin(usize),
}

#[derive(Debug, Clone)]
enum SendStep {
    Push {
        len: usize,
        queue_max: usize,
    },
    Next {
        max: usize,
    },
    /// Acknowledges this part (of 255) of what is in flight.
    Credit {
        part: u8,
        window: u32,
    },
    /// Acknowledges more than was sent, or less than before.
    WrongCredit {
        above: bool,
        by: u64,
    },
    Finish,
}

#[derive(Debug, Clone)]
enum RecvStep {
    /// Bytes of this part (of 255) of the room that was promised.
    Data {
        part: u8,
    },
    Gap {
        by: u64,
    },
    Repeat {
        by: u64,
    },
    Overrun {
        by: usize,
    },
    Take {
        max: usize,
    },
    Discard,
    Credit {
        after_ms: u64,
        rtt_ms: Option<u64>,
    },
    Fin,
}

/// Lengths around those at which pieces are gathered or kept whole.
pub(super) fn length() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1usize..200, 2 => 4000usize..4200, 1 => 1usize..40_000]
}

fn chunk_step() -> impl Strategy<Value = ChunkStep> {
    prop_oneof![
        3 => length().prop_map(ChunkStep::Push),
        2 => prop_oneof![length(), Just(0), Just(usize::MAX)].prop_map(ChunkStep::Pop),
        1 => length().prop_map(ChunkStep::Drop),
        1 => length().prop_map(ChunkStep::SplitAndJoin),
    ]
}

fn send_step() -> impl Strategy<Value = SendStep> {
    prop_oneof![
        8 => (length(), 0usize..60_000).prop_map(|(len, queue_max)| SendStep::Push { len, queue_max }),
        8 => length().prop_map(|max| SendStep::Next { max }),
        8 => any::<(u8, u16)>().prop_map(|(part, window)| SendStep::Credit { part, window: window.into() }),
        2 => (any::<bool>(), 1u64..1000).prop_map(|(above, by)| SendStep::WrongCredit { above, by }),
        1 => Just(SendStep::Finish),
    ]
}

fn recv_step() -> impl Strategy<Value = RecvStep> {
    let rtt_ms = proptest::option::of(1u64..100);
    prop_oneof![
        12 => any::<u8>().prop_map(|part| RecvStep::Data { part }),
        1 => (1u64..1000).prop_map(|by| RecvStep::Gap { by }),
        1 => (1u64..1000).prop_map(|by| RecvStep::Repeat { by }),
        1 => (1usize..1000).prop_map(|by| RecvStep::Overrun { by }),
        12 => length().prop_map(|max| RecvStep::Take { max }),
        1 => Just(RecvStep::Discard),
        8 => (0u64..50, rtt_ms).prop_map(|(after_ms, rtt_ms)| RecvStep::Credit { after_ms, rtt_ms }),
        1 => Just(RecvStep::Fin),
    ]
}

/// Bytes `from..from + len` of a stream in which neighbours and far places differ.
pub(super) fn pattern(from: u64, len: usize) -> Bytes {
    const PERIOD: usize = 65_521;
    static STREAM: LazyLock<Bytes> = LazyLock::new(|| {
        let bytes: Bytes = (0..PERIOD).map(|at| (at ^ (at >> 8).wrapping_mul(31)) as u8).collect();
        bytes.repeat(6).into()
    });
    let start = from as usize % PERIOD;
    STREAM.slice(start..start + len)
}

fn part_of(part: u8, whole: u64) -> u64 {
    whole * u64::from(part) / u64::from(u8::MAX)
}

proptest! {
    #[test]
    fn chunks_are_a_queue_of_bytes(steps in vec(chunk_step(), 1..120)) {
        let (mut chunks, mut model, mut written) = (Chunks::default(), VecDeque::new(), 0u64);
        for step in steps {
            match step {
                ChunkStep::Push(len) => {
                    let piece = pattern(written, len);
                    written += len as u64;
                    model.extend(&piece);
                    chunks.push(piece);
                }
                ChunkStep::Pop(max) => match chunks.pop(max) {
                    None => prop_assert!(model.is_empty() || max == 0),
                    Some(piece) => {
                        prop_assert!((1..=max).contains(&piece.len()));
                        prop_assert_eq!(model.drain(..piece.len()).collect::<Vec<u8>>(), piece);
                    }
                },
                ChunkStep::Drop(count) => {
                    let count = count.min(model.len());
                    model.drain(..count);
                    chunks.drop_front(count);
                }
                ChunkStep::SplitAndJoin(at) => {
                    let at = at.min(model.len());
                    let back = chunks.split_off(at);
                    prop_assert_eq!((chunks.len(), back.len()), (at, model.len() - at));
                    chunks.append(back);
                }
            }
            prop_assert_eq!((chunks.len(), chunks.is_empty()), (model.len(), model.is_empty()));
        }
        let mut rest = Vec::new();
        while let Some(piece) = chunks.pop(usize::MAX) {
            rest.extend_from_slice(&piece);
        }
        prop_assert_eq!(rest, Vec::from(model));
    }

    /// What leaves is what was queued, in order, within the credit; what is held is what was not acknowledged.
    #[test]
    fn sending_follows_the_model(window in 0u32..50_000, steps in vec(send_step(), 1..120)) {
        let budget = Budget::new(BUDGET);
        let mut session = Session::new(window, 0, budget.clone());
        let (mut written, mut sent, mut acked, mut limit) = (0u64, 0u64, 0u64, u64::from(window));
        for step in steps {
            match step {
                SendStep::Push { .. } if session.is_send_finished() => {}
                SendStep::Push { len, queue_max } => {
                    let mut bytes = pattern(written, len);
                    let count = session.push(&mut bytes, queue_max);
                    prop_assert_eq!(count, len.min(queue_max.saturating_sub((written - sent) as usize)));
                    prop_assert_eq!(bytes, pattern(written + count as u64, len - count));
                    written += count as u64;
                }
                SendStep::Next { max } => {
                    let (offset, bytes) = super::sent(&mut session, max);
                    prop_assert_eq!(offset, sent);
                    prop_assert_eq!(bytes.len() as u64, (max as u64).min(written - sent).min(limit - sent));
                    prop_assert_eq!(&bytes, &pattern(sent, bytes.len()));
                    sent += bytes.len() as u64;
                }
                SendStep::Credit { part, window } => {
                    acked += part_of(part, sent - acked);
                    limit = limit.max(acked + u64::from(window));
                    prop_assert_eq!(session.handle_credit(acked, window), Ok(()));
                }
                SendStep::WrongCredit { above, by } => {
                    let consumed = if above { sent + by } else { acked.saturating_sub(by) };
                    if consumed != acked {
                        let refused = Err(Violation::Credit { consumed, acked, sent });
                        prop_assert_eq!(session.handle_credit(consumed, u32::MAX), refused);
                    }
                }
                SendStep::Finish => session.finish(),
            }
            prop_assert_eq!(session.sent(), sent);
            prop_assert_eq!(session.queued() as u64, written - sent);
            prop_assert_eq!(session.unacknowledged(), written - acked);
            prop_assert_eq!(session.sendable() as u64, (written - sent).min(limit - sent));
            prop_assert_eq!(session.fin_sendable(), session.is_send_finished() && written == sent);
            prop_assert_eq!(budget.held() as u64, written - acked);
        }
        drop(session);
        prop_assert_eq!((budget.held(), budget.grown()), (0, 0));
    }

    /// What is read is what came, in order; a promise is never taken back; nothing beyond it comes in; and the memory
    /// promised above the start is what the budget knows of.
    #[test]
    fn receiving_follows_the_model(
        initial in 100u32..40_000,
        window_max in 100u32..200_000,
        limit_of_budget in 1000usize..400_000,
        steps in vec(recv_step(), 1..160),
    ) {
        let budget = Budget::new(limit_of_budget);
        let mut session = Session::new(0, initial, budget.clone());
        let (mut received, mut consumed, mut limit, mut fin) = (0u64, 0u64, u64::from(initial), None);
        let mut now = Instant::now();
        for step in steps {
            let offset_of = |offset| match fin {
                Some(fin) => Err(Violation::AfterFin { fin }),
                None => Err(Violation::Offset { offset, expected: received }),
            };
            match step {
                RecvStep::Data { part } => {
                    let len = part_of(part, limit - received) as usize;
                    let answer = session.handle_data(received, pattern(received, len));
                    prop_assert_eq!(answer, fin.map_or(Ok(()), |fin| Err(Violation::AfterFin { fin })));
                    received += if fin.is_none() { len as u64 } else { 0 };
                }
                RecvStep::Gap { by } => {
                    let answer = session.handle_data(received + by, Bytes::from_static(b"x"));
                    prop_assert_eq!(answer, offset_of(received + by));
                    prop_assert_eq!(session.handle_fin(received + by), offset_of(received + by));
                }
                RecvStep::Repeat { by } => {
                    if let Some(offset) = received.checked_sub(by) {
                        let answer = session.handle_data(offset, Bytes::from_static(b"x"));
                        prop_assert_eq!(answer, offset_of(offset));
                    }
                }
                RecvStep::Overrun { by } => {
                    let len = (limit - received) as usize + by;
                    let over = Violation::OverWindow { end: received + len as u64, limit };
                    let expected = fin.map_or(over, |fin| Violation::AfterFin { fin });
                    prop_assert_eq!(session.handle_data(received, pattern(received, len)), Err(expected));
                }
                RecvStep::Take { max } => match session.take(max, now) {
                    None => prop_assert_eq!(consumed, received),
                    Some(bytes) => {
                        prop_assert!((1..=max).contains(&bytes.len()));
                        prop_assert_eq!(&bytes, &pattern(consumed, bytes.len()));
                        consumed += bytes.len() as u64;
                    }
                },
                RecvStep::Discard => {
                    session.discard_received();
                    consumed = received;
                }
                RecvStep::Credit { after_ms, rtt_ms } => {
                    now += Duration::from_millis(after_ms);
                    let rtt = rtt_ms.map(Duration::from_millis);
                    let (told, window) = session.credit(now, rtt, window_max);
                    prop_assert_eq!(told, consumed + u64::from(fin == Some(consumed)), "the end counts as one more");
                    let promised = consumed + u64::from(window);
                    prop_assert!(promised >= limit, "{promised} after {limit}");
                    prop_assert!(promised <= limit.max(consumed + u64::from(window_max.max(initial))));
                    limit = promised;
                    prop_assert_eq!(session.credit_due(), CreditDue::No);
                }
                RecvStep::Fin if fin.is_none() => {
                    fin = Some(received);
                    prop_assert_eq!(session.handle_fin(received), Ok(()));
                }
                RecvStep::Fin => prop_assert_eq!(session.handle_fin(received), offset_of(received)),
            }
            prop_assert_eq!((session.received(), session.consumed()), (received, consumed));
            prop_assert_eq!(session.is_recv_complete(), fin.is_some());
            prop_assert_eq!(session.is_recv_finished(), fin == Some(consumed));
            prop_assert_eq!(budget.held() as u64, received - consumed);
            prop_assert!(budget.grown() <= limit_of_budget / 2);
            prop_assert!(budget.grown() <= window_max.saturating_sub(initial) as usize);
        }
        drop(session);
        prop_assert_eq!((budget.held(), budget.grown()), (0, 0));
    }
}
