//! The facade.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use openraft::{Config, SnapshotPolicy};
use tokio::{
    sync::{Mutex, Semaphore, watch},
    time::{self, Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use warren_core::{
    id::AgentId,
    state::{Answer, Command, GroupState, Proposal, RequestId},
    view::GroupView,
};
use warren_wire::v1::peer_server::PeerServer;

use crate::{
    ballot, duties,
    error::{JoinError, OpenError, ProposeError},
    fence, join, level,
    member::{Heard, Member, PROPOSALS_MAX},
    metrics::GROUP_PROPOSALS_TOTAL,
    network::Network,
    options::{Options, PeerDialer, Timing, Tuning},
    peers::{self, Watched},
    pool::{MESSAGE_MAX, Pool},
    propose::{self, Ask, Told},
    raft::Raft,
    resign,
    service::PeerService,
    store::{self, Store, Writer},
    view::{self, Ended},
};

/// How long a stop waits for each part.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// How long a leader may take to send a whole snapshot.
const SNAPSHOT_DEADLINE_MS: u64 = 60_000;

/// One member of a group. Cheap to clone; all clones are the same member, which runs until [`Group::shutdown`].
#[derive(Debug, Clone)]
pub struct Group {
    member: Arc<Member>,
    view: watch::Receiver<Arc<GroupView>>,
    ended: watch::Receiver<Ended>,
    writer: Writer,
    tasks: TaskTracker,
}

impl Group {
    /// Opens the member's log, replays it, and starts to take part if it is a member already. The peer service must be
    /// served soon after, or the others take this member for dead.
    pub async fn open(options: Options, dialer: Arc<dyn PeerDialer>) -> Result<Self, OpenError> {
        Self::open_with(options, dialer, Tuning::default()).await
    }

    pub(crate) async fn open_with(
        options: Options,
        dialer: Arc<dyn PeerDialer>,
        tuning: Tuning,
    ) -> Result<Self, OpenError> {
        let (dir, group, me) = (options.data_dir.clone(), options.group, options.me);
        let opened = tokio::task::spawn_blocking(move || store::open(&dir, group, me)).await;
        let store = opened.map_err(|source| OpenError::Start { source: source.into() })??;
        Self::on(options, dialer, tuning, store).await
    }

    pub(crate) async fn on(
        options: Options,
        dialer: Arc<dyn PeerDialer>,
        tuning: Tuning,
        store: Store,
    ) -> Result<Self, OpenError> {
        let (group, me) = (options.group, options.me);
        let current = store.machine.watch();
        let timing = options.profile.timing();
        let pool = Arc::new(Pool::new(group, me, dialer));
        let config = config(&options, timing, tuning)?;
        let network = Network { pool: pool.clone(), log: store.log.clone(), me };
        let raft = Raft::new(me.number(), config, network, store.log.clone(), store.machine).await;
        let raft = raft.map_err(|source| OpenError::Start { source: source.into() })?;
        // Its answer means that the core runs and that its metrics tell of this log.
        raft.is_initialized().await.map_err(|source| OpenError::Start { source: source.into() })?;
        let member = Arc::new(Member {
            options,
            timing,
            tuning,
            raft,
            log: store.log,
            current: current.clone(),
            pool,
            heard: Heard::new(Instant::now()),
            watched: Watched::default(),
            changing: Mutex::new(()),
            room: Semaphore::new(PROPOSALS_MAX),
            stood: AtomicU64::new(0),
            resigning: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            stop: CancellationToken::new(),
        });
        let (view, views) = watch::channel(Arc::new(view::first(&member)));
        let (ended, end) = watch::channel(None);
        let tasks = TaskTracker::new();
        tasks.spawn(view::run(member.clone(), view, ended));
        tasks.spawn(ballot::run(member.clone()));
        tasks.spawn(peers::run(member.clone()));
        tasks.spawn(duties::run(member.clone()));
        tasks.spawn(fence::run(member.clone()));
        tasks.spawn(level::run(member.clone()));
        Ok(Self { member, view: views, ended: end, writer: store.writer, tasks })
    }

    /// Whether this agent has been a member before, by its disk.
    pub fn has_log(&self) -> bool {
        self.member.log.is_used() || self.member.current.borrow().applied.is_some()
    }

    /// Makes this agent the first member of its group. Exactly one agent of a group may do this; who, is not decided
    /// here. Does nothing but announce the member again when it had founded the group before.
    pub async fn found(&self) -> Result<(), JoinError> {
        join::found(&self.member).await?;
        self.shown().await
    }

    /// Becomes a member through `peers`, or announces a returning member's address again. Returns when this member's
    /// own view tells that it is one.
    pub async fn join(&self, peers: &[(AgentId, String)], timeout: Duration) -> Result<(), JoinError> {
        join::join(&self.member, peers, Instant::now() + timeout).await?;
        self.shown().await
    }

    /// Asks the group to change something; any member takes it. A request id that was answered before gets the same
    /// answer. An error does not always mean that nothing was changed: see [`ProposeError`].
    pub async fn propose(
        &self,
        request: RequestId,
        author: &str,
        command: Command,
        timeout: Duration,
    ) -> Result<Answer, ProposeError> {
        let proposal = Proposal { request, author: author.to_owned(), at_ms: 0, command };
        self.decision(Ask::Propose(proposal), timeout).await
    }

    /// Takes an agent out for good: out of the records, the voters and the learners. Its id is never let in again, also
    /// when it has not come yet. Refused when the rest would be without a quorum.
    pub async fn remove_member(
        &self,
        request: RequestId,
        author: &str,
        member: AgentId,
        timeout: Duration,
    ) -> Result<Answer, ProposeError> {
        self.decision(Ask::Remove { request, author: author.to_owned(), member }, timeout).await
    }

    /// Takes this member itself out for good. Not for a stop: a stopped member stays one.
    pub async fn leave(&self, timeout: Duration) -> Result<Answer, ProposeError> {
        let me = self.member.me();
        self.remove_member(RequestId(rand::random()), &format!("agent {me}"), me, timeout).await
    }

    /// Removes the log of a member that has left for good from its folder. Nobody may have it open; does nothing when there
    /// is none.
    pub fn forget(data_dir: &Path) -> io::Result<()> {
        store::forget(data_dir)
    }

    /// What this member knows, and every change of it. May be stale, and says so.
    pub fn watch(&self) -> watch::Receiver<Arc<GroupView>> {
        self.view.clone()
    }

    /// The state with everything in it that was decided before the call, for decisions.
    pub async fn read_linearizable(&self, timeout: Duration) -> Result<Arc<GroupState>, ProposeError> {
        let deadline = Instant::now() + timeout;
        let index = match propose::ask(&self.member, Ask::Barrier, deadline).await? {
            Told::Barrier { index } => index,
            Told::Answer(_) => return Err(ProposeError::NoLeader),
        };
        let mut current = self.member.current.clone();
        let applied = current.wait_for(|current| current.applied.is_some_and(|id| id.index >= index));
        match time::timeout_at(deadline, applied).await {
            Ok(Ok(current)) => Ok(current.state.clone()),
            Ok(Err(_)) => Err(ProposeError::Stopped("the log has stopped".to_owned())),
            Err(_) => Err(ProposeError::Timeout),
        }
    }

    /// The service to mount on the listener for members.
    pub fn service(&self) -> PeerServer<PeerService> {
        PeerServer::new(PeerService::new(self.member.clone()))
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX)
    }

    /// Resolves when the member takes no part any more; with the cause when nobody had asked for it, such as a full
    /// disk.
    pub async fn stopped(&self) -> Option<String> {
        let mut ended = self.ended.clone();
        let ended = ended.wait_for(Option::is_some).await;
        ended.map_or_else(|_| Some("the member has crashed".to_owned()), |cause| cause.clone().flatten())
    }

    /// To be called before a stop that can wait a moment: if this member leads, another voter does when it returns, and edits
    /// have not been refused meanwhile. It leads no more then until it is opened again; when there is nobody to hand over to,
    /// all stays as it is.
    pub async fn resign(&self) {
        resign::resign(&self.member).await;
    }

    /// Stops taking part and closes the log, so that it can be opened again. The agent stays a member of its group.
    pub async fn shutdown(&self) {
        self.member.stop.cancel();
        self.tasks.close();
        if timeout(STOP_DEADLINE, self.member.raft.shutdown()).await.is_err() {
            tracing::warn!("the log did not stop in time");
        }
        if timeout(STOP_DEADLINE, self.tasks.wait()).await.is_err() {
            tracing::warn!("the member's tasks did not stop in time");
        }
        if timeout(STOP_DEADLINE, self.writer.close()).await.is_err() {
            tracing::warn!("the log was not closed in time");
        }
    }

    /// Waits until readers see what the log tells already.
    async fn shown(&self) -> Result<(), JoinError> {
        let me = self.member.me();
        let mut view = self.view.clone();
        let shown =
            view.wait_for(|view| view.roles.contains_key(&me) && view.state.members.contains_key(&me));
        match timeout(STOP_DEADLINE, shown).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(JoinError::Stopped("its view has ended".to_owned())),
        }
    }

    /// As if the disk were gone: every later write fails.
    #[cfg(test)]
    pub(crate) async fn lose_disk(&self) {
        self.writer.close().await;
    }

    #[cfg(test)]
    pub(crate) fn raft(&self) -> &Raft {
        &self.member.raft
    }

    #[cfg(test)]
    pub(crate) fn stood(&self) -> u64 {
        self.member.stood.load(std::sync::atomic::Ordering::Relaxed)
    }

    async fn decision(&self, ask: Ask, timeout: Duration) -> Result<Answer, ProposeError> {
        let deadline = Instant::now() + timeout;
        let told = propose::ask(&self.member, ask, deadline).await;
        let result = told.and_then(|told| match told {
            Told::Answer(answer) => Ok(answer),
            Told::Barrier { .. } => Err(ProposeError::NoLeader),
        });
        metrics::counter!(GROUP_PROPOSALS_TOTAL, "result" => propose::result_word(&result)).increment(1);
        result
    }
}

fn config(options: &Options, timing: Timing, tuning: Tuning) -> Result<Arc<Config>, OpenError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: options.group.to_string(),
        heartbeat_interval: millis(timing.heartbeat),
        election_timeout_min: millis(timing.election_min),
        election_timeout_max: millis(timing.election_max),
        install_snapshot_timeout: SNAPSHOT_DEADLINE_MS,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(tuning.snapshot_every.max(1)),
        max_in_snapshot_log_to_keep: tuning.log_keep,
        // Elections are called by the ballot.
        enable_elect: false,
        ..Config::default()
    };
    let config = config.validate().map_err(|source| OpenError::Start { source: source.into() })?;
    Ok(Arc::new(config))
}
