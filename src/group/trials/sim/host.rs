//! One host: a member, its disk that outlives it, and somebody who edits and reads through it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use openraft::ServerState;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{sync::watch, time::sleep};
use tonic::{Request, Status, service::interceptor::InterceptedService, transport::Server};
use warren_core::{
    id::{AgentId, GroupId},
    state::{GroupState, RequestId},
    view::GroupView,
};

use super::{
    net::{Dialer, KEEPALIVE, PORT, listen},
    oracle::Oracle,
};
use crate::{
    Group, Options, Profile,
    options::Tuning,
    raft::Metrics,
    store::{self, Fragile},
    trials::harness::{caller_of, put, voters},
};

const GROUP: GroupId = GroupId::from_random(1);
/// Different things that edits set: few, so that the state stays small.
const THINGS: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Host {
    number: u64,
    size: u64,
    seed: u64,
    starts: Mutex<u64>,
    disk: Mutex<Fragile>,
    oracle: Arc<Oracle>,
    shows: Mutex<Option<Shows>>,
}

/// What can be seen of a member that runs.
struct Shows {
    raft: watch::Receiver<Metrics>,
    view: watch::Receiver<Arc<GroupView>>,
}

impl Host {
    pub(super) fn new(number: u64, size: u64, seed: u64, oracle: Arc<Oracle>) -> Self {
        let disk = Mutex::new(Fragile::new(Vec::new(), usize::MAX));
        let (starts, shows) = (Mutex::new(0), Mutex::new(None));
        Self { number, size, seed, starts, disk, oracle, shows }
    }

    pub(super) fn name(&self) -> String {
        format!("host-{}", self.number)
    }

    fn agent(&self) -> AgentId {
        AgentId::from_random(self.number)
    }

    fn address(&self) -> String {
        format!("{}:{PORT}", self.name())
    }

    pub(super) fn runs(&self) -> bool {
        self.shows.lock().unwrap().is_some()
    }

    /// The power is cut: what was not synced may be gone.
    pub(super) fn lose_power(&self, rng: &mut impl Rng) {
        *self.shows.lock().unwrap() = None;
        let mut disk = self.disk.lock().unwrap();
        let left = disk.after_power_cut(rng);
        *disk = Fragile::new(left, usize::MAX);
    }

    /// Everything that a host does from its start on.
    pub(super) async fn run(self: Arc<Self>) -> turmoil::Result {
        let starts = {
            let mut starts = self.starts.lock().unwrap();
            *starts += 1;
            *starts
        };
        let disk = self.disk.lock().unwrap().clone();
        let store = store::in_memory(disk, GROUP, self.agent())?;
        let options = Options {
            group: GROUP,
            me: self.agent(),
            name: self.name(),
            peer_address: self.address(),
            version: "1".into(),
            data_dir: PathBuf::new(),
            profile: Profile::Lan,
        };
        // Snapshots come often, so that members that were away get one.
        let tuning = Tuning { snapshot_every: 40, log_keep: 10, ..Tuning::default() };
        let group = Group::on(options, Arc::new(Dialer(self.agent())), tuning, store).await?;
        let (raft, view) = (group.raft().metrics(), group.watch());
        *self.shows.lock().unwrap() = Some(Shows { raft, view });
        let admit = |mut request: Request<()>| {
            let caller = caller_of(&request, GROUP).ok_or_else(|| Status::unauthenticated("nobody"))?;
            request.extensions_mut().insert(caller);
            Ok(request)
        };
        let service = InterceptedService::new(group.service(), admit);
        let incoming = Box::pin(listen().await?);
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE));
        tokio::spawn(async move { server.add_service(service).serve_with_incoming(incoming).await });
        self.enter(&group).await;
        let rng = StdRng::seed_from_u64(self.seed.wrapping_add(starts));
        self.edit_and_read(&group, rng).await;
        Ok(())
    }

    async fn enter(&self, group: &Group) {
        if self.number == 1 && !group.has_log() {
            group.found().await.unwrap();
            return;
        }
        let others = (1..=self.size).filter(|number| *number != self.number);
        let others: Vec<_> =
            others.map(|number| (AgentId::from_random(number), format!("host-{number}:{PORT}"))).collect();
        while let Err(error) = group.join(&others, Duration::from_secs(5)).await {
            tracing::debug!(%error, "again");
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn edit_and_read(&self, group: &Group, mut rng: StdRng) {
        loop {
            sleep(Duration::from_millis(rng.random_range(20..400))).await;
            if !self.oracle.wants_edits() {
                continue;
            }
            if rng.random_bool(0.3) {
                let floor = self.oracle.floor();
                if let Ok(state) = group.read_linearizable(PATIENCE).await {
                    self.oracle.read(floor, state.revision);
                }
                continue;
            }
            let calm = self.oracle.is_calm();
            let edit = self.oracle.begin();
            let command = put(&format!("r{}", edit % THINGS), &format!("db:{}", edit + 1));
            let request = RequestId(edit.into());
            // Asked again under the same id when the answer is not known: it is made once all the same.
            let mut answer = group.propose(request, &edit.to_string(), command.clone(), PATIENCE).await;
            for _ in 0..rng.random_range(0..4) {
                if !answer.as_ref().is_err_and(crate::ProposeError::may_still_be_applied) {
                    break;
                }
                let again = group.propose(request, &edit.to_string(), command.clone(), PATIENCE).await;
                // A refusal of the second says nothing of the first.
                if again.is_ok() {
                    answer = again;
                }
            }
            match answer {
                Ok(Err(refusal)) => self.oracle.refused(edit, &refusal.to_string()),
                Ok(Ok(accepted)) => {
                    self.oracle.ended(edit, &Ok(accepted.revision));
                    if calm {
                        self.oracle.recovered();
                    }
                }
                Err(error) => self.oracle.ended(edit, &Err(error)),
            }
        }
    }

    /// Tells the oracle what this member shows.
    pub(super) fn observe(&self) {
        let mut shows = self.shows.lock().unwrap();
        let Some(Shows { raft, view }) = shows.as_mut() else { return };
        if raft.has_changed().unwrap_or(false) {
            let metrics = raft.borrow_and_update();
            if metrics.state == ServerState::Leader {
                self.oracle.leads(metrics.current_term, self.agent());
            }
        }
        if view.has_changed().unwrap_or(false) {
            self.oracle.shows(self.agent(), &view.borrow_and_update().state);
        }
    }

    pub(super) fn state(&self) -> Arc<GroupState> {
        self.look(|view| view.state.clone()).unwrap_or_default()
    }

    /// How many voters there are as this member shows it.
    pub(super) fn votes_of(&self) -> u64 {
        self.look(|view| voters(view) as u64).unwrap_or(0)
    }

    pub(super) fn shown(&self) -> String {
        let shown = self.look(|view| {
            let GroupView { leader, term, quorum, last_log, applied, trouble, state, .. } = view;
            format!("{leader:?} {term} {quorum} {last_log} {applied} {} {trouble}", state.revision)
        });
        format!("{}: {}", self.name(), shown.unwrap_or_else(|| "down".to_owned()))
    }

    fn look<T>(&self, look: impl FnOnce(&GroupView) -> T) -> Option<T> {
        self.shows.lock().unwrap().as_ref().map(|shows| look(&shows.view.borrow()))
    }
}

/// Whether all run, follow one leader, and have the same state.
pub(super) fn agree(hosts: &[Arc<Host>]) -> bool {
    let place =
        |host: &Arc<Host>| host.look(|view| (view.leader, view.applied, view.state.clone(), view.quorum));
    let Some(first) = place(&hosts[0]) else { return false };
    first.0.is_some() && first.3 && hosts.iter().all(|host| place(host).as_ref() == Some(&first))
}
