//! What an admin asks for in the midst of it all, one thing after the other, beside the director: a group without a
//! quorum lets an admin wait.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use crate::{
    GROUP,
    rpc::{
        Failure, Rpc,
        admin::{Changed, CreateToken, CreatedToken, Nothing, RevokeAgent, RotateTokens, SetIntent},
    },
};

const CALL_MAX: Duration = Duration::from_secs(12);

/// Values of `Intent` in `proto/common.proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    Enabled = 1,
    Draining = 2,
    Disabled = 3,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    Intent(String, Intent),
    Rotate,
    /// A registration token.
    Token,
    Revoke(String),
}

/// What became of an order that was given for a fault.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) fault: usize,
    pub(super) order: Order,
    /// The token, or nothing.
    pub(super) result: Result<String, Failure>,
    /// Since the start.
    pub(super) at: Duration,
}

#[derive(Debug)]
pub(super) struct Desk {
    orders: Sender<(usize, Order)>,
    done: Receiver<Done>,
}

impl Desk {
    pub(super) fn open(admin: Rpc, start: Instant) -> Self {
        let (orders, asked) = channel::<(usize, Order)>();
        let (tell, done) = channel();
        thread::spawn(move || {
            for (fault, order) in asked {
                let result = carry_out(&admin, &order);
                if tell.send(Done { fault, order, result, at: start.elapsed() }).is_err() {
                    return;
                }
            }
        });
        Self { orders, done }
    }

    pub(super) fn give(&self, fault: usize, order: Order) {
        self.orders.send((fault, order)).expect("the desk does not panic");
    }

    pub(super) fn done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }
}

pub(super) fn carry_out(admin: &Rpc, order: &Order) -> Result<String, Failure> {
    let group = GROUP.to_owned();
    match order.clone() {
        Order::Intent(agent, intent) => {
            let ask = SetIntent { agent, intent: intent as i32 };
            admin.call::<_, Changed>("Agents/SetIntent", ask, CALL_MAX).map(|_| String::new())
        }
        Order::Rotate => {
            admin.call::<_, Nothing>("Tokens/Rotate", RotateTokens { group }, CALL_MAX).map(|_| String::new())
        }
        Order::Token => {
            let ask = CreateToken { group, org_only: true };
            admin.call::<_, CreatedToken>("Tokens/Create", ask, CALL_MAX).map(|told| told.token)
        }
        Order::Revoke(agent) => {
            admin.call::<_, Nothing>("Agents/Revoke", RevokeAgent { agent }, CALL_MAX).map(|_| String::new())
        }
    }
}
