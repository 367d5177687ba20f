//! One direction of a session, from its writer to its reader, while tunnels come and go between them.

use std::collections::VecDeque;

use proptest::{collection::vec, prelude::*};

use super::{
    properties::{length, pattern},
    *,
};

const QUEUE_MAX: usize = 50_000;
const WINDOW_MAX: u32 = 100_000;
const THEIR_BUDGET: usize = 200_000;

#[derive(Debug, Clone)]
enum Step {
    Push(usize),
    Transmit(usize),
    Deliver,
    Take(usize),
    Credit {
        after_ms: u64,
        rtt_ms: u64,
    },
    HearCredit,
    /// Others use up, or free, the receiver's memory.
    Squeeze(bool),
    /// The tunnel breaks with all that is on its way, and another takes the session over.
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => length().prop_map(Step::Push),
        8 => length().prop_map(Step::Transmit),
        8 => Just(Step::Deliver),
        8 => length().prop_map(Step::Take),
        6 => (0u64..50, 1u64..100).prop_map(|(after_ms, rtt_ms)| Step::Credit { after_ms, rtt_ms }),
        6 => Just(Step::HearCredit),
        2 => any::<bool>().prop_map(Step::Squeeze),
        1 => Just(Step::Resume),
    ]
}

proptest! {
    /// Neither end ever blames the other, and once all move again every byte has arrived in order, the end has been heard,
    /// and no memory is held. A credit that is not due is not needed.
    #[test]
    fn a_direction_never_stalls_and_never_lies(
        window in 100u32..40_000,
        before in vec(step(), 1..200),
        after in vec(step(), 0..40),
    ) {
        let mut direction = Direction::new(window);
        for step in &before {
            direction.step(step)?;
        }
        direction.sender.finish();
        for step in &after {
            direction.step(step)?;
        }
        direction.heal()?;
        let Direction { sender, receiver, ours, theirs, written, .. } = direction;
        prop_assert_eq!((sender.sent(), receiver.consumed()), (written, written));
        prop_assert!(receiver.is_recv_finished());
        prop_assert_eq!((sender.unacknowledged(), ours.held(), theirs.held()), (0, 0, 0));
        drop(receiver);
        prop_assert_eq!(theirs.grown(), 0);
    }

    /// A point that the other end cannot be at is refused, and changes nothing.
    #[test]
    fn an_impossible_point_is_refused(before in vec(step(), 1..60), by in 1u64..1000, which in 0..4) {
        let mut direction = Direction::new(20_000);
        for step in &before {
            direction.step(step)?;
        }
        let sender = &mut direction.sender;
        let (sent, acked) = (sender.sent(), direction.written - sender.unacknowledged());
        let point = |received, consumed, finished| ResumePoint { received, consumed, window: 0, finished };
        let wrong = match which {
            0 => point(sent + by, acked, false),
            1 => point(acked, acked + by, false),
            2 if acked > 0 => point(sent, acked - by.min(acked), false),
            // No fin was ever sent.
            _ => point(sent, sent, true),
        };
        prop_assert!(sender.resume(&wrong).is_err(), "{wrong:?} at {acked}, {sent}");
        prop_assert_eq!((sender.sent(), direction.written - sender.unacknowledged()), (sent, acked));
        direction.sender.finish();
        direction.heal()?;
    }
}

/// Both ends, and what is on its way between them.
struct Direction {
    sender: Session,
    receiver: Session,
    ours: Budget,
    theirs: Budget,
    squeezed: bool,
    now: Instant,
    written: u64,
    read: u64,
    frames: VecDeque<Sent>,
    credits: VecDeque<(u64, u32)>,
}

enum Sent {
    Data(u64, Bytes),
    Fin(u64),
}

impl Direction {
    fn new(window: u32) -> Self {
        let (ours, theirs) = (Budget::new(1 << 20), Budget::new(THEIR_BUDGET));
        Self {
            sender: Session::new(window, window, ours.clone()),
            receiver: Session::new(window, window, theirs.clone()),
            ours,
            theirs,
            squeezed: false,
            now: Instant::now(),
            written: 0,
            read: 0,
            frames: VecDeque::new(),
            credits: VecDeque::new(),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Push(_) if self.sender.is_send_finished() => {}
            Step::Push(len) => {
                let count = self.sender.push(&mut pattern(self.written, len), QUEUE_MAX);
                self.written += count as u64;
            }
            Step::Transmit(max) => {
                let (offset, bytes) = sent(&mut self.sender, max);
                if !bytes.is_empty() {
                    self.frames.push_back(Sent::Data(offset, bytes.into()));
                }
                if self.sender.fin_sendable() {
                    self.frames.push_back(Sent::Fin(self.sender.next_fin()));
                }
            }
            Step::Deliver => match self.frames.pop_front() {
                Some(Sent::Data(at, bytes)) => prop_assert_eq!(self.receiver.handle_data(at, bytes), Ok(())),
                Some(Sent::Fin(at)) => prop_assert_eq!(self.receiver.handle_fin(at), Ok(())),
                None => {}
            },
            Step::Take(max) => {
                if let Some(bytes) = self.receiver.take(max, self.now) {
                    prop_assert_eq!(&bytes, &pattern(self.read, bytes.len()));
                    self.read += bytes.len() as u64;
                }
            }
            Step::Credit { after_ms, rtt_ms } => {
                self.now += Duration::from_millis(after_ms);
                let rtt = Some(Duration::from_millis(rtt_ms));
                self.credits.push_back(self.receiver.credit(self.now, rtt, WINDOW_MAX));
            }
            Step::HearCredit => {
                if let Some((consumed, window)) = self.credits.pop_front() {
                    prop_assert_eq!(self.sender.handle_credit(consumed, window), Ok(()));
                }
            }
            Step::Squeeze(on) if on != self.squeezed => {
                self.squeezed = on;
                if on { self.theirs.take(THEIR_BUDGET) } else { self.theirs.give(THEIR_BUDGET) }
            }
            Step::Squeeze(_) => {}
            Step::Resume => self.resume()?,
        }
        Ok(())
    }

    /// What was on its way is void; both ends count against the budgets of the new tunnel.
    fn resume(&mut self) -> Result<(), TestCaseError> {
        self.frames.clear();
        self.credits.clear();
        let (held, grown) = (self.theirs.held(), self.theirs.grown());
        let fresh = Budget::new(THEIR_BUDGET);
        self.receiver.rebind(fresh.clone());
        let taken = if self.squeezed { THEIR_BUDGET } else { 0 };
        prop_assert_eq!((self.theirs.held(), self.theirs.grown()), (taken, 0));
        fresh.take(taken);
        prop_assert_eq!((fresh.held(), fresh.grown()), (held, grown));
        self.theirs = fresh;
        let point = self.receiver.resume_point();
        prop_assert_eq!(self.sender.resume(&point), Ok(()));
        prop_assert_eq!(self.sender.sent(), self.receiver.received());
        prop_assert_eq!(self.sender.unacknowledged(), self.written - self.read);
        Ok(())
    }

    /// Moves on, with a credit only when one is due now, until all is over.
    fn heal(&mut self) -> Result<(), TestCaseError> {
        self.step(&Step::Squeeze(false))?;
        for _ in 0..100_000 {
            self.step(&Step::Transmit(usize::MAX))?;
            self.step(&Step::Deliver)?;
            self.step(&Step::Take(usize::MAX))?;
            if self.receiver.credit_due() == CreditDue::Now {
                self.step(&Step::Credit { after_ms: 1, rtt_ms: 20 })?;
            }
            self.step(&Step::HearCredit)?;
            let idle = self.frames.is_empty() && self.credits.is_empty();
            if idle && self.receiver.is_recv_finished() && self.receiver.credit_due() == CreditDue::No {
                return Ok(());
            }
        }
        Err(TestCaseError::fail("the direction stalls"))
    }
}
